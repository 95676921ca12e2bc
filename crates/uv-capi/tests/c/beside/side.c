/*
 * One of two sides of a program: a loop with an echo server, a client and a timer, on the library of the included header.
 * SIDE(name) is the name of a function of this side.
 */
#include <uv.h>
#include "../check.h"
#include "side.h"

#define ECHOES 200

typedef struct {
  uv_loop_t loop;
  uv_udp_t server, client;
  uv_timer_t timer;
  uv_udp_send_t req;
  char memory[65536];
  int echoes, fired, closed;
} side_t;

static side_t side;

static void alloc(uv_handle_t* handle, size_t suggested, uv_buf_t* buf) {
  CHECK(handle->loop == &side.loop && suggested >= 65535);
  *buf = uv_buf_init(side.memory, sizeof side.memory);
}

static void on_closed(uv_handle_t* handle) {
  CHECK(handle->loop == &side.loop);
  side.closed++;
}

static void on_sent(uv_udp_send_t* req, int status) {
  CHECK(req == &side.req && status == 0 && req->handle == &side.client);
}

static void ask(void) {
  uv_buf_t buf = uv_buf_init((char*) &side.echoes, sizeof side.echoes);
  CHECK(uv_udp_send(&side.req, &side.client, &buf, 1, NULL, on_sent) == 0);
}

static void on_question(uv_udp_t* handle, ssize_t nread, const uv_buf_t* buf, const struct sockaddr* addr, unsigned flags) {
  CHECK(handle == &side.server && nread >= 0 && flags == 0);
  if (addr == NULL) return;
  uv_buf_t answer = uv_buf_init(buf->base, (unsigned) nread);
  CHECK(uv_udp_try_send(handle, &answer, 1, addr) == nread);
}

static void on_answer(uv_udp_t* handle, ssize_t nread, const uv_buf_t* buf, const struct sockaddr* addr, unsigned flags) {
  CHECK(handle == &side.client && nread >= 0 && flags == 0);
  if (addr == NULL) return;
  CHECK(nread == sizeof side.echoes && memcmp(buf->base, &side.echoes, sizeof side.echoes) == 0);
  if (++side.echoes < ECHOES) {
    ask();
  } else {
    uv_close((uv_handle_t*) &side.server, on_closed);
    uv_close((uv_handle_t*) &side.client, on_closed);
  }
}

static void on_timer(uv_timer_t* timer) {
  CHECK(timer == &side.timer);
  side.fired++;
  uv_close((uv_handle_t*) timer, on_closed);
}

void SIDE(begin)(void) {
  uv_loop_t* loop = &side.loop;
  /* The library and the header of this side belong together. */
  CHECK(uv_loop_size() == sizeof(uv_loop_t) && uv_version() == UV_VERSION_HEX);
  CHECK(uv_handle_size(UV_UDP) == sizeof(uv_udp_t) && uv_req_size(UV_UDP_SEND) == sizeof(uv_udp_send_t));
  CHECK(uv_loop_init(loop) == 0);
  CHECK(uv_udp_init(loop, &side.server) == 0 && uv_udp_init(loop, &side.client) == 0);
  CHECK(uv_udp_bind(&side.server, loopback(0), 0) == 0);
  CHECK(uv_udp_connect(&side.client, where(&side.server)) == 0);
  CHECK(uv_udp_recv_start(&side.server, alloc, on_question) == 0);
  CHECK(uv_udp_recv_start(&side.client, alloc, on_answer) == 0);
  CHECK(uv_timer_init(loop, &side.timer) == 0);
  CHECK(uv_timer_start(&side.timer, on_timer, 1, 0) == 0);
  ask();
}

int SIDE(fd)(void) {
  return uv_backend_fd(&side.loop);
}

int SIDE(timeout)(void) {
  uv_update_time(&side.loop);
  return uv_backend_timeout(&side.loop);
}

int SIDE(iterate)(void) {
  return uv_run(&side.loop, UV_RUN_NOWAIT);
}

int SIDE(end)(void) {
  CHECK(side.fired == 1 && side.closed == 3);
  CHECK(uv_loop_close(&side.loop) == 0);
  return side.echoes;
}
