/* Receiving into the program's buffers: allocation, return and reuse. */
#include <sys/mman.h>

#include "conform.h"

static void into_buffers(test_t* test) {
  raw_t sender = raw_socket(test);
  received_t received = {0};
  uv_udp_t* udp = bound_udp(test);
  CHECK(start_receiving(udp, &received) == 0 && uv_is_active((uv_handle_t*) udp));
  raw_send_text(&sender, "one", local_of(udp));
  raw_send_text(&sender, "", local_of(udp));
  RUN_UNTIL(received.count == 2);
  run_iterations(test);
  CHECK(RECEIVED(&received, "one", "") && received.lent == 0 && received.flags == 0 && received.errors == 0);
  CHECK(same_address(received.datagrams[0].from, sender.address) && same_address(received.datagrams[1].from, sender.address));
}

static void round_ends(test_t* test) {
  raw_t sender = raw_socket(test);
  received_t received = {0};
  uv_udp_t* udp = bound_udp(test);
  CHECK(start_receiving(udp, &received) == 0);
  for (int i = 0; i < 5; i++) raw_send_text(&sender, "one", local_of(udp));
  RUN_UNTIL(received.empty_reads == 1);
  run_iterations(test);
  CHECK(received.count == 5 && received.empty_reads == 1 && received.errors == 0 && received.lent == 0);
}

static void alloc_two_bytes(uv_handle_t* handle, size_t suggested, uv_buf_t* buf) {
  (void) suggested;
  counting_alloc(handle, 16, buf);
  buf->len = 2;
}

static void partial(test_t* test) {
  raw_t sender = raw_socket(test);
  received_t received = {0};
  uv_udp_t* udp = bound_udp(test);
  CHECK(start_receiving_with(udp, &received, alloc_two_bytes, recording_recv) == 0);
  raw_send_text(&sender, "ab", local_of(udp));
  RUN_UNTIL(received.count == 1);
  CHECK(received.flags == 0);
  raw_send_text(&sender, "abc", local_of(udp));
  RUN_UNTIL(received.count == 2);
  CHECK(received.flags == UV_UDP_PARTIAL && RECEIVED(&received, "ab", "ab") && received.datagrams[1].len == 2);
}

/* GSO and GRO carry such bursts as one message; the callback receives single datagrams. */
static void one_each(test_t* test) {
  for (int small = 0; small < 2; small++) {
    received_t received = {0};
    completions_t completions = {0};
    int size = small ? 45 : 1200;
    uv_udp_t* udp = bound_udp(test);
    uv_udp_t* sender = connected_udp(test, local_of(udp));
    CHECK(start_receiving(udp, &received) == 0);
    for (int i = 0; i < 64; i++) CHECK(queue_send(&completions, i, sender, numbered(i, size), size, NULL) == 0);
    RUN_UNTIL(received.count >= 64 && completions.count == 64);
    run_iterations(test);
    CHECK(all_succeeded(&completions, 64) && received.count == 64 && received.lent == 0 && received.flags == 0);
    for (int i = 0; i < 64; i++) {
      const datagram_t* datagram = &received.datagrams[i];
      CHECK(datagram->len == size && datagram->sum == sum_of(numbered(i, size), size) && same_address(datagram->from, local_of(sender)));
    }
    CHECK(uv_udp_recv_stop(udp) == 0);
  }
}

static int refuse;

static void alloc_at_times(uv_handle_t* handle, size_t suggested, uv_buf_t* buf) {
  if (refuse-- > 0) return;
  counting_alloc(handle, suggested, buf);
}

static void no_memory(test_t* test) {
  raw_t sender = raw_socket(test);
  for (int refusals = 1; refusals <= 3; refusals++) {
    received_t received = {0};
    uv_udp_t* udp = bound_udp(test);
    refuse = refusals;
    CHECK(start_receiving_with(udp, &received, alloc_at_times, recording_recv) == 0);
    raw_send_text(&sender, "one", local_of(udp));
    raw_send_text(&sender, "two", local_of(udp));
    raw_send_text(&sender, "three", local_of(udp));
    RUN_UNTIL(received.count == 3);
    CHECK(received.error == UV_ENOBUFS && received.errors == refusals && received.lent == 0);
    CHECK(RECEIVED(&received, "one", "two", "three"));
    run_iterations(test);
    /* The empty read follows the last datagram, and not a refusal. */
    CHECK(received.empty_reads == 1 && uv_udp_recv_stop(udp) == 0);
  }
}

