/* Walks over handles of every kind, closes them all in the walk, and frees their memory in the close callbacks. */
#include <uv.h>
#include "check.h"

static int closed;

static void on_timer(uv_timer_t* handle) { (void) handle; CHECK(0); }
static void on_idle(uv_idle_t* handle) { (void) handle; CHECK(0); }
static void on_prepare(uv_prepare_t* handle) { (void) handle; CHECK(0); }
static void on_check(uv_check_t* handle) { (void) handle; CHECK(0); }
static void on_async(uv_async_t* handle) { (void) handle; CHECK(0); }

static void on_datagram(uv_udp_t* handle, ssize_t nread, const uv_buf_t* buf, const struct sockaddr* addr, unsigned flags) {
  (void) handle, (void) nread, (void) buf, (void) addr, (void) flags;
  CHECK(0);
}

static void* make(uv_handle_type type) {
  uv_handle_t* handle = (uv_handle_t*) malloc(uv_handle_size(type));
  memset(handle, 0xa5, uv_handle_size(type));
  handle->data = NULL;
  return handle;
}

static void on_closed(uv_handle_t* handle) {
  /* The order is not specified. */
  CHECK(strcmp((const char*) uv_handle_get_data(handle), "by the walk") == 0);
  closed++;
  free(handle);
}

static void tell(uv_handle_t* handle, void* arg) {
  printf("%s%s%s%s\n", uv_handle_type_name(uv_handle_get_type(handle)), uv_is_active(handle) ? " active" : "",
         uv_has_ref(handle) ? " referenced" : "", uv_is_closing(handle) ? " closing" : "");
  CHECK(uv_handle_get_loop(handle) == handle->loop);
  ++*(int*) arg;
}

static void close_it(uv_handle_t* handle, void* arg) {
  uv_handle_set_data(handle, arg);
  uv_close(handle, on_closed);
  CHECK(uv_is_closing(handle));
  CHECK(!uv_is_active(handle));
}

int main(void) {
  uv_loop_t* loop = (uv_loop_t*) malloc(uv_loop_size());
  int seen = 0;
  begin();
  CHECK(uv_loop_init(loop) == 0);
  uv_loop_set_data(loop, &seen);
  CHECK(uv_loop_get_data(loop) == &seen && loop->data == &seen);
  CHECK(!uv_loop_alive(loop));
  CHECK(uv_run(loop, UV_RUN_DEFAULT) == 0);

  uv_timer_t* timer = (uv_timer_t*) make(UV_TIMER);
  CHECK(uv_timer_init(loop, timer) == 0);
  CHECK(uv_timer_again(timer) == UV_EINVAL);
  CHECK(uv_timer_start(timer, NULL, 0, 0) == UV_EINVAL);
  CHECK(uv_timer_start(timer, on_timer, 1000000, 0) == 0);
  uv_idle_t* idle = (uv_idle_t*) make(UV_IDLE);
  CHECK(uv_idle_init(loop, idle) == 0);
  CHECK(uv_idle_start(idle, NULL) == UV_EINVAL);
  CHECK(uv_idle_start(idle, on_idle) == 0);
  CHECK(uv_idle_start(idle, on_idle) == 0);
  uv_prepare_t* prepare = (uv_prepare_t*) make(UV_PREPARE);
  CHECK(uv_prepare_init(loop, prepare) == 0);
  CHECK(uv_prepare_start(prepare, on_prepare) == 0);
  CHECK(uv_prepare_stop(prepare) == 0);
  uv_check_t* check = (uv_check_t*) make(UV_CHECK);
  CHECK(uv_check_init(loop, check) == 0);
  CHECK(uv_check_start(check, on_check) == 0);
  uv_unref((uv_handle_t*) check);
  uv_async_t* async = (uv_async_t*) make(UV_ASYNC);
  CHECK(uv_async_init(loop, async, on_async) == 0);
  uv_udp_t* fresh = (uv_udp_t*) make(UV_UDP);
  CHECK(uv_udp_init(loop, fresh) == 0);
  CHECK(fresh->send_queue_size == 0 && fresh->send_queue_count == 0);
  uv_udp_t* udp = (uv_udp_t*) make(UV_UDP);
  CHECK(uv_udp_init(loop, udp) == 0);
  CHECK(uv_udp_bind(udp, loopback(0), 0) == 0);
  CHECK(uv_udp_recv_start(udp, alloc_by_malloc, on_datagram) == 0);

  uv_walk(loop, tell, &seen);
  printf("%d handles\n", seen);
  CHECK(uv_loop_close(loop) == UV_EBUSY);
  CHECK(uv_loop_alive(loop));
  uv_walk(loop, close_it, (void*) "by the walk");
  uv_walk(loop, tell, &seen);
  CHECK(closed == 0);
  CHECK(uv_loop_close(loop) == UV_EBUSY);
  CHECK(uv_run(loop, UV_RUN_DEFAULT) == 0);
  printf("closed %d\n", closed);
  CHECK(uv_loop_close(loop) == 0);
  free(loop);
  return 0;
}
