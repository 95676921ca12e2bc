/* A connected client that retransmits after a timeout, and a server that drops the first two requests. */
#include <uv.h>
#include "check.h"

static uv_udp_t server, client;
static uv_timer_t timer;
static int asked, received;

static void on_sent(uv_udp_send_t* req, int status) {
  CHECK(status == 0);
  free(req);
}

static void on_timeout(uv_timer_t* handle);

/* Milliseconds, longer than a request takes on the slowest machine. */
#define NEVER 3600000

static void ask(void) {
  uv_udp_send_t* req = (uv_udp_send_t*) malloc(sizeof *req);
  char text[2] = {'?', (char) ('0' + ++asked)};
  uv_buf_t bufs[2] = {uv_buf_init(text, 1), uv_buf_init(text + 1, 1)};
  printf("client asks: %.2s\n", text);
  CHECK(uv_udp_send(req, &client, bufs, 2, NULL, on_sent) == 0);
  CHECK(uv_timer_start(&timer, on_timeout, NEVER, 0) == 0);
}

static void on_timeout(uv_timer_t* handle) {
  CHECK(handle == &timer);
  printf("timeout\n");
  ask();
}

static void on_request(uv_udp_t* handle, ssize_t nread, const uv_buf_t* buf, const struct sockaddr* addr, unsigned flags) {
  (void) flags;
  if (addr != NULL) {
    CHECK(nread == 2);
    printf("server receives: %.2s\n", buf->base);
    if (++received > 2) {
      uv_buf_t answer = uv_buf_init(buf->base + 1, 1);
      CHECK(uv_udp_try_send(handle, &answer, 1, addr) == 1);
    } else {
      /* The request is dropped, so the timeout is certain. */
      CHECK(uv_timer_start(&timer, on_timeout, 1, 0) == 0);
    }
  }
  free(buf->base);
}

static void on_answer(uv_udp_t* handle, ssize_t nread, const uv_buf_t* buf, const struct sockaddr* addr, unsigned flags) {
  (void) flags;
  CHECK(nread >= 0);
  if (addr != NULL) {
    printf("client receives: %.1s\n", buf->base);
    CHECK(uv_is_active((uv_handle_t*) &timer));
    CHECK(uv_timer_stop(&timer) == 0);
    CHECK(!uv_is_active((uv_handle_t*) &timer));
    CHECK(uv_udp_recv_stop(handle) == 0);
    CHECK(uv_udp_connect(handle, NULL) == 0);
    CHECK(uv_udp_connect(handle, NULL) == UV_ENOTCONN);
    uv_stop(handle->loop);
  }
  free(buf->base);
}

int main(void) {
  uv_buf_t buf = uv_buf_init((char*) "x", 1);
  uv_loop_t* loop = uv_default_loop();
  uv_udp_send_t req;
  struct sockaddr_storage peer;
  int len = sizeof peer;
  begin();
  CHECK(uv_udp_init(loop, &server) == 0);
  CHECK(uv_udp_bind(&server, loopback(0), 0) == 0);
  CHECK(uv_udp_recv_start(&server, alloc_by_malloc, on_request) == 0);
  CHECK(uv_udp_init(loop, &client) == 0);
  CHECK(uv_udp_send(&req, &client, &buf, 1, NULL, on_sent) == UV_EDESTADDRREQ);
  CHECK(uv_udp_try_send(&client, &buf, 1, NULL) == UV_EDESTADDRREQ);
  CHECK(uv_udp_connect(&client, where(&server)) == 0);
  CHECK(uv_udp_connect(&client, where(&server)) == UV_EISCONN);
  CHECK(uv_udp_send(&req, &client, &buf, 1, where(&server), on_sent) == UV_EISCONN);
  CHECK(uv_udp_try_send(&client, &buf, 1, where(&server)) == UV_EISCONN);
  CHECK(uv_udp_getpeername(&client, (struct sockaddr*) &peer, &len) == 0);
  CHECK(len == sizeof(struct sockaddr_in) && memcmp(&peer, where(&server), 8) == 0);
  CHECK(uv_udp_recv_start(&client, alloc_by_malloc, on_answer) == 0);
  CHECK(uv_udp_recv_start(&client, alloc_by_malloc, on_answer) == UV_EALREADY);
  CHECK(uv_timer_init(loop, &timer) == 0);
  ask();
  CHECK(uv_run(loop, UV_RUN_DEFAULT) != 0);
  end(loop);
  return 0;
}
