/* The loop: phases, run modes, closing, and embedding in another loop. */
#include <poll.h>
#include <signal.h>
#include <sys/time.h>

#include "conform.h"

/* The phases that ran, in order. */
static const char* order[32];
static int entries;

static void enter(const char* phase) {
  CHECK(entries < 32);
  order[entries++] = phase;
}

static void on_timer(uv_timer_t* timer) {
  (void) timer;
  enter("timer");
}

static void on_idle(uv_idle_t* idle) {
  (void) idle;
  enter("idle");
}

static raw_t listener;
static int out_before_the_flush;

static void on_prepare(uv_prepare_t* prepare) {
  (void) prepare;
  enter("prepare");
  out_before_the_flush = raw_drain(&listener);
}

static void on_check(uv_check_t* check) {
  (void) check;
  enter("check");
}

static void on_async(uv_async_t* async) {
  (void) async;
  enter("async");
}

static void on_sent(uv_udp_send_t* req, int status) {
  (void) req;
  CHECK(status == 0);
  enter("completion");
}

static void on_closed(uv_handle_t* handle) {
  (void) handle;
  enter("closing");
}

static void on_received(uv_udp_t* udp, ssize_t nread, const uv_buf_t* buf, const struct sockaddr* addr, unsigned flags) {
  (void) udp, (void) nread, (void) buf, (void) flags;
  if (addr != NULL) enter("dispatch");
}

static int is_before(const char* one, const char* other) {
  int first = -1, second = -1;
  for (int i = 0; i < entries; i++) {
    if (strcmp(order[i], one) == 0 && first < 0) first = i;
    if (strcmp(order[i], other) == 0 && second < 0) second = i;
  }
  return first >= 0 && second > first;
}

static void phases(test_t* test) {
  static uv_timer_t timer;
  static uv_idle_t idle;
  static uv_prepare_t prepare;
  static uv_check_t check;
  static uv_async_t async;
  static uv_udp_t closing;
  static uv_udp_send_t reqs[2];
  uv_buf_t now = text("at once"), later = text("flushed");
  listener = raw_socket(test);
  uv_udp_t *receiver = bound_udp(test), *sender = connected_udp(test, listener.address);
  CHECK(uv_udp_recv_start(receiver, alloc_static, on_received) == 0);
  CHECK(uv_async_init(&test->loop, &async, on_async) == 0);
  /* The registration may take a poll. */
  run_iterations(test);
  /* Started in reverse order. */
  CHECK(uv_udp_init(&test->loop, &closing) == 0);
  uv_close((uv_handle_t*) &closing, on_closed);
  CHECK(uv_check_init(&test->loop, &check) == 0 && uv_check_start(&check, on_check) == 0);
  raw_send_text(&listener, "hello", local_of(receiver));
  CHECK(uv_async_send(&async) == 0);
  CHECK(uv_prepare_init(&test->loop, &prepare) == 0 && uv_prepare_start(&prepare, on_prepare) == 0);
  CHECK(uv_idle_init(&test->loop, &idle) == 0 && uv_idle_start(&idle, on_idle) == 0);
  CHECK(send_to_peer(&reqs[0], sender, &now, 1, on_sent) == 0 && send_to_peer(&reqs[1], sender, &later, 1, NULL) == 0);
  CHECK(uv_timer_init(&test->loop, &timer) == 0 && uv_timer_start(&timer, on_timer, 0, 0) == 0);
  CHECK(uv_run(&test->loop, UV_RUN_NOWAIT) != 0);
  /* NULL: one poll reports the async handle and the socket, in any order. */
  static const char* const expected[] = {"timer", "completion", "idle", "prepare", NULL, NULL, "check", "closing"};
  CHECK(entries == 8);
  for (int i = 0; i < 8; i++) CHECK(expected[i] == NULL || strcmp(order[i], expected[i]) == 0);
  CHECK(is_before("prepare", "dispatch") && is_before("prepare", "async"));
  CHECK(out_before_the_flush == 1);
  EXPECT_ONLY_TEXTS(&listener, "flushed");
}

static uv_loop_t* outer;
static int results[3];

static void run_inside(uv_timer_t* timer) {
  (void) timer;
  for (int mode = 0; mode < 3; mode++) results[mode] = uv_run(outer, (uv_run_mode) mode);
}

static void nested_run(test_t* test) {
  static uv_timer_t timer;
  outer = &test->loop;
  CHECK(uv_timer_init(&test->loop, &timer) == 0 && uv_timer_start(&timer, run_inside, 0, 0) == 0);
  RUN_TO_END();
  for (int mode = 0; mode < 3; mode++) CHECK(results[mode] == -EDEADLK);
  RUN_TO_END();
}

static int iterations;

