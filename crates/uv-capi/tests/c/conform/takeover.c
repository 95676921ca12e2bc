/* Nobody else takes the port of a handle while it connects anew. */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <sys/fsuid.h>

#include "conform.h"

/* An IPv4 handle needs a second socket on its port for its first reconnect only: from then on the kernel keeps the port. */
#define HANDLES 1000
#define RECONNECTS_EACH 10
/* Datagrams on their way at once: far fewer than a receive buffer holds. */
#define UNANSWERED 32
/* The user "nobody". */
#define OTHER_USER 65534

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
/* Guarded by it: the address of the handle that is open now, if one is, and how many were before it. */
static address_t target;
static int is_open, closed_before, over;
/* Datagrams that the peer sent, and those that were delivered; what another user took. */
static int sent, delivered, taken, refused;
static raw_t sender;
static int family_of_rule;

/* Makes this thread's sockets those of another user. */
static int become_other_user(void) {
  setfsuid(OTHER_USER);
  /* The call answers with the user before it. */
  return setfsuid(OTHER_USER) == OTHER_USER;
}

/* A socket that asks to share its address. */
static int sharing(int port_too) {
  int on = 1, fd = socket(family_of_rule, SOCK_DGRAM, 0);
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &port_too, sizeof port_too);
  return fd;
}

/* Tries to bind the ports until the end. */
static void* attack(void* arg) {
  (void) arg;
  if (!become_other_user()) {
    pthread_mutex_lock(&lock);
    refused = 1;
    pthread_mutex_unlock(&lock);
    return NULL;
  }
  for (int port_too = 0;; port_too = !port_too) {
    int fd = sharing(port_too), bound = 0;
    pthread_mutex_lock(&lock);
    address_t address = target;
    int there = is_open, before = closed_before, ended = over;
    pthread_mutex_unlock(&lock);
    address_t wildcard = wildcard_of(family_of_rule, port_of(address));
    for (int i = 0; there && !bound && i < 8; i++) {
      bound = bind(fd, (struct sockaddr*) &address, length_of(address)) == 0 ||
              bind(fd, (struct sockaddr*) &wildcard, length_of(wildcard)) == 0;
    }
    pthread_mutex_lock(&lock);
    /* A port is free once its handle is closed. */
    if (bound && is_open && before == closed_before) taken = ended = 1;
    pthread_mutex_unlock(&lock);
    close(fd);
    if (ended) return NULL;
    if (!there) sched_yield();
  }
}

/* Sends numbers to the handle that is open, until the end. */
static void* count_up(void* arg) {
  char words[16];
  (void) arg;
  for (;;) {
    pthread_mutex_lock(&lock);
    int ended = over, goes = is_open && sent - delivered < UNANSWERED;
    if (goes) {
      snprintf(words, sizeof words, "%d", sent);
      goes = sendto(sender.fd, words, strlen(words), 0, (struct sockaddr*) &target, length_of(target)) > 0;
      sent += goes;
    }
    pthread_mutex_unlock(&lock);
    if (ended) return NULL;
    if (!goes) sched_yield();
  }
}

/* How often each number came: 1, but for the last ones. */
static unsigned char* seen;
static int room;

static void on_recv(uv_udp_t* udp, ssize_t nread, const uv_buf_t* buf, const struct sockaddr* addr, unsigned flags) {
  (void) udp, (void) flags;
  if (nread > 0 && addr != NULL) {
    char words[16] = "";
    memcpy(words, buf->base, (size_t) nread < sizeof words ? (size_t) nread : sizeof words - 1);
    int number = atoi(words);
    while (number >= room) {
      seen = (unsigned char*) realloc(seen, (size_t) room + 4096);
      memset(seen + room, 0, 4096);
      room += 4096;
    }
    ENSURE(seen[number]++ == 0);
    pthread_mutex_lock(&lock);
    delivered++;
    pthread_mutex_unlock(&lock);
  }
  free(buf->base);
}

/* The life of one handle, in which nothing is lost. */
static void reconnect(stage_t* stage) {
  uv_udp_t* udp = bound_udp(stage);
  address_t here = local_of(udp);
  ENSURE(uv_udp_connect(udp, at(sender.address)) == 0 && uv_udp_recv_start(udp, alloc_some, on_recv) == 0);
  pthread_mutex_lock(&lock);
  target = here;
  is_open = 1;
  pthread_mutex_unlock(&lock);
  for (int i = 0; i < RECONNECTS_EACH; i++) {
    if (i % 2 == 0) {
      ENSURE(disconnect(udp) == 0 && uv_udp_connect(udp, at(sender.address)) == 0);
    } else {
      ENSURE(connect_anew(udp, at(sender.address)) == 0);
    }
    uv_run(&stage->loop, UV_RUN_NOWAIT);
  }
  ENSURE(same_address(local_of(udp), here));
  pthread_mutex_lock(&lock);
  is_open = 0;
  closed_before++;
  pthread_mutex_unlock(&lock);
  /* The sender has stopped. */
  UNTIL(taken || delivered == sent);
  close_udp(udp);
  TO_THE_END();
}

/* Keeps this thread, and those that it starts, on one CPU. What another CPU has on its way to a socket while that is closed
 * is lost, as rarely as an interrupt comes at that moment; here a datagram is either sent or received. */
static void share_one_cpu(void) {
  cpu_set_t all, one;
  int cpu = 0;
  ENSURE(sched_getaffinity(0, sizeof all, &all) == 0);
  while (cpu < CPU_SETSIZE - 1 && !CPU_ISSET(cpu, &all)) cpu++;
  CPU_ZERO(&one);
  CPU_SET(cpu, &one);
  ENSURE(sched_setaffinity(0, sizeof one, &one) == 0);
}

/* valgrind runs one thread at a time, and seldom another one: a few handles show what it looks for. */
static int handles(void) {
  const char* preloaded = getenv("LD_PRELOAD");
  return preloaded != NULL && strstr(preloaded, "vgpreload") != NULL ? HANDLES / 100 : HANDLES;
}

static void nobody_takes_the_port(stage_t* stage) {
  pthread_t attacker, other;
  family_of_rule = stage->family;
  sender = raw_socket(stage);
  ENSURE(pthread_create(&attacker, NULL, attack, NULL) == 0);
  share_one_cpu();
  ENSURE(pthread_create(&other, NULL, count_up, NULL) == 0);
  for (int i = 0, stopped = 0, all = handles(); i < all && !stopped; i++) {
    reconnect(stage);
    pthread_mutex_lock(&lock);
    stopped = refused || taken;
    pthread_mutex_unlock(&lock);
  }
  pthread_mutex_lock(&lock);
  over = 1;
  pthread_mutex_unlock(&lock);
  ENSURE(pthread_join(attacker, NULL) == 0 && pthread_join(other, NULL) == 0);
  free(seen);
  if (refused) skip("no sockets of another user here: setfsuid(2) needs CAP_SETUID");
  if (taken) FAIL("another user took the port");
}

const rule_t takeover_rules[] = {
    EACH("local/no-other-user-takes-the-port-meanwhile", nobody_takes_the_port),
    END,
};