static void outsiders_without_buffer(test_t* test) {
  raw_t peer = raw_socket(test), outsider = raw_socket(test);
  received_t received = {0};
  uv_udp_t* udp = bound_udp(test);
  raw_send_text(&outsider, "outsider", local_of(udp));
  raw_send_text(&peer, "peer", local_of(udp));
  refuse = 2;
  /* The filter includes datagrams that wait for memory during uv_udp_connect. */
  CHECK(start_receiving_with(udp, &received, alloc_at_times, recording_recv) == 0);
  RUN_UNTIL(received.errors > 0);
  CHECK(uv_udp_connect(udp, at(peer.address)) == 0);
  RUN_UNTIL(received.count > 0);
  run_iterations(test);
  CHECK(RECEIVED(&received, "peer") && received.lent == 0);
}

static int stop_after;

static void recv_and_stop(uv_udp_t* udp, ssize_t nread, const uv_buf_t* buf, const struct sockaddr* addr, unsigned flags) {
  received_t* received = (received_t*) udp->data;
  recording_recv(udp, nread, buf, addr, flags);
  if (received->count == stop_after && addr != NULL) CHECK(uv_udp_recv_stop(udp) == 0);
}

static int began_with_the_end = -1;

static void note_the_first(uv_udp_t* udp, ssize_t nread, const uv_buf_t* buf, const struct sockaddr* addr, unsigned flags) {
  if (began_with_the_end < 0) began_with_the_end = addr == NULL;
  recording_recv(udp, nread, buf, addr, flags);
}

static void half_way(test_t* test) {
  raw_t sender = raw_socket(test);
  received_t received = {0};
  uv_udp_t* udp = bound_udp(test);
  for (int i = 0; i < 6; i++) raw_send_text(&sender, numbered(i, 4), local_of(udp));
  /* In the middle of one batch of the kernel. */
  stop_after = 2;
  CHECK(start_receiving_with(udp, &received, counting_alloc, recv_and_stop) == 0);
  RUN_UNTIL(received.count >= 2);
  run_iterations(test);
  CHECK(received.count == 2 && received.lent == 0 && !uv_is_active((uv_handle_t*) udp) && received.empty_reads == 0);
  CHECK(uv_udp_recv_start(udp, counting_alloc, note_the_first) == 0);
  RUN_UNTIL(received.count == 6);
  /* No empty read precedes the waiting datagrams. */
  CHECK(began_with_the_end == 0);
  for (int i = 0; i < 6; i++) CHECK(number_in(received.datagrams[i].text) == i);
}

static int asked;

static void alloc_stops(uv_handle_t* handle, size_t suggested, uv_buf_t* buf) {
  (void) suggested;
  asked++;
  CHECK(uv_udp_recv_stop((uv_udp_t*) handle) == 0);
  *buf = uv_buf_init(NULL, 0);
}

static void stopped_by_alloc(test_t* test) {
  raw_t sender = raw_socket(test);
  for (int large = 0; large < 2; large++) {
    received_t received = {0};
    uv_udp_t* udp = bound_udp_ex(test, (unsigned) test->family | (large ? UV_UDP_RECVMMSG : 0));
    asked = 0;
    CHECK(start_receiving_with(udp, &received, alloc_stops, recording_recv) == 0);
    raw_send_text(&sender, "one", local_of(udp));
    RUN_UNTIL(asked > 0);
    run_iterations(test);
    CHECK(asked == 1 && received.count == 0 && received.empty_reads == 0 && received.errors == 0 && !uv_is_active((uv_handle_t*) udp));
    CHECK(start_receiving(udp, &received) == 0);
    RUN_UNTIL(received.count > 0);
    run_iterations(test);
    CHECK(RECEIVED(&received, "one") && received.errors == 0 && received.lent == 0 && uv_udp_recv_stop(udp) == 0);
  }
}

static void alloc_for_three(uv_handle_t* handle, size_t suggested, uv_buf_t* buf) {
  counting_alloc(handle, 3 * suggested, buf);
}

static void stopped_in_large(test_t* test) {
  raw_t sender = raw_socket(test);
  received_t received = {0};
  uv_udp_t *udp = new_udp_ex(test, (unsigned) test->family | UV_UDP_RECVMMSG), *plain = new_udp(test);
  CHECK(uv_udp_using_recvmmsg(udp) == 1 && uv_udp_using_recvmmsg(plain) == 0);
  CHECK(uv_udp_bind(udp, at(loopback_of(test->family, 0)), 0) == 0);
  stop_after = 2;
  CHECK(start_receiving_with(udp, &received, alloc_for_three, recv_and_stop) == 0);
  for (int i = 0; i < 5; i++) raw_send_text(&sender, "x", local_of(udp));
  RUN_UNTIL(received.count == 2);
  run_iterations(test);
  CHECK(received.count == 2 && received.lent == 0 && (received.flags & UV_UDP_MMSG_FREE) && (received.flags & UV_UDP_MMSG_CHUNK));
  stop_after = -1;
  CHECK(uv_udp_recv_start(udp, alloc_for_three, recv_and_stop) == 0);
  RUN_UNTIL(received.count == 5);
  run_iterations(test);
  CHECK(received.count == 5 && received.lent == 0);
}

