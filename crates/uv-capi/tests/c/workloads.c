/*
 * The workloads of the benchmark suite that send datagrams, in C against libuv 1.x's form:
 *
 *     workloads pummel PAIRS WARMUP_MS DURATION_MS AT_LEAST
 *     workloads burst SIZE OUTSTANDING WARMUP_MS DURATION_MS AT_LEAST
 *
 * Prints the numbers of datagrams sent and delivered within the duration, and the nanoseconds that passed. The duration
 * is extended until AT_LEAST datagrams are delivered.
 */
#include <uv.h>
#include "check.h"

/* Iterations of the loop per reading of the clock. */
#define ITERATIONS_PER_READING 16

typedef struct {
  uv_udp_send_t req;
  struct sockaddr_in addr;
} lane_t;

static uv_loop_t loop;
static uv_check_t iterations;
static uint64_t sent, delivered, iteration, begins, ends;
static uint64_t sent_before, delivered_before, began, warmup, duration, at_least;
static uv_buf_t bufs[5];
static unsigned nbufs;
/* The size that libuv's documentation names for a full recvmmsg(2). */
static char memory[20 * 65536];
static int stopping;

static void on_alloc(uv_handle_t* handle, size_t suggested, uv_buf_t* buf) {
  (void) handle, (void) suggested;
  buf->base = memory;
  buf->len = sizeof memory;
}

static void on_datagram(uv_udp_t* handle, ssize_t nread, const uv_buf_t* buf, const struct sockaddr* addr, unsigned flags) {
  (void) handle, (void) buf, (void) flags;
  if (nread >= 0 && addr != NULL) delivered++;
}

static void send_lane(lane_t* lane, uv_udp_t* handle);

static void on_sent(uv_udp_send_t* req, int status) {
  if (status == 0) {
    sent++;
    if (!stopping) send_lane((lane_t*) req, req->handle);
  }
}

static void send_lane(lane_t* lane, uv_udp_t* handle) {
  const struct sockaddr* addr = lane->addr.sin_family == AF_INET ? (const struct sockaddr*) &lane->addr : NULL;
  CHECK(uv_udp_send(&lane->req, handle, bufs, nbufs, addr, on_sent) == 0);
}

static void on_iteration(uv_check_t* handle) {
  (void) handle;
  if (++iteration % ITERATIONS_PER_READING != 0) return;
  uint64_t now = uv_hrtime();
  if (began == 0 && now >= begins) {
    began = now;
    ends = now + duration;
    sent_before = sent;
    delivered_before = delivered;
  } else if (began != 0 && now >= ends && delivered - delivered_before >= at_least) {
    printf("%llu %llu %llu\n", (unsigned long long) (sent - sent_before),
           (unsigned long long) (delivered - delivered_before), (unsigned long long) (now - began));
    stopping = 1;
    uv_stop(&loop);
  }
}

static uv_udp_t* handle_on_loopback(unsigned flags) {
  uv_udp_t* handle = (uv_udp_t*) calloc(1, sizeof *handle);
  CHECK(uv_udp_init_ex(&loop, handle, AF_INET | flags) == 0);
  CHECK(uv_udp_bind(handle, loopback(0), 0) == 0);
  return handle;
}

static uv_udp_t* receiver(unsigned flags) {
  uv_udp_t* handle = handle_on_loopback(flags);
  CHECK(uv_udp_recv_start(handle, on_alloc, on_datagram) == 0);
  return handle;
}

static void pummel(int pairs) {
  static const char* slices[] = {"RANG TANG", " DING DON", "G I AM TH", "E JAPANES", "E SANDMAN"};
  for (nbufs = 0; nbufs < 5; nbufs++) bufs[nbufs] = uv_buf_init((char*) slices[nbufs], 9);
  for (int i = 0; i < pairs; i++) {
    lane_t* lane = (lane_t*) calloc(1, sizeof *lane);
    memcpy(&lane->addr, where(receiver(0)), sizeof lane->addr);
    send_lane(lane, handle_on_loopback(0));
  }
}

static void burst(int size, int outstanding) {
  static char data[65507];
  uv_udp_t* to = receiver(outstanding > 1 ? UV_UDP_RECVMMSG : 0);
  uv_udp_t* sender = handle_on_loopback(0);
  CHECK(size <= (int) sizeof data);
  bufs[0] = uv_buf_init(data, (unsigned) size);
  nbufs = 1;
  CHECK(uv_udp_connect(sender, where(to)) == 0);
  for (int i = 0; i < outstanding; i++) send_lane((lane_t*) calloc(1, sizeof(lane_t)), sender);
}

int main(int argc, char** argv) {
  begin();
  CHECK(uv_loop_init(&loop) == 0);
  CHECK(argc == 6 || argc == 7);
  warmup = strtoull(argv[argc - 3], NULL, 10) * 1000000;
  duration = strtoull(argv[argc - 2], NULL, 10) * 1000000;
  at_least = strtoull(argv[argc - 1], NULL, 10);
  begins = uv_hrtime() + warmup;
  if (strcmp(argv[1], "pummel") == 0) {
    pummel(atoi(argv[2]));
  } else {
    burst(atoi(argv[2]), atoi(argv[3]));
  }
  CHECK(uv_check_init(&loop, &iterations) == 0);
  CHECK(uv_check_start(&iterations, on_iteration) == 0);
  CHECK(uv_run(&loop, UV_RUN_DEFAULT) != 0);
  end(&loop);
  /* Handles and requests live until the process ends. */
  return 0;
}
