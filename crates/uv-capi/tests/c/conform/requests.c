/* Requests: each that is accepted completes once, in order, and whose memory is whose. */
#include "conform.h"

static void each_completes_once(stage_t* stage) {
  raw_t peer = raw_socket(stage);
  outbox_t outbox = {0};
  uv_udp_t* udp = connected_udp(stage, peer.address);
  for (int i = 0; i < 150; i++) {
    ENSURE(mail(&outbox, i, udp, numbered(i, 4 + i % 7), 4 + i % 7, NULL) == 0);
    if (i % 40 == 0) settle(stage);
  }
  UNTIL(outbox.count >= 150);
  settle(stage);
  ENSURE(all_well(&outbox, 150));
}

static outbox_t* watched;
static int completed_before_close;

static void on_closed(uv_handle_t* handle) {
  completed_before_close = watched->count;
  free(handle);
}

static void before_close(stage_t* stage) {
  raw_t peer = raw_socket(stage);
  outbox_t outbox = {0};
  uv_udp_t* udp = connected_udp(stage, peer.address);
  completed_before_close = -1;
  watched = &outbox;
  for (int i = 0; i < 20; i++) ENSURE(mail(&outbox, i, udp, numbered(i, 10), 10, NULL) == 0);
  uv_close((uv_handle_t*) udp, on_closed);
  ENSURE(outbox.count == 0 && completed_before_close == -1);
  UNTIL(completed_before_close >= 0);
  settle(stage);
  ENSURE(completed_before_close == 20);
  THERE_OR_NOWHERE(&outbox, 20, &peer);
}

static void refused_accepts_nothing(stage_t* stage) {
  static char large[65508];
  raw_t peer = raw_socket(stage);
  outbox_t outbox = {0};
  uv_udp_t* udp = bound_udp(stage);
  memset(large, 'x', sizeof large);
  ENSURE(mail_to_peer(&outbox, 9, udp, "x") == UV_EDESTADDRREQ);
  ENSURE(mail_to(&outbox, 9, udp, "x", at(loopback_of(stage->family, 0))) == UV_EINVAL);
  ENSURE(mail_to(&outbox, 9, udp, "x", at(loopback_of(other_family(stage), 9))) == UV_EAFNOSUPPORT);
  /* An empty datagram is a datagram. */
  ENSURE(mail_to(&outbox, 0, udp, "", at(peer.address)) == 0);
  ENSURE(mail(&outbox, 9, udp, large, 65508, at(peer.address)) == UV_EMSGSIZE);
  ENSURE(udp->send_queue_count == 1 && udp->send_queue_size == 0);
  UNTIL(outbox.count == 1);
  close_udp(udp);
  ENSURE(mail_to(&outbox, 9, udp, "x", at(peer.address)) == UV_EBADF);
  TO_THE_END();
  ENSURE(all_well(&outbox, 1));
}

static size_t seen_counts[3], seen_sizes[3];
static int seen;

static void note_queue(uv_udp_send_t* req, int status) {
  ENSURE(status == 0 && seen < 3);
  seen_counts[seen] = req->handle->send_queue_count;
  seen_sizes[seen++] = uv_udp_get_send_queue_size(req->handle);
}

static void queue_counts(stage_t* stage) {
  static const size_t counts[] = {2, 1, 0}, sizes[] = {20, 0, 0}, accepted[] = {10, 30, 30};
  raw_t peer = raw_socket(stage);
  uv_udp_t* udp = connected_udp(stage, peer.address);
  uv_udp_send_t reqs[3];
  uv_buf_t bufs[] = {text("0123456789"), text("01234567890123456789"), text("")};
  seen = 0;
  ENSURE(udp->send_queue_count == 0 && udp->send_queue_size == 0);
  for (int i = 0; i < 3; i++) {
    ENSURE(send_to_peer(&reqs[i], udp, &bufs[i], 1, note_queue) == 0);
    ENSURE((int) udp->send_queue_count == i + 1 && udp->send_queue_size == accepted[i]);
    ENSURE(uv_udp_get_send_queue_count(udp) == udp->send_queue_count && uv_udp_get_send_queue_size(udp) == udp->send_queue_size);
  }
  ENSURE(say(udp, "refused") == UV_EAGAIN && udp->send_queue_count == 3 && udp->send_queue_size == 30);
  UNTIL(seen == 3);
  for (int i = 0; i < 3; i++) ENSURE(seen_counts[i] == counts[i] && seen_sizes[i] == sizes[i]);
  ENSURE(udp->send_queue_count == 0 && udp->send_queue_size == 0 && !uv_is_active((uv_handle_t*) udp));
}