/* The handle switches UDP_GRO on after two bursts. */
static void bursts_in_large(test_t* test) {
  received_t received = {0};
  completions_t completions = {0};
  uv_udp_t* udp = bound_udp_ex(test, (unsigned) test->family | UV_UDP_RECVMMSG);
  uv_udp_t* sender = connected_udp(test, local_of(udp));
  stop_after = 4 * 40 + 7;
  CHECK(start_receiving_with(udp, &received, alloc_for_three, recv_and_stop) == 0);
  for (int burst = 0; burst < 6; burst++) {
    for (int i = 40 * burst; i < 40 * (burst + 1); i++) CHECK(queue_send(&completions, i, sender, numbered(i, 100), 100, NULL) == 0);
    RUN_UNTIL(completions.count == 40 * (burst + 1) && received.count >= (burst < 4 ? completions.count : stop_after));
  }
  run_iterations(test);
  CHECK(received.count == stop_after && received.lent == 0);
  CHECK(uv_udp_recv_start(udp, alloc_for_three, recv_and_stop) == 0);
  RUN_UNTIL(received.count == 240);
  run_iterations(test);
  CHECK(all_succeeded(&completions, 240) && received.count == 240 && received.lent == 0 && received.errors == 0);
  CHECK(received.flags == (UV_UDP_MMSG_CHUNK | UV_UDP_MMSG_FREE));
  for (int i = 0; i < 240; i++) {
    CHECK(number_in(received.datagrams[i].text) == i && received.datagrams[i].len == 100);
    CHECK(same_address(received.datagrams[i].from, local_of(sender)));
  }
}

static void small_with_recvmmsg(test_t* test) {
  raw_t sender = raw_socket(test);
  for (int tiny = 0; tiny < 2; tiny++) {
    received_t received = {0};
    uv_udp_t* udp = bound_udp_ex(test, (unsigned) test->family | UV_UDP_RECVMMSG);
    CHECK(start_receiving_with(udp, &received, tiny ? alloc_two_bytes : counting_alloc, recording_recv) == 0);
    for (int i = 0; i < 5; i++) raw_send_text(&sender, "x", local_of(udp));
    RUN_UNTIL(received.count == 5);
    run_iterations(test);
    CHECK(received.flags == (tiny ? 0 : UV_UDP_MMSG_CHUNK | UV_UDP_MMSG_FREE) && received.lent == 0);
    CHECK(uv_udp_recv_stop(udp) == 0);
  }
}

/* The most bytes that one system call fills. Only the stated length is longer than the mapping. */
#define MOST_FILLED ((size_t) 1024 * 65536)

static char* mapped;

static void alloc_beyond_all_memory(uv_handle_t* handle, size_t suggested, uv_buf_t* buf) {
  (void) suggested;
  ((received_t*) handle->data)->lent++;
  buf->base = mapped;
  buf->len = SIZE_MAX;
}

static void recv_mapped(uv_udp_t* udp, ssize_t nread, const uv_buf_t* buf, const struct sockaddr* addr, unsigned flags) {
  received_t* received = (received_t*) udp->data;
  record(received, nread, buf, addr);
  CHECK(buf->base >= mapped && buf->base < mapped + MOST_FILLED);
  if (!(flags & UV_UDP_MMSG_CHUNK)) received->lent--;
}

