/* Timers, hooks, async handles, references and run modes. */
#include <uv.h>
#include <poll.h>
#include "check.h"

static uv_loop_t loop;
static uv_timer_t timer, second;
static uv_idle_t idle;
static uv_prepare_t prepare;
static uv_check_t check;
static uv_async_t async, quiet;
static int fired, idled, prepared, checked, woken, sent, closed;

static void on_closed(uv_handle_t* handle) { (void) handle, closed++; }

static void on_repeat(uv_timer_t* handle) {
  CHECK(uv_timer_get_repeat(handle) == (fired < 3 ? 2u : 0u));
  if (++fired == 3) {
    CHECK(uv_timer_stop(handle) == 0);
    CHECK(uv_timer_again(handle) == 0);
    CHECK(uv_is_active((uv_handle_t*) handle));
    uv_timer_set_repeat(handle, 0);
  }
  if (fired > 3) CHECK(!uv_is_active((uv_handle_t*) handle));
}

static void on_order(uv_timer_t* handle) { printf("%s\n", (const char*) handle->data); }

static void on_idle(uv_idle_t* handle) {
  CHECK(prepared == idled && checked == idled);
  /* One more than the others: without it the loop would not end. */
  if (++idled == 4) CHECK(uv_idle_stop(handle) == 0);
}

static void on_prepare(uv_prepare_t* handle) {
  CHECK(++prepared == idled);
  if (prepared == 3) CHECK(uv_prepare_stop(handle) == 0);
}

static void on_check(uv_check_t* handle) {
  CHECK(++checked == prepared);
  if (checked == 3) CHECK(uv_check_stop(handle) == 0);
}

static void on_async(uv_async_t* handle) {
  woken++;
  uv_close((uv_handle_t*) handle, on_closed);
}

static void on_quiet(uv_async_t* handle) { (void) handle; CHECK(0); }

static void* wake(void* arg) {
  CHECK(uv_async_send((uv_async_t*) arg) == 0);
  CHECK(uv_async_send((uv_async_t*) arg) == 0);
  return NULL;
}

static void wake_by_signal(int signal) {
  (void) signal;
  CHECK(uv_async_send(&async) == 0);
}

static void on_sent(uv_udp_send_t* req, int status) {
  (void) req;
  CHECK(status == 0);
  sent++;
}

static void on_late(uv_timer_t* handle) { (void) handle, fired++; }

