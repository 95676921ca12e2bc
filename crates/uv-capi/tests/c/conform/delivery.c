/* From the loop to the receive callback: order, errors, filtering and fairness. */
#include "conform.h"

static int allocations;

static void alloc_for_sixteen(uv_handle_t* handle, size_t suggested, uv_buf_t* buf) {
  allocations++;
  counting_alloc(handle, 16 * suggested, buf);
}

static void recv_large(test_t* test) {
  raw_t first = raw_socket(test), second = raw_socket(test);
  received_t received = {0};
  uv_udp_t* udp = bound_udp_ex(test, UV_UDP_RECVMMSG);
  CHECK(start_receiving_with(udp, &received, alloc_for_sixteen, recording_recv) == 0);
  for (int i = 0; i < 100; i++) raw_send_text(i % 7 == 0 ? &first : &second, numbered(i, 4), local_of(udp));
  RUN_UNTIL(received.count >= 100);
  run_iterations(test);
  CHECK(received.count == 100 && received.lent == 0 && received.flags == (UV_UDP_MMSG_CHUNK | UV_UDP_MMSG_FREE));
  for (int i = 0; i < 100; i++) {
    CHECK(number_in(received.datagrams[i].text) == i);
    CHECK(same_address(received.datagrams[i].from, i % 7 == 0 ? first.address : second.address));
  }
  CHECK(allocations < 50);
  note("100 in %d buffers", allocations);
}

/* Runs the loop until the error was reported `count` times, and checks that no other is reported. */
static void errors_are(test_t* test, const received_t* received, int error, int count) {
  RUN_UNTIL(received->errors >= count);
  run_iterations(test);
  CHECK(received->errors == count && received->error == error && received->lent == 0);
}

static void reported_once(test_t* test) {
  received_t received = {0};
  uv_udp_t* udp = connected_udp(test, refusing_address(test));
  CHECK(start_receiving(udp, &received) == 0);
  for (int round = 1; round <= 5; round++) {
    CHECK(try_text(udp, "refused") == 7);
    errors_are(test, &received, UV_ECONNREFUSED, round);
  }
}

/* UV_UDP_LINUX_RECVERR: errors reach the receive callback of an unconnected handle. */
static void with_recverr(test_t* test) {
  for (int on = 0; on < 2; on++) {
    received_t received = {0};
    address_t to = refusing_address(test);
    uv_udp_t* udp = new_udp(test);
    CHECK(uv_udp_bind(udp, at(loopback_of(test->family, 0)), on ? UV_UDP_LINUX_RECVERR : 0) == 0);
    CHECK(start_receiving(udp, &received) == 0);
    for (int i = 0; i < 10; i++) CHECK(try_text_to(udp, "x", to) == 1);
    errors_are(test, &received, on ? UV_ECONNREFUSED : 0, on ? 10 : 0);
    CHECK(uv_udp_recv_stop(udp) == 0);
  }
}

static void count_received(uv_udp_t* udp, ssize_t nread, const uv_buf_t* buf, const struct sockaddr* addr, unsigned flags) {
  (void) nread, (void) buf, (void) flags;
  if (addr != NULL) ++*(int*) udp->data;
}

static int has_memory;

static void alloc_perhaps(uv_handle_t* handle, size_t suggested, uv_buf_t* buf) {
  *buf = uv_buf_init(NULL, 0);
  if (has_memory) alloc_static(handle, suggested, buf);
}

static void refused_datagrams_come_in_parts(test_t* test) {
  raw_t peer = raw_socket(test);
  int count = 0, most = 0;
  uv_udp_t* udp = bound_udp(test);
  udp->data = &count;
  CHECK(uv_udp_recv_start(udp, alloc_perhaps, count_received) == 0);
  for (int round = 0; round < 4; round++) {
    for (int i = 0; i < 100; i++) raw_send_text(&peer, "flood", local_of(udp));
    run_iterations(test);
  }
  CHECK(count == 0);
  has_memory = 1;
  for (int iteration = 0; iteration < 1000 && count < 400; iteration++) {
    int before = count;
    CHECK(uv_run(&test->loop, UV_RUN_NOWAIT) >= 0);
    if (count - before > most) most = count - before;
  }
  CHECK(count == 400 && most < 400);
  note("%d in one iteration at most", most);
}

static void alloc_several(uv_handle_t* handle, size_t suggested, uv_buf_t* buf) {
  counting_alloc(handle, 4 * suggested, buf);
}

static void batches_without_outsiders(test_t* test) {
  raw_t peer = raw_socket(test), outsider = raw_socket(test);
  received_t received = {0};
  uv_udp_t* udp = bound_udp_ex(test, UV_UDP_RECVMMSG);
  address_t here = local_of(udp);
  for (int i = 0; i < 40; i++) raw_send_text(&outsider, "outsider", here);
  raw_send_text(&peer, "early", here);
  CHECK(uv_udp_connect(udp, at(peer.address)) == 0);
  CHECK(start_receiving_with(udp, &received, alloc_several, recording_recv) == 0);
  raw_send_text(&peer, "late", here);
  RUN_UNTIL(ends_with_text(&received, "late"));
  run_iterations(test);
  CHECK(RECEIVED(&received, "early", "late") && received.lent == 0);
}

