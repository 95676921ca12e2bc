/* Send requests: ownership of memory, queue counts, and cancellation. */
#include "conform.h"

static completions_t* watched;
static int completed_before_close;

static void on_closed(uv_handle_t* handle) {
  completed_before_close = watched->count;
  free(handle);
}

static void before_close(test_t* test) {
  raw_t peer = raw_socket(test);
  completions_t completions = {0};
  uv_udp_t* udp = connected_udp(test, peer.address);
  completed_before_close = -1;
  watched = &completions;
  for (int i = 0; i < 20; i++) CHECK(queue_send(&completions, i, udp, numbered(i, 10), 10, NULL) == 0);
  uv_close((uv_handle_t*) udp, on_closed);
  CHECK(completions.count == 0 && completed_before_close == -1);
  RUN_UNTIL(completed_before_close >= 0);
  run_iterations(test);
  CHECK(completed_before_close == 20);
  CHECK(in_order(&completions, 20) && raw_drain(&peer) == count_succeeded(&completions));
}

static void refused_accepts_nothing(test_t* test) {
  static char large[65508];
  raw_t peer = raw_socket(test);
  completions_t completions = {0};
  uv_udp_t* udp = bound_udp(test);
  memset(large, 'x', sizeof large);
  CHECK(queue_text(&completions, 9, udp, "x") == UV_EDESTADDRREQ);
  CHECK(queue_text_to(&completions, 9, udp, "x", at(loopback_of(test->family, 0))) == UV_EINVAL);
  CHECK(queue_text_to(&completions, 9, udp, "x", at(loopback_of(other_family(test), 9))) == UV_EAFNOSUPPORT);
  /* An empty datagram is accepted. */
  CHECK(queue_text_to(&completions, 0, udp, "", at(peer.address)) == 0);
  CHECK(queue_send(&completions, 9, udp, large, 65508, at(peer.address)) == UV_EMSGSIZE);
  CHECK(udp->send_queue_count == 1 && udp->send_queue_size == 0);
  RUN_UNTIL(completions.count == 1);
  close_udp(udp);
  CHECK(queue_text_to(&completions, 9, udp, "x", at(peer.address)) == UV_EBADF);
  RUN_TO_END();
  CHECK(all_succeeded(&completions, 1));
}

static size_t seen_counts[3], seen_sizes[3];
static int seen;

static void note_queue(uv_udp_send_t* req, int status) {
  CHECK(status == 0 && seen < 3);
  seen_counts[seen] = req->handle->send_queue_count;
  seen_sizes[seen++] = uv_udp_get_send_queue_size(req->handle);
}

static void queue_counts(test_t* test) {
  static const size_t counts[] = {2, 1, 0}, sizes[] = {20, 0, 0}, accepted[] = {10, 30, 30};
  raw_t peer = raw_socket(test);
  uv_udp_t* udp = connected_udp(test, peer.address);
  uv_udp_send_t reqs[3];
  uv_buf_t bufs[] = {text("0123456789"), text("01234567890123456789"), text("")};
  seen = 0;
  CHECK(udp->send_queue_count == 0 && udp->send_queue_size == 0);
  for (int i = 0; i < 3; i++) {
    CHECK(send_to_peer(&reqs[i], udp, &bufs[i], 1, note_queue) == 0);
    CHECK((int) udp->send_queue_count == i + 1 && udp->send_queue_size == accepted[i]);
    CHECK(uv_udp_get_send_queue_count(udp) == udp->send_queue_count && uv_udp_get_send_queue_size(udp) == udp->send_queue_size);
  }
  CHECK(try_text(udp, "refused") == UV_EAGAIN && udp->send_queue_count == 3 && udp->send_queue_size == 30);
  RUN_UNTIL(seen == 3);
  for (int i = 0; i < 3; i++) CHECK(seen_counts[i] == counts[i] && seen_sizes[i] == sizes[i]);
  CHECK(udp->send_queue_count == 0 && udp->send_queue_size == 0 && !uv_is_active((uv_handle_t*) udp));
}

static int rounds;

static void on_sent_again(uv_udp_send_t* req, int status) {
  CHECK(status == 0);
  if (++rounds < 200) {
    uv_buf_t buf = uv_buf_init((char*) numbered(rounds, 8), 8);
    CHECK(send_to_peer(req, req->handle, &buf, 1, on_sent_again) == 0);
  }
}

static void callbacks_send_again(test_t* test) {
  raw_t peer = raw_socket(test);
  uv_udp_t* udp = connected_udp(test, peer.address);
  uv_udp_send_t req;
  uv_buf_t buf = uv_buf_init((char*) numbered(0, 8), 8);
  rounds = 0;
  CHECK(send_to_peer(&req, udp, &buf, 1, on_sent_again) == 0);
  RUN_TO_END();
  CHECK(rounds == 200);
  for (int i = 0; i < 200; i++) CHECK(number_in(raw_recv(&peer).text) == i);
}

static void payloads_are_free(test_t* test) {
  raw_t peer = raw_socket(test);
  completions_t completions = {0};
  uv_udp_t* udp = connected_udp(test, peer.address);
  /* queue_send() overwrites and frees its payload. */
  for (int i = 0; i < 100; i++) CHECK(queue_send(&completions, i, udp, numbered(i, 4), 4, NULL) == 0);
  RUN_UNTIL(completions.count == 100);
  for (int i = 0; i < 100; i++) {
    datagram_t datagram = raw_recv(&peer);
    CHECK(datagram.len == 4 && number_in(datagram.text) == i);
  }
}

