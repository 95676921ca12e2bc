/* A listener that joins a group, receives from it, and leaves it. */
#include <uv.h>
#include "check.h"

#define GROUP "239.255.77.77"

static uv_udp_t listener, sender;

static void on_datagram(uv_udp_t* handle, ssize_t nread, const uv_buf_t* buf, const struct sockaddr* addr, unsigned flags) {
  (void) flags;
  CHECK(nread >= 0);
  if (addr != NULL) {
    printf("received: %.*s\n", (int) nread, buf->base);
    CHECK(uv_udp_set_membership(handle, GROUP, "127.0.0.1", UV_LEAVE_GROUP) == 0);
    CHECK(uv_udp_set_membership(handle, GROUP, "127.0.0.1", UV_LEAVE_GROUP) == UV_EADDRNOTAVAIL);
    CHECK(uv_udp_set_source_membership(handle, GROUP, "127.0.0.1", "127.0.0.1", UV_JOIN_GROUP) == 0);
    CHECK(uv_udp_set_source_membership(handle, GROUP, "127.0.0.1", "127.0.0.1", UV_LEAVE_GROUP) == 0);
    uv_close((uv_handle_t*) handle, NULL);
    uv_close((uv_handle_t*) &sender, NULL);
  }
  free(buf->base);
}

static void on_sent(uv_udp_send_t* req, int status) {
  (void) req;
  printf("sent: %d\n", status);
}

int main(void) {
  uv_loop_t loop;
  uv_udp_send_t req;
  struct sockaddr_in any, group;
  uv_buf_t buf = uv_buf_init((char*) "to the group", 12);
  begin();
  CHECK(uv_loop_init(&loop) == 0);
  CHECK(uv_udp_init(&loop, &listener) == 0);
  CHECK(uv_ip4_addr("0.0.0.0", 0, &any) == 0);
  CHECK(uv_udp_bind(&listener, (struct sockaddr*) &any, UV_UDP_REUSEADDR) == 0);
  CHECK(uv_udp_set_membership(&listener, GROUP, "127.0.0.1", UV_JOIN_GROUP) == 0);
  CHECK(uv_udp_set_membership(&listener, GROUP, "127.0.0.1", UV_JOIN_GROUP) == UV_EADDRINUSE);
  CHECK(uv_udp_set_membership(&listener, "nonsense", NULL, UV_JOIN_GROUP) == UV_EINVAL);
  CHECK(uv_udp_recv_start(&listener, alloc_by_malloc, on_datagram) == 0);
  CHECK(uv_udp_init(&loop, &sender) == 0);
  CHECK(uv_udp_bind(&sender, loopback(0), 0) == 0);
  CHECK(uv_udp_set_multicast_interface(&sender, "127.0.0.1") == 0);
  CHECK(uv_udp_set_multicast_interface(&sender, "nonsense") == UV_EINVAL);
  CHECK(uv_udp_set_multicast_ttl(&sender, 0) == 0);
  CHECK(uv_udp_set_multicast_ttl(&sender, 256) == UV_EINVAL);
  CHECK(uv_udp_set_multicast_loop(&sender, 1) == 0);
  CHECK(uv_udp_set_ttl(&sender, 64) == 0);
  CHECK(uv_udp_set_ttl(&sender, 0) == UV_EINVAL);
  CHECK(uv_udp_set_broadcast(&sender, 1) == 0);
  CHECK(uv_ip4_addr(GROUP, ntohs(((struct sockaddr_in*) where(&listener))->sin_port), &group) == 0);
  CHECK(uv_udp_send(&req, &sender, &buf, 1, (struct sockaddr*) &group, on_sent) == 0);
  CHECK(uv_run(&loop, UV_RUN_DEFAULT) == 0);
  CHECK(uv_loop_close(&loop) == 0);
  return 0;
}
