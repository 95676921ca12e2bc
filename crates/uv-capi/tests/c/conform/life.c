/* The life of loops and handles. */
#include "conform.h"

static int calls;

static void count_close(uv_handle_t* handle) {
  (void) handle;
  calls++;
}

static void count_send(uv_udp_send_t* req, int status) {
  (void) req, (void) status;
  calls++;
}

static void count_timer(uv_timer_t* handle) {
  (void) handle;
  calls++;
}

static verdict_t not_inside(stage_t* stage) {
  uv_udp_t *receiver = bound_udp(stage), *udp = new_udp(stage);
  address_t to = local_of(receiver);
  uv_udp_send_t reqs[3];
  uv_buf_t buf = text("x");
  uv_timer_t timer;
  calls = 0;
  ENSURE(uv_timer_init(&stage->loop, &timer) == 0 && uv_timer_start(&timer, count_timer, 0, 0) == 0);
  ENSURE(send_to(&reqs[0], udp, &buf, 1, at(to), count_send) == 0);
  ENSURE(uv_udp_connect(udp, at(to)) == 0);
  ENSURE(send_to_peer(&reqs[1], udp, &buf, 1, count_send) == 0 && send_to_peer(&reqs[2], udp, &buf, 1, count_send) == 0);
  ENSURE(disconnect(udp) == 0);
  uv_close((uv_handle_t*) &timer, count_close);
  ENSURE(calls == 0);
  ENSURE(uv_run(&stage->loop, UV_RUN_DEFAULT) == 0);
  ENSURE(calls == 4);
  return HOLDS;
}

static void recv_and_close(uv_udp_t* udp, ssize_t nread, const uv_buf_t* buf, const struct sockaddr* addr, unsigned flags) {
  inbox_recv(udp, nread, buf, addr, flags);
  uv_close((uv_handle_t*) udp, count_close);
}

static verdict_t close_in_receive(stage_t* stage) {
  uv_udp_t udp, *sender = new_udp(stage);
  inbox_t inbox = {0};
  uv_buf_t buf = text("x");
  calls = 0;
  ENSURE(uv_udp_init(&stage->loop, &udp) == 0 && uv_udp_bind(&udp, at(loopback_of(stage->family, 0)), 0) == 0);
  address_t to = local_of(&udp);
  udp.data = &inbox;
  ENSURE(uv_udp_recv_start(&udp, inbox_alloc, recv_and_close) == 0);
  for (int i = 0; i < 5; i++) ENSURE(try_send_to(sender, &buf, 1, at(to)) == 1);
  ENSURE(uv_run(&stage->loop, UV_RUN_DEFAULT) == 0);
  ENSURE(inbox.count == 1 && inbox.lent == 0 && calls == 1);
  return HOLDS;
}

static void alloc_and_close(uv_handle_t* handle, size_t suggested, uv_buf_t* buf) {
  inbox_alloc(handle, suggested, buf);
  uv_close(handle, count_close);
}

static verdict_t close_in_alloc(stage_t* stage) {
  uv_udp_t udp, *sender = new_udp(stage);
  inbox_t inbox = {0};
  uv_buf_t buf = text("x");
  calls = 0;
  ENSURE(uv_udp_init(&stage->loop, &udp) == 0 && uv_udp_bind(&udp, at(loopback_of(stage->family, 0)), 0) == 0);
  address_t to = local_of(&udp);
  udp.data = &inbox;
  ENSURE(uv_udp_recv_start(&udp, alloc_and_close, inbox_recv) == 0);
  ENSURE(try_send_to(sender, &buf, 1, at(to)) == 1);
  ENSURE(uv_run(&stage->loop, UV_RUN_DEFAULT) == 0);
  ENSURE(inbox.count == 0 && inbox.lent == 0 && calls == 1);
  return HOLDS;
}

static uv_udp_t* victim;

static void close_victim(uv_udp_send_t* req, int status) {
  (void) status;
  calls++;
  if (victim != NULL) close_udp(victim);
  victim = NULL;
  if (!uv_is_closing((uv_handle_t*) req->handle)) uv_close((uv_handle_t*) req->handle, count_close);
}

