/* The life of handles: closing, stopping, and what callbacks may do to their own and to others. */
#include "conform.h"

static int calls, closes, received_at_close;

static void count_close(uv_handle_t* handle) {
  (void) handle;
  closes++;
  received_at_close = calls;
}

/* A handle in the rule's own memory, bound to the loopback address. */
static void init_bound(stage_t* stage, uv_udp_t* udp) {
  ENSURE(uv_udp_init(&stage->loop, udp) == 0 && uv_udp_bind(udp, at(loopback_of(stage->family, 0)), 0) == 0);
}

static address_t freed;

static void note_free_address(uv_handle_t* handle) {
  closes++;
  ENSURE(uv_is_closing(handle) && !uv_is_active(handle));
  /* The socket is gone by now. */
  raw_at(freed);
}

static void close_calls_back(stage_t* stage) {
  uv_udp_t udp;
  init_bound(stage, &udp);
  freed = local_of(&udp);
  uv_close((uv_handle_t*) &udp, note_free_address);
  ENSURE(uv_is_closing((uv_handle_t*) &udp) && !uv_is_active((uv_handle_t*) &udp) && closes == 0);
  ENSURE(uv_loop_alive(&stage->loop));
  UNTIL(closes > 0);
  settle(stage);
  ENSURE(closes == 1);
}

static void never_called(uv_handle_t* handle) {
  (void) handle;
  FAIL("the second callback is never called");
}

static void close_twice(stage_t* stage) {
  uv_udp_t udp;
  init_bound(stage, &udp);
  uv_close((uv_handle_t*) &udp, count_close);
  uv_close((uv_handle_t*) &udp, never_called);
  TO_THE_END();
  uv_close((uv_handle_t*) &udp, never_called);
  TO_THE_END();
  ENSURE(closes == 1);
}

static void recv_and_close(uv_udp_t* udp, ssize_t nread, const uv_buf_t* buf, const struct sockaddr* addr, unsigned flags) {
  inbox_recv(udp, nread, buf, addr, flags);
  calls++;
  ENSURE(!uv_is_closing((uv_handle_t*) udp));
  uv_close((uv_handle_t*) udp, count_close);
}

static void close_in_receive(stage_t* stage) {
  raw_t peer = raw_socket(stage);
  uv_udp_t udp;
  inbox_t inbox = {0};
  init_bound(stage, &udp);
  for (int i = 0; i < 10; i++) raw_say(&peer, "hello", local_of(&udp));
  ENSURE(receive_with(&udp, &inbox, inbox_alloc, recv_and_close) == 0);
  TO_THE_END();
  ENSURE(calls == 1 && inbox.count == 1 && inbox.lent == 0 && closes == 1 && received_at_close == 1);
}

static void alloc_and_close(uv_handle_t* handle, size_t suggested, uv_buf_t* buf) {
  inbox_alloc(handle, suggested, buf);
  uv_close(handle, count_close);
}

static void close_in_alloc(stage_t* stage) {
  raw_t peer = raw_socket(stage);
  uv_udp_t udp;
  inbox_t inbox = {0};
  init_bound(stage, &udp);
  ENSURE(receive_with(&udp, &inbox, alloc_and_close, inbox_recv) == 0);
  raw_say(&peer, "hello", local_of(&udp));
  TO_THE_END();
  ENSURE(inbox.count == 0 && inbox.lent == 0 && closes == 1);
}

static outbox_t* watched;

static void close_when_sent(uv_udp_send_t* req, int status) {
  ENSURE(watched->count == 0);
  watched->order[0] = 0;
  watched->status[watched->count++] = status;
  uv_close((uv_handle_t*) req->handle, count_close);
}

static void note_completed(uv_handle_t* handle) {
  (void) handle;
  closes++;
}

static void close_in_send(stage_t* stage) {
  raw_t peer = raw_socket(stage);
  outbox_t outbox = {0};
  uv_udp_t udp;
  uv_udp_send_t req;
  uv_buf_t buf = uv_buf_init((char*) numbered(0, 10), 10);
  watched = &outbox;
  ENSURE(uv_udp_init(&stage->loop, &udp) == 0 && uv_udp_connect(&udp, at(peer.address)) == 0);
  ENSURE(send_to_peer(&req, &udp, &buf, 1, close_when_sent) == 0);
  for (int i = 1; i < 20; i++) ENSURE(mail(&outbox, i, &udp, numbered(i, 10), 10, NULL) == 0);
  TO_THE_END();
  ENSURE(closes == 1 && udp.send_queue_count == 0 && udp.send_queue_size == 0);
  THERE_OR_NOWHERE(&outbox, 20, &peer);
}

static uv_udp_t several[5];

static void recv_and_close_all(uv_udp_t* udp, ssize_t nread, const uv_buf_t* buf, const struct sockaddr* addr, unsigned flags) {
  (void) udp, (void) nread, (void) flags;
  free(buf->base);
  if (addr == NULL) return;
  calls++;
  for (int i = 0; i < 5; i++) uv_close((uv_handle_t*) &several[i], note_completed);
}

static void close_another(stage_t* stage) {
  raw_t peer = raw_socket(stage);
  for (int i = 0; i < 5; i++) {
    init_bound(stage, &several[i]);
    ENSURE(uv_udp_recv_start(&several[i], alloc_some, recv_and_close_all) == 0);
  }
  /* All of them are ready in the same poll. */
  for (int i = 0; i < 5; i++) raw_say(&peer, "hello", local_of(&several[i]));
  TO_THE_END();
  ENSURE(calls == 1 && closes == 5);
}

static void free_and_count(uv_handle_t* handle) {
  closes++;
  memset(handle, '#', sizeof(uv_udp_t));
  free(handle);
}

