/* Options, flags and adopted sockets, as getsockopt(2) reports them. */
#include <fcntl.h>
#include <net/if.h>

#include "conform.h"

static void reach_the_socket(test_t* test) {
  int v4 = test->family == AF_INET, out = 20000, in = 30000, level = v4 ? IPPROTO_IP : IPPROTO_IPV6;
  uv_udp_t* udp = new_udp_ex(test, (unsigned) test->family);
  CHECK(has_socket(udp));
  CHECK(uv_udp_set_ttl(udp, 9) == 0 && uv_udp_set_broadcast(udp, 1) == 0);
  CHECK(uv_send_buffer_size((uv_handle_t*) udp, &out) == 0 && uv_recv_buffer_size((uv_handle_t*) udp, &in) == 0);
  CHECK(uv_udp_set_multicast_ttl(udp, 5) == 0 && uv_udp_set_multicast_loop(udp, 0) == 0);
  CHECK(uv_udp_set_multicast_interface(udp, v4 ? "127.0.0.1" : "::1%lo") == 0);
  CHECK(option_of(udp, level, v4 ? IP_TTL : IPV6_UNICAST_HOPS) == 9);
  CHECK(option_of(udp, level, v4 ? IP_MULTICAST_TTL : IPV6_MULTICAST_HOPS) == 5);
  CHECK(option_of(udp, level, v4 ? IP_MULTICAST_LOOP : IPV6_MULTICAST_LOOP) == 0);
  CHECK(option_of(udp, level, v4 ? IP_MULTICAST_IF : IPV6_MULTICAST_IF) ==
        (v4 ? (int) htonl(INADDR_LOOPBACK) : (int) if_nametoindex("lo")));
  CHECK(option_of(udp, SOL_SOCKET, SO_BROADCAST) == 1);
  /* Linux reports twice the size that was set (socket(7)). */
  CHECK(option_of(udp, SOL_SOCKET, SO_SNDBUF) == 40000 && option_of(udp, SOL_SOCKET, SO_RCVBUF) == 60000);
  out = in = 0;
  CHECK(uv_send_buffer_size((uv_handle_t*) udp, &out) == 0 && out == 40000);
  CHECK(uv_recv_buffer_size((uv_handle_t*) udp, &in) == 0 && in == 60000);
  CHECK(uv_udp_set_multicast_interface(udp, NULL) == 0);
  CHECK(option_of(udp, level, v4 ? IP_MULTICAST_IF : IPV6_MULTICAST_IF) == 0);
  CHECK(uv_udp_bind(udp, at(loopback_of(other_family(test), 0)), 0) == UV_EAFNOSUPPORT);
  CHECK(uv_udp_set_broadcast(udp, 0) == 0 && option_of(udp, SOL_SOCKET, SO_BROADCAST) == 0);
}

static void bind_flags(test_t* test) {
  int v4 = test->family == AF_INET, level = v4 ? IPPROTO_IP : IPPROTO_IPV6;
  const struct {
    unsigned flag;
    int level, option;
  } flags[] = {
      {UV_UDP_REUSEADDR, SOL_SOCKET, SO_REUSEADDR},
      {UV_UDP_REUSEPORT, SOL_SOCKET, SO_REUSEPORT},
      {UV_UDP_LINUX_RECVERR, level, v4 ? IP_RECVERR : IPV6_RECVERR},
      {UV_UDP_IPV6ONLY, IPPROTO_IPV6, IPV6_V6ONLY},
  };
  size_t count = v4 ? 3 : 4;
  for (size_t set = 0; set < count; set++) {
    uv_udp_t* udp = new_udp(test);
    /* A bind to another address than the wildcard sets IPV6_V6ONLY, too. */
    CHECK(uv_udp_bind(udp, at(wildcard_of(test->family, 0)), flags[set].flag) == 0);
    for (size_t i = 0; i < count; i++) CHECK(option_of(udp, flags[i].level, flags[i].option) == (i == set));
  }
}

const rule_t option_rules[] = {
    EACH("options/reach-the-socket", reach_the_socket),
    {"bind/flags", "Each flag of uv_udp_bind sets its socket option, and no other.", EACH_FAMILY, bind_flags},
    END,
};