static verdict_t close_in_send(stage_t* stage) {
  uv_udp_t udp;
  uv_udp_send_t reqs[3];
  inbox_t inbox = {0};
  uv_buf_t buf = text("x");
  calls = 0;
  victim = bound_udp(stage);
  address_t to = local_of(victim);
  ENSURE(receive(victim, &inbox) == 0 && uv_udp_init(&stage->loop, &udp) == 0);
  for (int i = 0; i < 3; i++) ENSURE(send_to(&reqs[i], &udp, &buf, 1, at(to), close_victim) == 0);
  ENSURE(uv_run(&stage->loop, UV_RUN_DEFAULT) == 0);
  ENSURE(calls == 4 && inbox.lent == 0);
  return HOLDS;
}

static uv_loop_t* outer;

static void run_inside(uv_timer_t* handle) {
  (void) handle;
  calls = uv_run(outer, UV_RUN_DEFAULT);
}

static verdict_t nested_run(stage_t* stage) {
  uv_timer_t timer;
  calls = 0;
  outer = &stage->loop;
  ENSURE(uv_timer_init(&stage->loop, &timer) == 0 && uv_timer_start(&timer, run_inside, 0, 0) == 0);
  ENSURE(uv_run(&stage->loop, UV_RUN_DEFAULT) == 0);
  ENSURE(calls == -EDEADLK);
  uv_close((uv_handle_t*) &timer, NULL);
  ENSURE(uv_run(&stage->loop, UV_RUN_DEFAULT) == 0);
  return HOLDS;
}

static void close_loop(uv_handle_t* handle) {
  calls = uv_loop_close(handle->loop);
}

static verdict_t close_loop_in_callback(stage_t* stage) {
  uv_loop_t loop;
  uv_timer_t timer;
  (void) stage;
  calls = 1;
  ENSURE(uv_loop_init(&loop) == 0 && uv_timer_init(&loop, &timer) == 0);
  ENSURE(uv_loop_close(&loop) == UV_EBUSY);
  uv_close((uv_handle_t*) &timer, close_loop);
  ENSURE(uv_run(&loop, UV_RUN_DEFAULT) == 0);
  ENSURE(calls == 0);
  return HOLDS;
}

static verdict_t default_loop(stage_t* stage) {
  (void) stage;
  uv_loop_t* loop = uv_default_loop();
  ENSURE(loop != NULL && uv_default_loop() == loop);
  ENSURE(uv_run(loop, UV_RUN_DEFAULT) == 0 && uv_loop_close(loop) == 0);
  loop = uv_default_loop();
  ENSURE(loop != NULL && !uv_loop_alive(loop) && uv_loop_close(loop) == 0);
  return HOLDS;
}

static verdict_t requests_keep_alive(stage_t* stage) {
  uv_udp_t *receiver = bound_udp(stage), *udp = new_udp(stage);
  outbox_t outbox = {0};
  address_t to = local_of(receiver);
  uv_unref((uv_handle_t*) udp);
  ENSURE(mail_to(&outbox, 0, udp, "x", at(to)) == 0 && mail_to(&outbox, 1, udp, "y", at(to)) == 0);
  ENSURE(uv_loop_alive(&stage->loop));
  ENSURE(uv_run(&stage->loop, UV_RUN_DEFAULT) == 0);
  ENSURE(outbox.count == 2 && !uv_loop_alive(&stage->loop));
  return HOLDS;
}

const rule_t life_rules[] = {
    {"callbacks/none-inside-a-call", "No callback runs inside a call, but uv_run.", not_inside},
    {"life/a-receive-callback-may-close-its-handle", "A receive callback may close its handle, and is not called again.", close_in_receive},
    {"life/an-alloc-callback-may-close-its-handle", "An alloc callback may close its handle; its buffer comes back.", close_in_alloc},
    {"life/a-send-callback-may-close-its-handle", "A send callback may close its handle and others.", close_in_send},
    {"life/requests-keep-the-loop-alive", "Sends under way keep the loop running also if their handle does not.", requests_keep_alive},
    {"loop/run-inside-a-callback-is-edeadlk", "uv_run inside a callback is -EDEADLK.", nested_run},
    {"loop/closes-when-its-handles-are", "uv_loop_close is UV_EBUSY while there is a handle, and works in the last close callback.", close_loop_in_callback},
    {"loop/the-default-loop-can-be-closed", "uv_default_loop gives one loop until that is closed.", default_loop},
    {NULL, NULL, NULL},
};
