/* Shared by the test programs: a check that reports its place, and a time limit. */
#ifndef CHECK_H
#define CHECK_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CHECK(condition)                                                                      \
  do {                                                                                        \
    if (!(condition)) {                                                                       \
      fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition);          \
      abort();                                                                                \
    }                                                                                         \
  } while (0)

/* Seconds until a program is ended; valgrind slows programs down by a factor of 50. */
#define TIME_LIMIT 200

static inline void begin(void) {
  alarm(TIME_LIMIT);
  setvbuf(stdout, NULL, _IOLBF, 0);
}

static inline struct sockaddr* loopback(int port) {
  static struct sockaddr_in addr;
  CHECK(uv_ip4_addr("127.0.0.1", port, &addr) == 0);
  return (struct sockaddr*) &addr;
}

/* The address of a bound handle. */
static inline struct sockaddr* where(const uv_udp_t* handle) {
  static struct sockaddr_in addr;
  int len = sizeof addr;
  CHECK(uv_udp_getsockname(handle, (struct sockaddr*) &addr, &len) == 0);
  CHECK(len == (int) sizeof addr);
  return (struct sockaddr*) &addr;
}

static inline void alloc_by_malloc(uv_handle_t* handle, size_t suggested, uv_buf_t* buf) {
  CHECK(handle != NULL && handle->type == UV_UDP);
  CHECK(suggested >= 65535);
  buf->base = (char*) malloc(suggested);
  buf->len = suggested;
}

static inline void close_what_is_open(uv_handle_t* handle, void* arg) {
  (void) arg;
  if (!uv_is_closing(handle)) uv_close(handle, NULL);
}

/* Closes everything on the loop, runs what is left, and closes the loop. */
static inline void end(uv_loop_t* loop) {
  uv_walk(loop, close_what_is_open, NULL);
  CHECK(uv_run(loop, UV_RUN_DEFAULT) == 0);
  CHECK(uv_loop_close(loop) == 0);
}

#endif /* CHECK_H */