static void beyond_all_memory(test_t* test) {
  raw_t sender = raw_socket(test);
  mapped = (char*) mmap(NULL, MOST_FILLED, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  CHECK(mapped != MAP_FAILED);
  for (int large = 0; large < 2; large++) {
    received_t received = {0};
    uv_udp_t* udp = bound_udp_ex(test, (unsigned) test->family | (large ? UV_UDP_RECVMMSG : 0));
    CHECK(start_receiving_with(udp, &received, alloc_beyond_all_memory, recv_mapped) == 0);
    for (int i = 0; i < 3; i++) raw_send_text(&sender, numbered(i, 10), local_of(udp));
    RUN_UNTIL(received.count == 3);
    run_iterations(test);
    for (int i = 0; i < 3; i++) CHECK(number_in(received.datagrams[i].text) == i && received.datagrams[i].len == 10);
    CHECK(received.errors == 0 && received.lent == 0 && uv_udp_recv_stop(udp) == 0);
  }
}

#define SEGMENT 1000

static void alloc_for_four_segments(uv_handle_t* handle, size_t suggested, uv_buf_t* buf) {
  (void) suggested;
  counting_alloc(handle, 4 * SEGMENT, buf);
}

static void recv_and_end(uv_udp_t* udp, ssize_t nread, const uv_buf_t* buf, const struct sockaddr* addr, unsigned flags) {
  recv_and_stop(udp, nread, buf, addr, flags);
  if (stop_after == 1 && addr != NULL) CHECK(uv_udp_recv_start(udp, alloc_for_four_segments, recording_recv) == 0);
}

/* A socket on which the program itself set UDP_GRO and a control message. */
static void run_in_small(test_t* test) {
  int on = 1, segment = SEGMENT, v4 = test->family == AF_INET;
  for (stop_after = -1; stop_after < 2; stop_after += 2) {
    raw_t sender = raw_socket(test), receiver = raw_socket(test);
    received_t received = {0};
    uv_udp_t* udp = new_udp_ex(test, UV_UDP_RECVMMSG);
    if (setsockopt(sender.fd, IPPROTO_UDP, 103 /* UDP_SEGMENT */, &segment, sizeof segment) != 0) skip("no UDP_SEGMENT");
    CHECK(setsockopt(receiver.fd, v4 ? IPPROTO_IP : IPPROTO_IPV6, v4 ? IP_RECVTOS : IPV6_RECVTCLASS, &on, sizeof on) == 0);
    CHECK(uv_udp_open(udp, receiver.fd) == 0);
    if (setsockopt(receiver.fd, IPPROTO_UDP, 104 /* UDP_GRO */, &on, sizeof on) != 0) skip("no UDP_GRO");
    CHECK(start_receiving_with(udp, &received, alloc_for_four_segments, recv_and_end) == 0);
    for (int i = 0; i < 3; i++) {
      char three[3 * SEGMENT];
      for (int j = 0; j < 3; j++) memcpy(&three[j * SEGMENT], numbered(3 * i + j, SEGMENT), SEGMENT);
      raw_send(&sender, three, sizeof three, local_of(udp));
    }
    RUN_UNTIL(received.count >= 9);
    run_iterations(test);
    CHECK(received.count == 9 && received.errors == 0 && received.lent == 0 && (received.flags & UV_UDP_MMSG_CHUNK) == 0);
    for (int i = 0; i < 9; i++) CHECK(number_in(received.datagrams[i].text) == i && received.datagrams[i].len == SEGMENT);
    CHECK(uv_udp_recv_stop(udp) == 0);
  }
}

const rule_t memory_rules[] = {
    {"memory/a-buffer-comes-back-with-a-datagram",
     "Each buffer of alloc_cb comes back once: with a datagram and its source, or unused.", EACH_FAMILY, into_buffers},
    {"memory/a-round-ends-with-nothing",
     "When there is nothing more to read, the buffer comes back with 0 bytes and no address.", EACH_FAMILY, round_ends},
    {"memory/what-does-not-fit-is-partial",
     "A datagram that is longer than the buffer comes with UV_UDP_PARTIAL.", EACH_FAMILY, partial},
    EACH("memory/datagrams-are-not-coalesced", one_each),
    EACH("memory/without-a-buffer-it-is-enobufs", no_memory),
    EACH("memory/strangers-get-no-buffer", outsiders_without_buffer),
    EACH("memory/stopping-half-way-loses-nothing", half_way),
    {"memory/an-alloc-that-stops-ends-the-calls",
     "After an alloc_cb that stops receiving and supplies no memory, no callback follows until the next start.",
     EACH_FAMILY, stopped_by_alloc},
    {"memory/a-large-buffer-comes-back-after-a-stop",
     "A buffer for several datagrams comes back with UV_UDP_MMSG_FREE even if receiving stops meanwhile.",
     EACH_FAMILY, stopped_in_large},
    {"memory/a-large-buffer-takes-bursts",
     "With UV_UDP_RECVMMSG the datagrams of a burst come in order, even after a stop within the burst.",
     EACH_FAMILY, bursts_in_large},
    {"memory/a-small-buffer-is-for-one-datagram",
     "With UV_UDP_RECVMMSG, a buffer of less than 64 KiB takes one datagram and comes back without UV_UDP_MMSG_FREE.",
     EACH_FAMILY, small_with_recvmmsg},
    {"memory/a-length-beyond-all-memory-is-cut",
     "A buffer with a stated length of SIZE_MAX receives datagrams within its real memory.",
     EACH_FAMILY, beyond_all_memory},
    {"memory/a-small-buffer-comes-back-once",
     "A buffer of less than 64 KiB comes back with one datagram even if the program set UDP_GRO.",
     EACH_FAMILY, run_in_small},
    END,
};
