/* A callback never runs inside a call that the program makes, nor inside another one. */
#include "conform.h"

/* Whether a call of the rule is under way, how many callbacks there were, and how many of them inside a call. */
static int under_way, callbacks, inside;

#define MAKE(call)                                                                            \
  do {                                                                                        \
    under_way = 1;                                                                            \
    int result = (call);                                                                      \
    under_way = 0;                                                                            \
    if (result < 0) FAIL(#call);                                                              \
  } while (0)

static void called_back(void) {
  callbacks++;
  inside += under_way;
}

static void on_sent(uv_udp_send_t* req, int status) {
  (void) status;
  called_back();
  free(req);
}

static void on_alloc(uv_handle_t* handle, size_t suggested, uv_buf_t* buf) {
  alloc_the_same(handle, suggested, buf);
  inside += under_way;
}

static void on_received(uv_udp_t* udp, ssize_t nread, const uv_buf_t* buf, const struct sockaddr* addr, unsigned flags) {
  (void) udp, (void) buf, (void) flags;
  if (nread < 0 || addr != NULL) called_back();
  inside += under_way;
}

static void on_closed(uv_handle_t* handle) {
  called_back();
  free(handle);
}

static int post(uv_udp_t* udp) {
  uv_buf_t buf = text("x");
  return send_to_peer((uv_udp_send_t*) malloc(sizeof(uv_udp_send_t)), udp, &buf, 1, on_sent);
}

static int post_to(uv_udp_t* udp, address_t to) {
  uv_buf_t buf = text("x");
  return send_to((uv_udp_send_t*) malloc(sizeof(uv_udp_send_t)), udp, &buf, 1, at(to), on_sent);
}

/* Waits for so many callbacks, none of them inside a call. */
static void come_from_the_loop(stage_t* stage, int count) {
  UNTIL(callbacks >= count);
  settle(stage);
  ENSURE(callbacks == count);
  ENSURE(inside == 0);
}

static void none_inside_send(stage_t* stage) {
  raw_t peer = raw_socket(stage);
  uv_udp_t* udp = bound_udp(stage);
  for (int i = 0; i < 3; i++) MAKE(post_to(udp, peer.address));
  come_from_the_loop(stage, 3);
  ENSURE(uv_udp_connect(udp, at(peer.address)) == 0);
  for (int i = 0; i < 100; i++) MAKE(post(udp));
  come_from_the_loop(stage, 103);
}

static void none_inside_try_send(stage_t* stage) {
  uv_udp_t* udp = connected_udp(stage, dead_address(stage));
  MAKE(uv_udp_recv_start(udp, on_alloc, on_received));
  MAKE(say(udp, "refused"));
  MAKE(say(udp, "refused, after the news of the first"));
  come_from_the_loop(stage, 2);
}

static void none_inside_connect(stage_t* stage) {
  raw_t first = raw_socket(stage), second = raw_socket(stage);
  uv_udp_t* udp = connected_udp(stage, first.address);
  for (int i = 0; i < 3; i++) ENSURE(post(udp) == 0);
  MAKE(connect_anew(udp, at(second.address)));
  for (int i = 0; i < 3; i++) ENSURE(post(udp) == 0);
  MAKE(disconnect(udp));
  for (int i = 0; i < 3; i++) ENSURE(post_to(udp, first.address) == 0);
  MAKE(uv_udp_connect(udp, at(first.address)));
  come_from_the_loop(stage, 9);
}

static int close_it(uv_udp_t* udp) {
  uv_close((uv_handle_t*) udp, on_closed);
  return 0;
}

static void none_inside_close(stage_t* stage) {
  raw_t peer = raw_socket(stage);
  uv_udp_t* udp = connected_udp(stage, peer.address);
  ENSURE(uv_udp_recv_start(udp, on_alloc, on_received) == 0);
  raw_say(&peer, "never delivered", local_of(udp));
  for (int i = 0; i < 3; i++) ENSURE(post(udp) == 0);
  MAKE(close_it(udp));
  come_from_the_loop(stage, 4);
}

static int stopped;

static void stop_at_once(uv_udp_t* udp, ssize_t nread, const uv_buf_t* buf, const struct sockaddr* addr, unsigned flags) {
  (void) nread, (void) buf, (void) flags;
  if (addr == NULL) return;
  stopped++;
  ENSURE(uv_udp_recv_stop(udp) == 0);
}

static void none_inside_recv_start(stage_t* stage) {
  raw_t peer = raw_socket(stage);
  uv_udp_t* udp = bound_udp(stage);
  for (int i = 0; i < 3; i++) raw_say(&peer, "x", local_of(udp));
  /* Waiting in the socket. */
  MAKE(uv_udp_recv_start(udp, on_alloc, on_received));
  come_from_the_loop(stage, 3);
  /* Waiting in the handle: received with the one whose callback stopped it. */
  ENSURE(uv_udp_recv_stop(udp) == 0);
  for (int i = 0; i < 3; i++) raw_say(&peer, "x", local_of(udp));
  ENSURE(uv_udp_recv_start(udp, on_alloc, stop_at_once) == 0);
  UNTIL(stopped == 1);
  MAKE(uv_udp_recv_start(udp, on_alloc, on_received));
  come_from_the_loop(stage, 5);
}

/* How many callbacks are under way, and the most that ever were. */
static int depth, deepest;
static uv_udp_t* other;

static void enter(void) {
  if (++depth > deepest) deepest = depth;
  callbacks++;
}

static void nested_sent(uv_udp_send_t* req, int status) {
  enter();
  ENSURE(status == 0);
  free(req);
  depth--;
}

static void nested_closed(uv_handle_t* handle) {
  enter();
  free(handle);
  depth--;
}

static void answer_and_close(uv_udp_t* udp, ssize_t nread, const uv_buf_t* buf, const struct sockaddr* addr, unsigned flags) {
  (void) flags;
  if (addr == NULL) return;
  enter();
  uv_buf_t answer = uv_buf_init(buf->base, (unsigned) nread);
  for (int i = 0; i < 2; i++) {
    ENSURE(send_to((uv_udp_send_t*) malloc(sizeof(uv_udp_send_t)), udp, &answer, 1, addr, nested_sent) == 0);
  }
  uv_close((uv_handle_t*) other, nested_closed);
  ENSURE(uv_udp_recv_stop(udp) == 0);
  depth--;
}

static void none_inside_another(stage_t* stage) {
  raw_t peer = raw_socket(stage);
  uv_udp_t* server = bound_udp(stage);
  uv_buf_t buf = text("x");
  other = connected_udp(stage, peer.address);
  for (int i = 0; i < 2; i++) {
    ENSURE(send_to_peer((uv_udp_send_t*) malloc(sizeof(uv_udp_send_t)), other, &buf, 1, nested_sent) == 0);
  }
  ENSURE(uv_udp_recv_start(server, on_alloc, answer_and_close) == 0);
  raw_say(&peer, "hello", local_of(server));
  /* One received, four sent, one closed. */
  UNTIL(callbacks >= 6);
  settle(stage);
  ENSURE(callbacks == 6 && deepest == 1);
}

const rule_t callback_rules[] = {
    EACH("callbacks/none-inside-send", none_inside_send),
    EACH("callbacks/none-inside-try-send", none_inside_try_send),
    EACH("callbacks/none-inside-connect-and-disconnect", none_inside_connect),
    EACH("callbacks/none-inside-close", none_inside_close),
    EACH("callbacks/none-inside-recv-start", none_inside_recv_start),
    EACH("callbacks/none-inside-another", none_inside_another),
    END,
};