static void count_iteration(uv_prepare_t* prepare) {
  (void) prepare;
  iterations++;
}

static void run_modes(test_t* test) {
  static uv_prepare_t prepare;
  static uv_timer_t timer;
  CHECK(uv_run(&test->loop, UV_RUN_ONCE) == 0 && uv_run(&test->loop, UV_RUN_NOWAIT) == 0);
  CHECK(uv_run(&test->loop, (uv_run_mode) 7) == UV_EINVAL && uv_run(NULL, UV_RUN_ONCE) == UV_EINVAL);
  CHECK(uv_prepare_init(&test->loop, &prepare) == 0 && uv_prepare_start(&prepare, count_iteration) == 0);
  waiting(__FILE__, __LINE__, "a run that does not wait");
  CHECK(uv_run(&test->loop, UV_RUN_NOWAIT) != 0 && iterations == 1);
  CHECK(uv_timer_init(&test->loop, &timer) == 0 && uv_timer_start(&timer, on_timer, 20, 0) == 0);
  CHECK(uv_run(&test->loop, UV_RUN_ONCE) != 0 && iterations == 2 && entries == 1);
}

/* Waits for the loop's descriptor, as an outer loop does. */
static int is_ready(uv_loop_t* loop) {
  struct pollfd fd = {uv_backend_fd(loop), POLLIN, 0};
  int timeout = uv_backend_timeout(loop), ready = poll(&fd, 1, timeout < 0 || timeout > 20000 ? 20000 : timeout);
  CHECK(ready >= 0);
  return ready > 0;
}

static void embedded(test_t* test) {
  raw_t peer = raw_socket(test);
  received_t received = {0};
  completions_t completions = {0};
  static uv_timer_t timer;
  CHECK(uv_backend_timeout(&test->loop) == 0);
  uv_udp_t* udp = connected_udp(test, peer.address);
  CHECK(start_receiving(udp, &received) == 0 && uv_run(&test->loop, UV_RUN_NOWAIT) != 0 && uv_backend_timeout(&test->loop) == -1);
  raw_send_text(&peer, "hello", local_of(udp));
  CHECK(is_ready(&test->loop));
  for (int i = 0; i < 3; i++) CHECK(uv_run(&test->loop, UV_RUN_NOWAIT) != 0);
  CHECK(RECEIVED(&received, "hello") && queue_text(&completions, 0, udp, "x") == 0 && uv_backend_timeout(&test->loop) == 0);
  RUN_UNTIL(completions.count == 1);
  CHECK(uv_timer_init(&test->loop, &timer) == 0 && uv_timer_start(&timer, on_timer, 5, 0) == 0);
  int timeout = uv_backend_timeout(&test->loop);
  CHECK(timeout >= 0 && timeout <= 5);
  for (int i = 0; i < 100 && entries == 0; i++) {
    is_ready(&test->loop);
    CHECK(uv_run(&test->loop, UV_RUN_NOWAIT) != 0);
  }
  CHECK(entries == 1);
  /* uv_async_send() makes the descriptor readable. */
  static uv_async_t async;
  CHECK(uv_async_init(&test->loop, &async, on_async) == 0 && uv_run(&test->loop, UV_RUN_NOWAIT) != 0);
  CHECK(uv_backend_timeout(&test->loop) == -1 && uv_async_send(&async) == 0 && is_ready(&test->loop));
}

static int result_of_close = 1;

static void close_loop(uv_handle_t* handle) {
  result_of_close = uv_loop_close(handle->loop);
}

static void close_loop_in_callback(test_t* test) {
  uv_loop_t loop;
  static uv_timer_t timer, other;
  (void) test;
  CHECK(uv_loop_init(&loop) == 0 && uv_timer_init(&loop, &timer) == 0 && uv_timer_init(&loop, &other) == 0);
  CHECK(uv_loop_close(&loop) == UV_EBUSY);
  uv_close((uv_handle_t*) &timer, close_loop);
  CHECK(uv_loop_close(&loop) == UV_EBUSY && uv_run(&loop, UV_RUN_DEFAULT) == 0 && result_of_close == UV_EBUSY);
  uv_close((uv_handle_t*) &other, close_loop);
  CHECK(uv_run(&loop, UV_RUN_DEFAULT) == 0 && result_of_close == 0);
  CHECK(uv_loop_close(&loop) == UV_EINVAL && uv_run(&loop, UV_RUN_DEFAULT) == UV_EINVAL && !uv_loop_alive(&loop));
}

static void default_loop(test_t* test) {
  (void) test;
  uv_loop_t* loop = uv_default_loop();
  CHECK(loop != NULL && uv_default_loop() == loop);
  CHECK(uv_run(loop, UV_RUN_DEFAULT) == 0 && uv_loop_close(loop) == 0);
  loop = uv_default_loop();
  CHECK(loop != NULL && !uv_loop_alive(loop) && uv_loop_close(loop) == 0);
}