int main(void) {
  pthread_t thread;
  begin();
  CHECK(uv_loop_init(&loop) == 0);

  /* A repeating timer is stopped, and started again. */
  CHECK(uv_timer_init(&loop, &timer) == 0);
  CHECK(uv_timer_start(&timer, on_repeat, 1, 2) == 0);
  CHECK(uv_timer_get_due_in(&timer) <= 1);
  CHECK(uv_run(&loop, UV_RUN_DEFAULT) == 0);
  printf("fired %d times\n", fired);

  /* Timers fire by due time, then by start order. */
  CHECK(uv_timer_init(&loop, &second) == 0);
  uv_update_time(&loop);
  timer.data = (void*) "second", second.data = (void*) "first";
  uint64_t now = uv_now(&loop);
  CHECK(uv_timer_start(&timer, on_order, 50, 0) == 0);
  CHECK(uv_timer_start(&second, on_order, 1, 0) == 0);
  CHECK(uv_timer_get_due_in(&timer) <= 50 && uv_timer_get_repeat(&timer) == 0);
  int timeout = uv_backend_timeout(&loop);
  CHECK(timeout >= 0 && timeout <= 1);
  CHECK(uv_backend_fd(&loop) >= 0);
  CHECK(uv_run(&loop, UV_RUN_DEFAULT) == 0);
  CHECK(uv_now(&loop) - now >= 50);
  CHECK(uv_now(&loop) <= uv_hrtime() / 1000000);

  /* Idle, prepare and check, once in each iteration. */
  CHECK(uv_idle_init(&loop, &idle) == 0 && uv_prepare_init(&loop, &prepare) == 0 && uv_check_init(&loop, &check) == 0);
  CHECK(uv_idle_start(&idle, on_idle) == 0 && uv_prepare_start(&prepare, on_prepare) == 0);
  CHECK(uv_check_start(&check, on_check) == 0);
  CHECK(uv_run(&loop, UV_RUN_NOWAIT) != 0);
  CHECK(idled == 1 && checked == 1);
  CHECK(uv_run(&loop, UV_RUN_ONCE) != 0);
  CHECK(uv_run(&loop, UV_RUN_DEFAULT) == 0);
  printf("idled %d, prepared %d, checked %d\n", idled, prepared, checked);

  /* After a stop the next run polls once without waiting. */
  CHECK(uv_timer_start(&timer, on_late, 0, 0) == 0);
  fired = 0;
  uv_stop(&loop);
  uv_run(&loop, UV_RUN_DEFAULT);
  CHECK(uv_run(&loop, UV_RUN_DEFAULT) == 0);
  printf("fired %d after all\n", fired);

  /* UV_RUN_ONCE waits for the timer, and fires it. */
  CHECK(uv_timer_start(&timer, on_late, 2, 0) == 0);
  CHECK(uv_run(&loop, UV_RUN_ONCE) == 0);
  printf("fired %d\n", fired);

  /* Unreferenced handles do not keep the loop alive. */
  CHECK(uv_timer_start(&timer, on_late, 1000000, 0) == 0);
  uv_unref((uv_handle_t*) &timer);
  CHECK(!uv_has_ref((uv_handle_t*) &timer) && !uv_loop_alive(&loop));
  CHECK(uv_backend_timeout(&loop) == 0);
  CHECK(uv_run(&loop, UV_RUN_DEFAULT) == 0);
  uv_ref((uv_handle_t*) &timer);
  CHECK(uv_has_ref((uv_handle_t*) &timer) && uv_loop_alive(&loop));
  uv_timer_stop(&timer);

  /* Another thread and a signal handler wake the loop. */
  CHECK(uv_async_init(&loop, &quiet, on_quiet) == 0);
  uv_unref((uv_handle_t*) &quiet);
  CHECK(uv_async_init(&loop, &async, on_async) == 0);
  CHECK(uv_is_active((uv_handle_t*) &async));
  CHECK(pthread_create(&thread, NULL, wake, &async) == 0);
  CHECK(uv_run(&loop, UV_RUN_DEFAULT) == 0);
  CHECK(pthread_join(thread, NULL) == 0);
  printf("woken %d, closed %d\n", woken, closed);
  CHECK(uv_async_init(&loop, &async, on_async) == 0);
  CHECK(signal(SIGUSR1, wake_by_signal) != SIG_ERR);
  CHECK(raise(SIGUSR1) == 0);
  CHECK(uv_run(&loop, UV_RUN_DEFAULT) == 0);
  printf("woken %d, closed %d\n", woken, closed);

  /* A request keeps the loop alive even if its handle is unreferenced. */
  uv_udp_t udp;
  uv_udp_send_t req;
  uv_buf_t buf = uv_buf_init((char*) "x", 1);
  CHECK(uv_udp_init(&loop, &udp) == 0);
  CHECK(uv_udp_bind(&udp, loopback(0), 0) == 0);
  uv_unref((uv_handle_t*) &udp);
  CHECK(uv_udp_send(&req, &udp, &buf, 1, where(&udp), on_sent) == 0);
  CHECK(uv_udp_get_send_queue_count(&udp) == 1 && uv_udp_get_send_queue_size(&udp) == 1);
  CHECK(uv_loop_alive(&loop));
  CHECK(uv_run(&loop, UV_RUN_DEFAULT) == 0);
  printf("sent %d\n", sent);

  /* An embedding program waits for the descriptor, and runs the loop without waiting. */
  fired = 0;
  CHECK(uv_timer_start(&timer, on_late, 2, 0) == 0);
  while (uv_loop_alive(&loop)) {
    struct pollfd pollfd = {uv_backend_fd(&loop), POLLIN, 0};
    CHECK(poll(&pollfd, 1, uv_backend_timeout(&loop)) >= 0);
    uv_run(&loop, UV_RUN_NOWAIT);
  }
  printf("fired %d\n", fired);
  end(&loop);
  return 0;
}