static void without_callback(test_t* test) {
  raw_t peer = raw_socket(test);
  uv_udp_t* udp = bound_udp(test);
  uv_udp_send_t reqs[2];
  uv_buf_t buf = text("quiet");
  for (int i = 0; i < 2; i++) {
    reqs[i].data = &peer;
    CHECK(send_to(&reqs[i], udp, &buf, 1, at(peer.address), NULL) == 0);
    CHECK(reqs[i].handle == udp && reqs[i].type == UV_UDP_SEND && reqs[i].data == &peer);
  }
  CHECK(udp->send_queue_count == 2);
  RUN_TO_END();
  CHECK(udp->send_queue_count == 0);
  EXPECT_ONLY_TEXTS(&peer, "quiet", "quiet");
}

static int freed;

static void free_request(uv_udp_send_t* req, int status) {
  CHECK(status == 0);
  freed++;
  memset(req, '#', sizeof *req);
  free(req);
}

static void memory_is_the_programs(test_t* test) {
  raw_t peer = raw_socket(test);
  uv_udp_t* udp = connected_udp(test, peer.address);
  uv_buf_t buf = text("x");
  for (int i = 0; i < 20; i++) {
    CHECK(send_to_peer((uv_udp_send_t*) malloc(sizeof(uv_udp_send_t)), udp, &buf, 1, free_request) == 0);
  }
  RUN_TO_END();
  CHECK(freed == 20 && udp->send_queue_count == 0);
}

static void requests_keep_alive(test_t* test) {
  raw_t peer = raw_socket(test);
  completions_t completions = {0};
  uv_udp_t* udp = new_udp(test);
  uv_unref((uv_handle_t*) udp);
  CHECK(queue_text_to(&completions, 0, udp, "x", at(peer.address)) == 0 && queue_text_to(&completions, 1, udp, "y", at(peer.address)) == 0);
  CHECK(uv_loop_alive(&test->loop));
  RUN_TO_END();
  CHECK(all_succeeded(&completions, 2) && !uv_loop_alive(&test->loop));
}

/* Queued requests of a full send buffer end with UV_ECANCELED, in order, when the handle closes or loses its peer. */
static void cancels(test_t* test, int (*end)(uv_udp_t*)) {
  completions_t completions = {0};
  int smallest = 1, sent;
  add_cable(test);
  watched = &completions;
  completed_before_close = -1;
  uv_udp_t* udp = connected_udp(test, silent_of(test->family, 9));
  CHECK(uv_send_buffer_size((uv_handle_t*) udp, &smallest) == 0);
  /* Each longer than the one before, so that none share a GSO message. */
  for (int i = 0; i < 60; i++) CHECK(queue_send(&completions, i, udp, numbered(i, 10 + i), 10 + i, NULL) == 0);
  run_iterations(test);
  sent = completions.count;
  CHECK(sent < 60 && udp->send_queue_count == (size_t) (60 - sent) && try_text(udp, "x") == UV_EAGAIN);
  CHECK(end(udp) == 0);
  CHECK(completions.count == sent);
  RUN_UNTIL(completions.count == 60);
  run_iterations(test);
  CHECK(in_order(&completions, 60) && count_succeeded(&completions) == sent);
  note("%d of 60 sent", sent);
}

static int close_noted(uv_udp_t* udp) {
  uv_close((uv_handle_t*) udp, on_closed);
  return 0;
}

static void close_cancels(test_t* test) {
  cancels(test, close_noted);
  CHECK(completed_before_close == 60);
}

static void disconnect_cancels(test_t* test) {
  cancels(test, disconnect);
}

static uv_udp_t* of_request;
static int status_seen;

static void note_both(uv_udp_send_t* req, int status) {
  of_request = req->handle;
  status_seen = status;
}

static void the_callback_gets_both(test_t* test) {
  raw_t peer = raw_socket(test);
  uv_udp_t* udp = connected_udp(test, peer.address);
  uv_udp_send_t req;
  uv_buf_t buf = text("hello");
  of_request = NULL;
  status_seen = 77;
  CHECK(send_to_peer(&req, udp, &buf, 1, note_both) == 0);
  CHECK(req.type == UV_UDP_SEND && req.handle == udp);
  RUN_UNTIL(of_request != NULL);
  CHECK(of_request == udp && status_seen == 0);
}

const rule_t request_rules[] = {
    EACH("requests/complete-before-the-close-callback", before_close),
    EACH("requests/a-refused-call-accepts-nothing", refused_accepts_nothing),
    EACH("requests/the-queue-counts-requests-and-bytes", queue_counts),
    EACH("requests/a-callback-may-send-the-next", callbacks_send_again),
    EACH("requests/payloads-are-free-after-the-call", payloads_are_free),
    {"requests/the-callback-may-be-null", "A request without a callback is sent.", EACH_FAMILY, without_callback},
    {"requests/memory-is-the-programs-in-the-callback",
     "A request's memory may be overwritten and freed in its callback.", EACH_FAMILY, memory_is_the_programs},
    {"requests/keep-the-loop-alive",
     "Requests keep the loop alive even if their handle is unreferenced.", EACH_FAMILY, requests_keep_alive},
    ISOLATED("pressure/close-cancels-what-does-not-go", close_cancels),
    ISOLATED("pressure/disconnect-cancels-what-does-not-go", disconnect_cancels),
    EACH("proposal/the-callback-gets-the-handle-and-the-result", the_callback_gets_both),
    END,
};