static address_t next_peer;

static void connect_when_received(uv_udp_t* udp, ssize_t nread, const uv_buf_t* buf, const struct sockaddr* addr, unsigned flags) {
  recording_recv(udp, nread, buf, addr, flags);
  if (addr != NULL && !is_connected(udp)) CHECK(uv_udp_connect(udp, at(next_peer)) == 0);
}

static void connecting_in_the_callback(test_t* test) {
  raw_t peer = raw_socket(test), outsider = raw_socket(test);
  received_t received = {0};
  uv_udp_t* udp = bound_udp(test);
  address_t here = local_of(udp);
  for (int i = 0; i < 5; i++) raw_send_text(&outsider, i == 0 ? "outsider" : "another", here);
  raw_send_text(&peer, "early", here);
  next_peer = peer.address;
  CHECK(start_receiving_with(udp, &received, counting_alloc, connect_when_received) == 0);
  RUN_UNTIL(received.count > 0);
  raw_send_text(&peer, "late", here);
  RUN_UNTIL(ends_with_text(&received, "late"));
  CHECK(RECEIVED(&received, "outsider", "early", "late"));
}

/* Whether a call of the rule is running; the number of callbacks, and of those inside a call. */
static int inside_call, callbacks, callbacks_inside;

#define MAKE(call)                                                                            \
  do {                                                                                        \
    inside_call = 1;                                                                          \
    int result = (call);                                                                      \
    inside_call = 0;                                                                          \
    if (result < 0) FAIL(#call);                                                              \
  } while (0)

static void on_alloc(uv_handle_t* handle, size_t suggested, uv_buf_t* buf) {
  alloc_static(handle, suggested, buf);
  callbacks_inside += inside_call;
}

static void on_received(uv_udp_t* udp, ssize_t nread, const uv_buf_t* buf, const struct sockaddr* addr, unsigned flags) {
  (void) udp, (void) buf, (void) flags;
  callbacks += nread < 0 || addr != NULL;
  callbacks_inside += inside_call;
}

/* Waits for this number of callbacks, none of them inside a call. */
static void come_from_the_loop(test_t* test, int count) {
  RUN_UNTIL(callbacks >= count);
  run_iterations(test);
  CHECK(callbacks == count && callbacks_inside == 0);
}

static int stopped;

static void stop_at_once(uv_udp_t* udp, ssize_t nread, const uv_buf_t* buf, const struct sockaddr* addr, unsigned flags) {
  (void) nread, (void) buf, (void) flags;
  if (addr == NULL) return;
  stopped++;
  CHECK(uv_udp_recv_stop(udp) == 0);
}

static void none_inside_recv_start(test_t* test) {
  raw_t peer = raw_socket(test);
  uv_udp_t* udp = bound_udp(test);
  for (int i = 0; i < 3; i++) raw_send_text(&peer, "x", local_of(udp));
  /* Datagrams in the socket buffer. */
  MAKE(uv_udp_recv_start(udp, on_alloc, on_received));
  come_from_the_loop(test, 3);
  /* Datagrams in the handle: one batch, whose first callback stopped receiving. */
  CHECK(uv_udp_recv_stop(udp) == 0);
  for (int i = 0; i < 3; i++) raw_send_text(&peer, "x", local_of(udp));
  CHECK(uv_udp_recv_start(udp, on_alloc, stop_at_once) == 0);
  RUN_UNTIL(stopped == 1);
  MAKE(uv_udp_recv_start(udp, on_alloc, on_received));
  come_from_the_loop(test, 5);
}

const rule_t delivery_rules[] = {
    {"batch/recv-batch-start-delivers-in-order",
     "UV_UDP_RECVMMSG delivers the same datagrams with the same sources, many in one buffer.", EACH_FAMILY, recv_large},
    EACH("errors/refused-is-reported-once-per-error", reported_once),
    {"reports/come-once-each",
     "With UV_UDP_LINUX_RECVERR an unconnected handle receives each error once, without it none.",
     EACH_FAMILY, with_recverr},
    {"fairness/what-was-refused-comes-in-parts",
     "Datagrams that alloc_cb had no memory for are not all offered in one iteration.",
     EACH_FAMILY, refused_datagrams_come_in_parts},
    {"filter/large-buffers-receive-the-peer-only",
     "Buffers for several datagrams receive only the peer's datagrams after uv_udp_connect.",
     EACH_FAMILY, batches_without_outsiders},
    EACH("filter/connecting-in-the-callback-ends-strangers-at-once", connecting_in_the_callback),
    EACH("callbacks/none-inside-recv-start", none_inside_recv_start),
    END,
};