static int rounds;

static void on_sent_again(uv_udp_send_t* req, int status) {
  ENSURE(status == 0);
  if (++rounds < 200) {
    uv_buf_t buf = uv_buf_init((char*) numbered(rounds, 8), 8);
    ENSURE(send_to_peer(req, req->handle, &buf, 1, on_sent_again) == 0);
  }
}

static void callbacks_send_again(stage_t* stage) {
  raw_t peer = raw_socket(stage);
  uv_udp_t* udp = connected_udp(stage, peer.address);
  uv_udp_send_t req;
  uv_buf_t buf = uv_buf_init((char*) numbered(0, 8), 8);
  rounds = 0;
  ENSURE(send_to_peer(&req, udp, &buf, 1, on_sent_again) == 0);
  TO_THE_END();
  ENSURE(rounds == 200);
  for (int i = 0; i < 200; i++) ENSURE(number_in(raw_recv(&peer).text) == i);
}

static void payloads_are_free(stage_t* stage) {
  raw_t peer = raw_socket(stage);
  outbox_t outbox = {0};
  uv_udp_t* udp = connected_udp(stage, peer.address);
  /* mail() overwrites and frees what it sent. */
  for (int i = 0; i < 100; i++) ENSURE(mail(&outbox, i, udp, numbered(i, 4), 4, NULL) == 0);
  UNTIL(outbox.count == 100);
  for (int i = 0; i < 100; i++) {
    letter_t letter = raw_recv(&peer);
    ENSURE(letter.len == 4 && number_in(letter.text) == i);
  }
}

static void without_callback(stage_t* stage) {
  raw_t peer = raw_socket(stage);
  uv_udp_t* udp = bound_udp(stage);
  uv_udp_send_t reqs[2];
  uv_buf_t buf = text("quiet");
  for (int i = 0; i < 2; i++) {
    reqs[i].data = &peer;
    ENSURE(send_to(&reqs[i], udp, &buf, 1, at(peer.address), NULL) == 0);
    ENSURE(reqs[i].handle == udp && reqs[i].type == UV_UDP_SEND && reqs[i].data == &peer);
  }
  ENSURE(udp->send_queue_count == 2);
  TO_THE_END();
  ENSURE(udp->send_queue_count == 0);
  GETS_ONLY(&peer, "quiet", "quiet");
}

static int freed;

static void free_request(uv_udp_send_t* req, int status) {
  ENSURE(status == 0);
  freed++;
  memset(req, '#', sizeof *req);
  free(req);
}

static void memory_is_the_programs(stage_t* stage) {
  raw_t peer = raw_socket(stage);
  uv_udp_t* udp = connected_udp(stage, peer.address);
  uv_buf_t buf = text("x");
  for (int i = 0; i < 20; i++) {
    ENSURE(send_to_peer((uv_udp_send_t*) malloc(sizeof(uv_udp_send_t)), udp, &buf, 1, free_request) == 0);
  }
  TO_THE_END();
  ENSURE(freed == 20 && udp->send_queue_count == 0);
}

static void requests_keep_alive(stage_t* stage) {
  raw_t peer = raw_socket(stage);
  outbox_t outbox = {0};
  uv_udp_t* udp = new_udp(stage);
  uv_unref((uv_handle_t*) udp);
  ENSURE(mail_to(&outbox, 0, udp, "x", at(peer.address)) == 0 && mail_to(&outbox, 1, udp, "y", at(peer.address)) == 0);
  ENSURE(uv_loop_alive(&stage->loop));
  TO_THE_END();
  ENSURE(all_well(&outbox, 2) && !uv_loop_alive(&stage->loop));
}

const rule_t request_rules[] = {
    EACH("requests/each-completes-once-in-order-of-acceptance", each_completes_once),
    EACH("requests/complete-before-the-close-callback", before_close),
    EACH("requests/a-refused-call-accepts-nothing", refused_accepts_nothing),
    EACH("requests/the-queue-counts-requests-and-bytes", queue_counts),
    EACH("requests/a-callback-may-send-the-next", callbacks_send_again),
    EACH("requests/payloads-are-free-after-the-call", payloads_are_free),
    {"requests/the-callback-may-be-null", "A send without a callback is sent all the same.", EACH_FAMILY, without_callback},
    {"requests/memory-is-the-programs-in-the-callback", "A request's memory may be overwritten and freed in its callback.",
     EACH_FAMILY, memory_is_the_programs},
    {"requests/keep-the-loop-alive", "Sends under way keep the loop running also if their handle does not.", EACH_FAMILY,
     requests_keep_alive},
    END,
};
