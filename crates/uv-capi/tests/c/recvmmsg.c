/* A receiver with buffers for several datagrams, and one with buffers shorter than a datagram. */
#include <uv.h>
#include "check.h"

#define CHUNK 65536
#define DATAGRAMS 50

static uv_udp_t large, small, sender;
static int allocated, freed, received, partial;

static void alloc_large(uv_handle_t* handle, size_t suggested, uv_buf_t* buf) {
  (void) handle;
  CHECK(suggested == CHUNK);
  buf->base = (char*) malloc(4 * CHUNK);
  buf->len = 4 * CHUNK;
  allocated++;
}

static void on_large(uv_udp_t* handle, ssize_t nread, const uv_buf_t* buf, const struct sockaddr* addr, unsigned flags) {
  CHECK(nread >= 0);
  if (addr != NULL) {
    CHECK(flags == UV_UDP_MMSG_CHUNK);
    CHECK(nread == 1 + received % 7);
    for (ssize_t i = 0; i < nread; i++) CHECK(buf->base[i] == (char) received);
    if (++received == DATAGRAMS) CHECK(uv_udp_using_recvmmsg(handle) == 1);
    return;
  }
  CHECK(nread == 0);
  CHECK(flags == UV_UDP_MMSG_FREE || flags == 0);
  free(buf->base);
  freed++;
  if (received == DATAGRAMS && flags == 0 && !uv_is_closing((uv_handle_t*) handle)) uv_close((uv_handle_t*) handle, NULL);
}

static void alloc_small(uv_handle_t* handle, size_t suggested, uv_buf_t* buf) {
  static char memory[4];
  (void) handle;
  CHECK(suggested == CHUNK);
  *buf = uv_buf_init(memory, sizeof memory);
}

static void on_small(uv_udp_t* handle, ssize_t nread, const uv_buf_t* buf, const struct sockaddr* addr, unsigned flags) {
  if (addr == NULL) return;
  CHECK(nread == 4 && memcmp(buf->base, "long", 4) == 0);
  CHECK(flags == UV_UDP_PARTIAL);
  partial++;
  uv_close((uv_handle_t*) handle, NULL);
}

int main(void) {
  uv_loop_t loop;
  begin();
  CHECK(uv_loop_init(&loop) == 0);
  CHECK(uv_udp_init_ex(&loop, &large, AF_INET | UV_UDP_RECVMMSG) == 0);
  CHECK(uv_udp_using_recvmmsg(&large) == 1);
  CHECK(uv_udp_bind(&large, loopback(0), 0) == 0);
  CHECK(uv_udp_recv_start(&large, alloc_large, on_large) == 0);
  CHECK(uv_udp_init_ex(&loop, &small, AF_UNSPEC) == 0);
  CHECK(uv_udp_bind(&small, loopback(0), 0) == 0);
  CHECK(uv_udp_recv_start(&small, alloc_small, on_small) == 0);
  CHECK(uv_udp_init(&loop, &sender) == 0);
  CHECK(uv_udp_using_recvmmsg(&sender) == 0);
  for (int i = 0; i < DATAGRAMS; i++) {
    char bytes[7];
    memset(bytes, i, sizeof bytes);
    uv_buf_t buf = uv_buf_init(bytes, 1 + i % 7);
    CHECK(uv_udp_try_send(&sender, &buf, 1, where(&large)) == (int) buf.len);
  }
  uv_buf_t buf = uv_buf_init((char*) "longer than that", 16);
  CHECK(uv_udp_try_send(&sender, &buf, 1, where(&small)) == 16);
  uv_close((uv_handle_t*) &sender, NULL);
  CHECK(uv_run(&loop, UV_RUN_DEFAULT) == 0);
  CHECK(uv_loop_close(&loop) == 0);
  printf("received %d, partial %d, every buffer came back: %s\n", received, partial, allocated == freed ? "yes" : "no");
  return 0;
}
