/* Handles: closing, stopping, and the calls that callbacks may make. */
#include "conform.h"

static int calls, closes, received_at_close;

static void count_close(uv_handle_t* handle) {
  (void) handle;
  closes++;
  received_at_close = calls;
}

/* Initializes a handle that the rule owns, bound to the loopback address. */
static void init_bound(test_t* test, uv_udp_t* udp) {
  CHECK(uv_udp_init(&test->loop, udp) == 0 && uv_udp_bind(udp, at(loopback_of(test->family, 0)), 0) == 0);
}

static address_t freed;

static void note_free_address(uv_handle_t* handle) {
  closes++;
  CHECK(uv_is_closing(handle) && !uv_is_active(handle));
  /* The socket is closed: its address is free. */
  raw_at(freed);
}

static void close_calls_back(test_t* test) {
  uv_udp_t udp;
  init_bound(test, &udp);
  freed = local_of(&udp);
  uv_close((uv_handle_t*) &udp, note_free_address);
  CHECK(uv_is_closing((uv_handle_t*) &udp) && !uv_is_active((uv_handle_t*) &udp) && closes == 0);
  CHECK(uv_loop_alive(&test->loop));
  RUN_UNTIL(closes > 0);
  run_iterations(test);
  CHECK(closes == 1);
}

static void never_called(uv_handle_t* handle) {
  (void) handle;
  FAIL("the second callback is never called");
}

static void close_twice(test_t* test) {
  uv_udp_t udp;
  init_bound(test, &udp);
  uv_close((uv_handle_t*) &udp, count_close);
  uv_close((uv_handle_t*) &udp, never_called);
  RUN_TO_END();
  uv_close((uv_handle_t*) &udp, never_called);
  RUN_TO_END();
  CHECK(closes == 1);
}

static void recv_and_close(uv_udp_t* udp, ssize_t nread, const uv_buf_t* buf, const struct sockaddr* addr, unsigned flags) {
  recording_recv(udp, nread, buf, addr, flags);
  calls++;
  CHECK(!uv_is_closing((uv_handle_t*) udp));
  uv_close((uv_handle_t*) udp, count_close);
}

static void close_in_receive(test_t* test) {
  raw_t peer = raw_socket(test);
  uv_udp_t udp;
  received_t received = {0};
  init_bound(test, &udp);
  for (int i = 0; i < 10; i++) raw_send_text(&peer, "hello", local_of(&udp));
  CHECK(start_receiving_with(&udp, &received, counting_alloc, recv_and_close) == 0);
  RUN_TO_END();
  CHECK(calls == 1 && received.count == 1 && received.lent == 0 && closes == 1 && received_at_close == 1);
}

static void alloc_and_close(uv_handle_t* handle, size_t suggested, uv_buf_t* buf) {
  counting_alloc(handle, suggested, buf);
  uv_close(handle, count_close);
}

static void close_in_alloc(test_t* test) {
  raw_t peer = raw_socket(test);
  uv_udp_t udp;
  received_t received = {0};
  init_bound(test, &udp);
  CHECK(start_receiving_with(&udp, &received, alloc_and_close, recording_recv) == 0);
  raw_send_text(&peer, "hello", local_of(&udp));
  RUN_TO_END();
  CHECK(received.count == 0 && received.lent == 0 && closes == 1);
}

static completions_t* watched;

static void close_when_sent(uv_udp_send_t* req, int status) {
  CHECK(watched->count == 0);
  watched->order[0] = 0;
  watched->status[watched->count++] = status;
  uv_close((uv_handle_t*) req->handle, count_close);
}

static void note_completed(uv_handle_t* handle) {
  (void) handle;
  closes++;
}

static void close_in_send(test_t* test) {
  raw_t peer = raw_socket(test);
  completions_t completions = {0};
  uv_udp_t udp;
  uv_udp_send_t req;
  uv_buf_t buf = uv_buf_init((char*) numbered(0, 10), 10);
  watched = &completions;
  CHECK(uv_udp_init(&test->loop, &udp) == 0 && uv_udp_connect(&udp, at(peer.address)) == 0);
  CHECK(send_to_peer(&req, &udp, &buf, 1, close_when_sent) == 0);
  for (int i = 1; i < 20; i++) CHECK(queue_send(&completions, i, &udp, numbered(i, 10), 10, NULL) == 0);
  RUN_TO_END();
  CHECK(closes == 1 && udp.send_queue_count == 0 && udp.send_queue_size == 0);
  CHECK(in_order(&completions, 20) && raw_drain(&peer) == count_succeeded(&completions));
}

static uv_udp_t several[5];

static void recv_and_close_all(uv_udp_t* udp, ssize_t nread, const uv_buf_t* buf, const struct sockaddr* addr, unsigned flags) {
  (void) udp, (void) nread, (void) flags;
  free(buf->base);
  if (addr == NULL) return;
  calls++;
  for (int i = 0; i < 5; i++) uv_close((uv_handle_t*) &several[i], note_completed);
}

