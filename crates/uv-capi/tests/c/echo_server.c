/* An echo server, and a client that sends three datagrams, one of them empty. */
#include <uv.h>
#include "check.h"

static uv_udp_t server, client;
static int answers, closed;

typedef struct {
  uv_udp_send_t req;
  char* data;
} echo_t;

static void on_echoed(uv_udp_send_t* req, int status) {
  echo_t* echo = (echo_t*) req;
  CHECK(status == 0);
  CHECK(req->handle == &server);
  CHECK(req->type == UV_UDP_SEND);
  free(echo->data);
  free(echo);
}

static void on_request(uv_udp_t* handle, ssize_t nread, const uv_buf_t* buf, const struct sockaddr* addr, unsigned flags) {
  CHECK(nread >= 0);
  if (addr == NULL) {
    CHECK(nread == 0);
    free(buf->base);
    return;
  }
  CHECK(flags == 0);
  echo_t* echo = (echo_t*) malloc(sizeof *echo);
  echo->data = buf->base;
  uv_buf_t answer = uv_buf_init(buf->base, (unsigned) nread);
  printf("server: %d bytes\n", (int) nread);
  CHECK(uv_udp_send(&echo->req, handle, &answer, 1, addr, on_echoed) == 0);
}

static void on_closed(uv_handle_t* handle) {
  CHECK(uv_is_closing(handle));
  printf("closed: %d\n", ++closed);
}

static void on_answer(uv_udp_t* handle, ssize_t nread, const uv_buf_t* buf, const struct sockaddr* addr, unsigned flags) {
  (void) flags;
  CHECK(handle == &client);
  CHECK(nread >= 0);
  if (addr != NULL) {
    char name[64];
    CHECK(uv_ip_name(addr, name, sizeof name) == 0);
    printf("client: \"%.*s\" from %s\n", (int) nread, buf->base, name);
    if (++answers == 3) {
      uv_close((uv_handle_t*) &client, on_closed);
      uv_close((uv_handle_t*) &server, on_closed);
    }
  }
  free(buf->base);
}

static void on_sent(uv_udp_send_t* req, int status) {
  CHECK(status == 0);
  CHECK(req->data == &answers);
}

int main(void) {
  static const char* texts[] = {"one", "", "three"};
  uv_udp_send_t reqs[3];
  uv_loop_t loop;
  begin();
  CHECK(uv_loop_init(&loop) == 0);
  CHECK(uv_udp_init(&loop, &server) == 0);
  CHECK(uv_udp_bind(&server, loopback(0), 0) == 0);
  CHECK(uv_udp_recv_start(&server, alloc_by_malloc, on_request) == 0);
  CHECK(uv_udp_init(&loop, &client) == 0);
  CHECK(uv_udp_recv_start(&client, alloc_by_malloc, on_answer) == 0);
  for (int i = 0; i < 3; i++) {
    uv_buf_t buf = uv_buf_init((char*) texts[i], (unsigned) strlen(texts[i]));
    reqs[i].data = &answers;
    CHECK(uv_udp_send(&reqs[i], &client, &buf, 1, where(&server), on_sent) == 0);
    printf("queued: %d requests, %d bytes\n", (int) client.send_queue_count, (int) client.send_queue_size);
  }
  CHECK(uv_run(&loop, UV_RUN_DEFAULT) == 0);
  CHECK(client.send_queue_count == 0 && client.send_queue_size == 0);
  CHECK(uv_loop_close(&loop) == 0);
  return 0;
}
