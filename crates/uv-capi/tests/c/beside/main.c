/*
 * Runs a loop of libuv and a loop of this library in one thread. Both are linked or, with PLUGINS, loaded from the files
 * in the arguments.
 */
#include <dlfcn.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifdef PLUGINS
#include "side.h"
#else
#define SIDE(name) ours_##name
#include "side.h"
#define LIBUVS(name) libuv_##name
SIDES_FUNCTIONS(LIBUVS)
#endif

static side_calls_t sides[2];

#ifdef PLUGINS
static void find(void* plugin, const char* side, const char* name, void* into) {
  char symbol[64];
  snprintf(symbol, sizeof symbol, "%s_%s", side, name);
  void* found = dlsym(plugin, symbol);
  if (found == NULL) {
    fprintf(stderr, "%s\n", dlerror());
    exit(1);
  }
  memcpy(into, &found, sizeof found);
}

static void set_up(int argc, char** argv) {
  static const char* names[] = {"libuv", "ours"};
  if (argc != 3) exit(2);
  for (int i = 1; i < argc; i++) {
    void* plugin = dlopen(argv[i], RTLD_NOW | RTLD_GLOBAL);
    if (plugin == NULL) {
      fprintf(stderr, "%s\n", dlerror());
      exit(1);
    }
    int which = strstr(argv[i], "ours.so") != NULL;
    side_calls_t* side = &sides[which];
    side->name = names[which];
    find(plugin, side->name, "begin", &side->begin);
    find(plugin, side->name, "fd", &side->fd);
    find(plugin, side->name, "timeout", &side->timeout);
    find(plugin, side->name, "iterate", &side->iterate);
    find(plugin, side->name, "end", &side->end);
  }
}
#else
static void set_up(int argc, char** argv) {
  (void) argc, (void) argv;
  sides[0] = (side_calls_t){"libuv", libuv_begin, libuv_fd, libuv_timeout, libuv_iterate, libuv_end};
  sides[1] = (side_calls_t){"ours", ours_begin, ours_fd, ours_timeout, ours_iterate, ours_end};
}
#endif

int main(int argc, char** argv) {
  int alive[2] = {1, 1};
  alarm(60);
  set_up(argc, argv);
  for (int i = 0; i < 2; i++) sides[i].begin();
  while (alive[0] || alive[1]) {
    struct pollfd fds[2];
    int wait = -1, count = 0;
    for (int i = 0; i < 2; i++) {
      if (!alive[i]) continue;
      int timeout = sides[i].timeout();
      if (timeout >= 0 && (wait < 0 || timeout < wait)) wait = timeout;
      fds[count].fd = sides[i].fd();
      fds[count++].events = POLLIN;
    }
    poll(fds, (nfds_t) count, wait);
    for (int i = 0; i < 2; i++) {
      if (alive[i]) alive[i] = sides[i].iterate();
    }
  }
  for (int i = 0; i < 2; i++) printf("%s: %d echoes\n", sides[i].name, sides[i].end());
  return 0;
}