static void close_another(test_t* test) {
  raw_t peer = raw_socket(test);
  for (int i = 0; i < 5; i++) {
    init_bound(test, &several[i]);
    CHECK(uv_udp_recv_start(&several[i], alloc_by_malloc, recv_and_close_all) == 0);
  }
  /* One poll reports all of them ready. */
  for (int i = 0; i < 5; i++) raw_send_text(&peer, "hello", local_of(&several[i]));
  RUN_TO_END();
  CHECK(calls == 1 && closes == 5);
}

static void free_and_count(uv_handle_t* handle) {
  closes++;
  memset(handle, '#', sizeof(uv_udp_t));
  free(handle);
}

static void memory_is_free(test_t* test) {
  raw_t peer = raw_socket(test);
  received_t received = {0};
  for (int i = 0; i < 3; i++) {
    uv_udp_t* udp = bound_udp(test);
    CHECK(start_receiving(udp, &received) == 0 && try_text_to(udp, "x", peer.address) == 1);
    raw_send_text(&peer, "not delivered", local_of(udp));
    uv_close((uv_handle_t*) udp, free_and_count);
  }
  RUN_TO_END();
  CHECK(closes == 3 && received.count == 0 && received.lent == 0 && !uv_loop_alive(&test->loop));
}

static void made_again(uv_handle_t* handle) {
  uv_loop_t* loop = handle->loop;
  if (++closes == 5) return;
  CHECK(uv_udp_init(loop, (uv_udp_t*) handle) == 0 && !uv_is_closing(handle));
  CHECK(((uv_udp_t*) handle)->send_queue_count == 0);
  uv_close(handle, made_again);
}

static void used_again(test_t* test) {
  uv_udp_t udp;
  init_bound(test, &udp);
  uv_close((uv_handle_t*) &udp, made_again);
  RUN_TO_END();
  CHECK(closes == 5);
}

const rule_t close_rules[] = {
    EACH("life/close-calls-back-once", close_calls_back),
    {"life/closing-twice-is-ebadf",
     "A second uv_close has no effect: only the first callback runs.", EACH_FAMILY, close_twice},
    EACH("life/a-receive-callback-may-close-its-handle", close_in_receive),
    {"life/an-alloc-callback-may-close-its-handle",
     "An alloc_cb may close its handle, and its buffer comes back.", EACH_FAMILY, close_in_alloc},
    EACH("life/a-send-callback-may-close-its-handle", close_in_send),
    EACH("life/a-callback-may-close-another-handle", close_another),
    {"life/memory-is-the-programs-in-the-close-callback",
     "A handle's memory may be overwritten and freed in its close callback.", EACH_FAMILY, memory_is_free},
    {"life/a-close-callback-may-use-the-memory-again",
     "A handle's memory may become another handle in its close callback.", EACH_FAMILY, used_again},
    END,
};

static void second_recv(uv_udp_t* udp, ssize_t nread, const uv_buf_t* buf, const struct sockaddr* addr, unsigned flags) {
  calls += addr != NULL;
  recording_recv(udp, nread, buf, addr, flags);
}

static void replace_callback(uv_udp_t* udp, ssize_t nread, const uv_buf_t* buf, const struct sockaddr* addr, unsigned flags) {
  recording_recv(udp, nread, buf, addr, flags);
  CHECK(uv_udp_recv_stop(udp) == 0 && uv_udp_recv_start(udp, counting_alloc, second_recv) == 0);
}

static void stop_and_start(test_t* test) {
  raw_t peer = raw_socket(test);
  received_t received = {0};
  uv_udp_t* udp = bound_udp(test);
  for (int i = 0; i < 4; i++) raw_send_text(&peer, numbered(i, 4), local_of(udp));
  CHECK(start_receiving_with(udp, &received, counting_alloc, replace_callback) == 0);
  RUN_UNTIL(received.count == 4);
  run_iterations(test);
  CHECK(calls == 3 && received.lent == 0);
  for (int i = 0; i < 4; i++) CHECK(number_in(received.datagrams[i].text) == i);
}

static void loop_ends(test_t* test) {
  raw_t peer = raw_socket(test);
  received_t received = {0};
  completions_t completions = {0};
  uv_udp_t *bound = bound_udp(test), *sender = connected_udp(test, peer.address);
  CHECK(!uv_loop_alive(&test->loop) && queue_text(&completions, 0, sender, "x") == 0 && uv_loop_alive(&test->loop));
  RUN_TO_END();
  CHECK(completions.count == 1 && start_receiving(bound, &received) == 0 && uv_loop_alive(&test->loop));
  uv_unref((uv_handle_t*) bound);
  CHECK(uv_is_active((uv_handle_t*) bound) && !uv_has_ref((uv_handle_t*) bound) && !uv_loop_alive(&test->loop));
  RUN_TO_END();
  uv_ref((uv_handle_t*) bound);
  CHECK(uv_has_ref((uv_handle_t*) bound) && uv_loop_alive(&test->loop) && uv_udp_recv_stop(bound) == 0);
  RUN_TO_END();
}

const rule_t life_rules[] = {
    EACH("life/a-callback-may-stop-and-start-receiving", stop_and_start),
    EACH("life/a-handle-without-work-keeps-no-loop-alive", loop_ends),
    END,
};