static void memory_is_free(stage_t* stage) {
  raw_t peer = raw_socket(stage);
  inbox_t inbox = {0};
  for (int i = 0; i < 3; i++) {
    uv_udp_t* udp = bound_udp(stage);
    ENSURE(receive(udp, &inbox) == 0 && say_to(udp, "x", peer.address) == 1);
    raw_say(&peer, "never heard", local_of(udp));
    uv_close((uv_handle_t*) udp, free_and_count);
  }
  TO_THE_END();
  ENSURE(closes == 3 && inbox.count == 0 && inbox.lent == 0 && !uv_loop_alive(&stage->loop));
}

static void made_again(uv_handle_t* handle) {
  uv_loop_t* loop = handle->loop;
  if (++closes == 5) return;
  ENSURE(uv_udp_init(loop, (uv_udp_t*) handle) == 0 && !uv_is_closing(handle));
  ENSURE(((uv_udp_t*) handle)->send_queue_count == 0);
  uv_close(handle, made_again);
}

static void used_again(stage_t* stage) {
  uv_udp_t udp;
  init_bound(stage, &udp);
  uv_close((uv_handle_t*) &udp, made_again);
  TO_THE_END();
  ENSURE(closes == 5);
}

const rule_t close_rules[] = {
    EACH("life/close-calls-back-once", close_calls_back),
    {"life/closing-twice-is-ebadf", "A second uv_close, which has no result, does nothing; its callback is never called, and the first one is.",
     EACH_FAMILY, close_twice},
    EACH("life/a-receive-callback-may-close-its-handle", close_in_receive),
    {"life/an-alloc-callback-may-close-its-handle", "An alloc callback may close its handle; its buffer comes back.", EACH_FAMILY, close_in_alloc},
    EACH("life/a-send-callback-may-close-its-handle", close_in_send),
    EACH("life/a-callback-may-close-another-handle", close_another),
    {"life/memory-is-the-programs-in-the-close-callback", "A handle's memory may be overwritten and freed in its close callback.", EACH_FAMILY,
     memory_is_free},
    {"life/a-close-callback-may-use-the-memory-again", "A handle's memory may become another handle in its close callback.", EACH_FAMILY,
     used_again},
    END,
};

static void second_recv(uv_udp_t* udp, ssize_t nread, const uv_buf_t* buf, const struct sockaddr* addr, unsigned flags) {
  calls += addr != NULL;
  inbox_recv(udp, nread, buf, addr, flags);
}

static void replace_callback(uv_udp_t* udp, ssize_t nread, const uv_buf_t* buf, const struct sockaddr* addr, unsigned flags) {
  inbox_recv(udp, nread, buf, addr, flags);
  ENSURE(uv_udp_recv_stop(udp) == 0 && uv_udp_recv_start(udp, inbox_alloc, second_recv) == 0);
}

static void stop_and_start(stage_t* stage) {
  raw_t peer = raw_socket(stage);
  inbox_t inbox = {0};
  uv_udp_t* udp = bound_udp(stage);
  for (int i = 0; i < 4; i++) raw_say(&peer, numbered(i, 4), local_of(udp));
  ENSURE(receive_with(udp, &inbox, inbox_alloc, replace_callback) == 0);
  UNTIL(inbox.count == 4);
  settle(stage);
  ENSURE(calls == 3 && inbox.lent == 0);
  for (int i = 0; i < 4; i++) ENSURE(number_in(inbox.letters[i].text) == i);
}

static void waits_while_stopped(stage_t* stage) {
  raw_t peer = raw_socket(stage);
  inbox_t inbox = {0};
  uv_udp_t* udp = bound_udp(stage);
  ENSURE(receive(udp, &inbox) == 0);
  raw_say(&peer, numbered(0, 4), local_of(udp));
  UNTIL(inbox.count == 1);
  ENSURE(uv_udp_recv_stop(udp) == 0);
  for (int i = 1; i < 50; i++) {
    raw_say(&peer, numbered(i, 4), local_of(udp));
    settle(stage);
  }
  ENSURE(inbox.count == 1 && receive(udp, &inbox) == 0);
  UNTIL(inbox.count == 50);
  for (int i = 0; i < 50; i++) ENSURE(number_in(inbox.letters[i].text) == i);
}

static void loop_ends(stage_t* stage) {
  raw_t peer = raw_socket(stage);
  inbox_t inbox = {0};
  outbox_t outbox = {0};
  uv_udp_t *bound = bound_udp(stage), *sender = connected_udp(stage, peer.address);
  ENSURE(!uv_loop_alive(&stage->loop) && mail_to_peer(&outbox, 0, sender, "x") == 0 && uv_loop_alive(&stage->loop));
  TO_THE_END();
  ENSURE(outbox.count == 1 && receive(bound, &inbox) == 0 && uv_loop_alive(&stage->loop));
  uv_unref((uv_handle_t*) bound);
  ENSURE(uv_is_active((uv_handle_t*) bound) && !uv_has_ref((uv_handle_t*) bound) && !uv_loop_alive(&stage->loop));
  TO_THE_END();
  uv_ref((uv_handle_t*) bound);
  ENSURE(uv_has_ref((uv_handle_t*) bound) && uv_loop_alive(&stage->loop) && uv_udp_recv_stop(bound) == 0);
  TO_THE_END();
}

const rule_t life_rules[] = {
    EACH("life/a-callback-may-stop-and-start-receiving", stop_and_start),
    EACH("life/what-arrives-while-stopped-waits", waits_while_stopped),
    EACH("life/a-handle-without-work-keeps-no-loop-alive", loop_ends),
    END,
};