static void adopted(test_t* test) {
  raw_t bound = raw_socket(test), connected = raw_socket(test), peer = raw_socket(test), outsider = raw_socket(test);
  uv_udp_t *one = new_udp(test), *two = new_udp(test), *three = new_udp(test);
  received_t received = {0};
  char byte;
  CHECK(uv_udp_open(one, socket(test->family, SOCK_DGRAM, 0)) == 0);
  CHECK(uv_udp_bind(one, at(loopback_of(test->family, 0)), 0) == 0);

  CHECK(uv_udp_open(two, bound.fd) == 0 && fd_of(two) == bound.fd && same_address(local_of(two), bound.address));
  CHECK(uv_udp_bind(two, at(loopback_of(test->family, 0)), 0) == UV_EINVAL);
  CHECK(recv(bound.fd, &byte, 1, 0) < 0 && errno == EAGAIN);

  raw_send_text(&outsider, "outsider", connected.address);
  CHECK(connect(connected.fd, at(peer.address), length_of(peer.address)) == 0);
  CHECK(uv_udp_open(three, connected.fd) == 0 && same_address(peer_of(three), peer.address));
  CHECK(try_text_to(three, "x", peer.address) == UV_EISCONN && try_text(three, "ping") == 4);
  EXPECT_ONLY_TEXTS(&peer, "ping");
  CHECK(start_receiving(three, &received) == 0);
  raw_send_text(&peer, "pong", connected.address);
  RUN_UNTIL(received.count > 0);
  run_iterations(test);
  CHECK(RECEIVED(&received, "pong"));
}

static void not_adopted(test_t* test) {
  uv_udp_t *udp = new_udp(test), *other = new_udp(test), *has_one = new_udp(test);
  int stream = socket(AF_INET, SOCK_STREAM, 0), file = open("/dev/null", O_RDONLY), local = socket(AF_UNIX, SOCK_DGRAM, 0);
  int good = socket(AF_INET, SOCK_DGRAM, 0), second = socket(AF_INET, SOCK_DGRAM, 0);
  CHECK(uv_udp_open(udp, stream) == UV_EINVAL && uv_udp_open(udp, file) == UV_ENOTSOCK);
  CHECK(uv_udp_open(udp, local) == UV_EAFNOSUPPORT && uv_udp_open(udp, -1) == UV_EBADF);
  CHECK(uv_udp_open_ex(udp, good, 1u << 20) == UV_EINVAL);
  CHECK(!has_socket(udp));
  CHECK(uv_udp_open_ex(has_one, good, UV_UDP_REUSEADDR) == 0);
  CHECK(uv_udp_open(has_one, second) == UV_EBUSY && uv_udp_open(other, good) == UV_EEXIST);
  /* The program still owns refused descriptors. */
  CHECK(close(stream) == 0 && close(file) == 0 && close(local) == 0 && close(second) == 0);
}

/* The error for a descriptor that is refused. The descriptor keeps its flags and options. */
static int refusal(uv_udp_t* udp, int fd) {
  int value = 1, before = fcntl(fd, F_GETFL);
  socklen_t len = sizeof value;
  CHECK(before >= 0 && (before & O_NONBLOCK) == 0);
  int result = uv_udp_open_ex(udp, fd, UV_UDP_REUSEADDR | UV_UDP_REUSEPORT);
  CHECK(result < 0 && fcntl(fd, F_GETFL) == before);
  CHECK(getsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &value, &len) == 0 && value == 0);
  CHECK(getsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &value, &len) == 0 && value == 0);
  return result;
}

static void refused_comes_back(test_t* test) {
  int tied = socket(test->family, SOCK_DGRAM, 0), good = socket(test->family, SOCK_DGRAM, 0);
  uv_udp_t* udp = new_udp(test);
  ip("link add gone type veth peer name end");
  CHECK(setsockopt(tied, SOL_SOCKET, SO_BINDTODEVICE, "gone", 5) == 0);
  ip("link del gone");
  CHECK(refusal(udp, tied) == UV_ENODEV && !has_socket(udp));
  CHECK(uv_udp_bind(udp, at(loopback_of(test->family, 0)), 0) == 0);
  CHECK(refusal(udp, good) == UV_EBUSY);
  CHECK(close(tied) == 0);
  close_udp(udp);
  CHECK(refusal(udp, good) < 0 && close(good) == 0);
}

const rule_t socket_rules[] = {
    EACH("sockets/an-adopted-one-is-recognised", adopted),
    {"sockets/what-cannot-be-adopted-is-named",
     "Adopting a stream is UV_EINVAL, a file UV_ENOTSOCK, a Unix socket UV_EAFNOSUPPORT, a second socket UV_EBUSY.",
     NO_FAMILY, not_adopted},
    ISOLATED("sockets/what-is-refused-comes-back", refused_comes_back),
    END,
};