static int walked, of_udp;

static void on_walk(uv_handle_t* handle, void* arg) {
  CHECK(arg == &walked);
  walked++;
  of_udp += handle->type == UV_UDP;
  if (!uv_is_closing(handle)) uv_close(handle, on_closed);
}

static void walk(test_t* test) {
  static uv_timer_t timer;
  uv_udp_t one, other;
  CHECK(uv_timer_init(&test->loop, &timer) == 0 && uv_udp_init(&test->loop, &one) == 0 && uv_udp_init(&test->loop, &other) == 0);
  uv_close((uv_handle_t*) &other, on_closed);
  uv_walk(&test->loop, on_walk, &walked);
  /* A closing handle is included until its close callback. */
  CHECK(walked == 3 && of_udp == 2);
  RUN_TO_END();
  CHECK(entries == 3);
  uv_walk(&test->loop, on_walk, &walked);
  CHECK(walked == 3);
}

/* As in libuv: a loop that is not alive runs no iteration, in any mode. */
static void not_alive(test_t* test) {
  static uv_timer_t timer;
  static uv_prepare_t prepare;
  CHECK(uv_timer_init(&test->loop, &timer) == 0 && uv_timer_start(&timer, on_timer, 0, 0) == 0);
  CHECK(uv_prepare_init(&test->loop, &prepare) == 0 && uv_prepare_start(&prepare, count_iteration) == 0);
  uv_unref((uv_handle_t*) &timer);
  uv_unref((uv_handle_t*) &prepare);
  for (int mode = 0; mode < 3; mode++) CHECK(uv_run(&test->loop, (uv_run_mode) mode) == 0);
  CHECK(entries == 0 && iterations == 0);
  uv_stop(&test->loop);
  CHECK(uv_run(&test->loop, UV_RUN_NOWAIT) == 0);
  /* uv_stop() ended the run above, and not this one. */
  uv_ref((uv_handle_t*) &timer);
  CHECK(uv_run(&test->loop, UV_RUN_DEFAULT) == 0 && entries == 1 && iterations == 1);
}

static volatile sig_atomic_t signals;

static void on_signal(int number) {
  (void) number;
  signals++;
}

static void signal_storm(test_t* test) {
  static uv_timer_t timer;
  struct sigaction action, before;
  struct itimerval every_millisecond = {{0, 1000}, {0, 1000}}, never = {{0, 0}, {0, 0}};
  CHECK(uv_timer_init(&test->loop, &timer) == 0);
  memset(&action, 0, sizeof action);
  action.sa_handler = on_signal;
  CHECK(sigaction(SIGALRM, &action, &before) == 0 && setitimer(ITIMER_REAL, &every_millisecond, NULL) == 0);
  while (signals < 20) {
    int fired = entries;
    CHECK(uv_timer_start(&timer, on_timer, 10, 0) == 0);
    uv_run(&test->loop, UV_RUN_ONCE);
    CHECK(entries == fired + 1);
    entries = 0;
  }
  CHECK(setitimer(ITIMER_REAL, &never, NULL) == 0 && sigaction(SIGALRM, &before, NULL) == 0);
  /* alarm() and setitimer() share one timer: the rule's alarm is gone. */
  alarm(30);
}

const rule_t loop_rules[] = {
    {"loop/phases-run-in-order",
     "One iteration runs timers, completions, idle, prepare, flush, dispatch, check and closing, in this order.",
     EACH_FAMILY, phases},
    {"loop/run-inside-a-callback-is-edeadlk",
     "uv_run inside a callback is -EDEADLK, not a hang.", NO_FAMILY, nested_run},
    ONCE("loop/once-waits-and-no-wait-does-not", run_modes),
    {"loop/once-waits-through-signals", "A signal does not end a run that waits for a timer.", NO_FAMILY, signal_storm},
    {"loop/runs-no-iteration-when-not-alive",
     "uv_run returns at once, in every mode, if all handles are unreferenced.", NO_FAMILY, not_alive},
    EACH("loop/can-be-embedded-in-another", embedded),
    {"loop/closes-when-its-handles-are",
     "uv_loop_close is UV_EBUSY until the last handle is closed, and works in its close callback.",
     NO_FAMILY, close_loop_in_callback},
    {"loop/the-default-loop-can-be-closed",
     "uv_default_loop returns one loop until it is closed, and a new one afterwards.", NO_FAMILY, default_loop},
    {"loop/walks-over-every-handle",
     "uv_walk calls back with every handle that is not closed, and may close them.", NO_FAMILY, walk},
    END,
};
