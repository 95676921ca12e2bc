/* Options of the socket, how it is bound, and where it comes from: as the kernel tells it. */
#include <fcntl.h>

#include "conform.h"

static int option_of(const uv_udp_t* udp, int level, int name) {
  int value = 0;
  socklen_t len = sizeof value;
  ENSURE(getsockopt(fd_of(udp), level, name, &value, &len) == 0);
  return value;
}

static void set_everything(uv_udp_t* udp) {
  int out = 20000, in = 30000;
  ENSURE(uv_udp_set_ttl(udp, 9) == 0 && uv_udp_set_broadcast(udp, 1) == 0);
  ENSURE(uv_send_buffer_size((uv_handle_t*) udp, &out) == 0 && uv_recv_buffer_size((uv_handle_t*) udp, &in) == 0);
  ENSURE(uv_udp_set_multicast_ttl(udp, 5) == 0 && uv_udp_set_multicast_loop(udp, 0) == 0);
}

static void everything_is_set(const stage_t* stage, uv_udp_t* udp) {
  int out = 0, in = 0, v4 = stage->family == AF_INET;
  ENSURE((v4 ? option_of(udp, IPPROTO_IP, IP_TTL) : option_of(udp, IPPROTO_IPV6, IPV6_UNICAST_HOPS)) == 9);
  ENSURE((v4 ? option_of(udp, IPPROTO_IP, IP_MULTICAST_TTL) : option_of(udp, IPPROTO_IPV6, IPV6_MULTICAST_HOPS)) == 5);
  ENSURE((v4 ? option_of(udp, IPPROTO_IP, IP_MULTICAST_LOOP) : option_of(udp, IPPROTO_IPV6, IPV6_MULTICAST_LOOP)) == 0);
  ENSURE(option_of(udp, SOL_SOCKET, SO_BROADCAST) == 1);
  /* Linux tells twice what was set (socket(7)). */
  ENSURE(option_of(udp, SOL_SOCKET, SO_SNDBUF) == 40000 && option_of(udp, SOL_SOCKET, SO_RCVBUF) == 60000);
  ENSURE(uv_send_buffer_size((uv_handle_t*) udp, &out) == 0 && out == 40000);
  ENSURE(uv_recv_buffer_size((uv_handle_t*) udp, &in) == 0 && in == 60000);
}

static void reach_the_socket(stage_t* stage) {
  uv_udp_t* udp = new_udp_ex(stage, (unsigned) stage->family);
  set_everything(udp);
  everything_is_set(stage, udp);
}

static void survive(stage_t* stage) {
  raw_t first = raw_socket(stage), second = raw_socket(stage);
  uv_udp_t* udp = new_udp_ex(stage, (unsigned) stage->family);
  set_everything(udp);
  ENSURE(uv_udp_bind(udp, at(loopback_of(stage->family, 0)), 0) == 0);
  for (int i = 0; i < 2; i++) {
    ENSURE(uv_udp_connect(udp, at(first.address)) == 0 && connect_anew(udp, at(second.address)) == 0 && disconnect(udp) == 0);
  }
  everything_is_set(stage, udp);
}

static void named_errors(stage_t* stage) {
  uv_udp_t* udp = new_udp_ex(stage, (unsigned) stage->family);
  int negative = -5, v4 = stage->family == AF_INET;
  ENSURE(uv_udp_set_ttl(udp, 0) == UV_EINVAL && uv_udp_set_ttl(udp, 256) == UV_EINVAL && uv_udp_set_ttl(udp, -1) == UV_EINVAL);
  ENSURE(uv_udp_set_multicast_ttl(udp, 256) == UV_EINVAL);
  ENSURE(uv_send_buffer_size((uv_handle_t*) udp, &negative) == UV_EINVAL);
  ENSURE(uv_udp_set_membership(udp, v4 ? "127.0.0.1" : "::1", NULL, UV_JOIN_GROUP) == UV_EINVAL);
  ENSURE(uv_udp_set_membership(udp, "no address", NULL, UV_JOIN_GROUP) == UV_EINVAL);
  ENSURE(uv_udp_set_membership(udp, v4 ? "239.1.2.3" : "ff05::3", NULL, (uv_membership) 7) == UV_EINVAL);
  ENSURE(uv_udp_set_multicast_interface(udp, "no address") == UV_EINVAL);
  ENSURE((v4 ? option_of(udp, IPPROTO_IP, IP_TTL) : option_of(udp, IPPROTO_IPV6, IPV6_UNICAST_HOPS)) == 64);
  ENSURE((v4 ? option_of(udp, IPPROTO_IP, IP_MULTICAST_TTL) : option_of(udp, IPPROTO_IPV6, IPV6_MULTICAST_HOPS)) == 1);
}

static void need_a_socket(stage_t* stage) {
  uv_udp_t* udp = new_udp(stage);
  int size = 0;
  ENSURE(uv_udp_set_ttl(udp, 1) == UV_EBADF && uv_udp_set_broadcast(udp, 1) == UV_EBADF);
  ENSURE(uv_udp_set_multicast_loop(udp, 1) == UV_EBADF && uv_udp_set_multicast_ttl(udp, 1) == UV_EBADF);
  ENSURE(uv_send_buffer_size((uv_handle_t*) udp, &size) == UV_EBADF && uv_recv_buffer_size((uv_handle_t*) udp, &size) == UV_EBADF);
  ENSURE(!has_socket(udp));
}

static void broadcast(stage_t* stage) {
  uv_udp_t* udp = new_udp_ex(stage, AF_INET);
  /* Everybody on loopback, so that no other route is needed. */
  address_t everybody = address_of(AF_INET, "127.255.255.255", 9);
  ENSURE(say_to(udp, "hello", everybody) == UV_EACCES);
  ENSURE(uv_udp_set_broadcast(udp, 1) == 0 && say_to(udp, "hello", everybody) != UV_EACCES);
}

static void broadcast_arrives(stage_t* stage) {
  outbox_t outbox = {0};
  uv_buf_t data[2] = {text("to all"), text("to all")}, *bufs[2] = {&data[0], &data[1]};
  unsigned nbufs[2] = {1, 1};
  cable(stage);
  raw_t there = far_raw(wildcard_of(AF_INET, 0));
  address_t everybody = address_of(AF_INET, "192.0.2.255", port_of(there.address));
  struct sockaddr* addresses[2] = {(struct sockaddr*) &everybody, (struct sockaddr*) &everybody};
  uv_udp_t* udp = wildcard_udp(stage);
  ENSURE(say_to(udp, "x", everybody) == UV_EACCES && mail_to(&outbox, 0, udp, "x", at(everybody)) == 0);
  UNTIL(outbox.count == 1);
  ENSURE(outbox.status[0] == UV_EACCES);
  /* Every form: at once, in a batch, directly and from the queue. */
  memset(&outbox, 0, sizeof outbox);
  ENSURE(uv_udp_set_broadcast(udp, 1) == 0 && say_to(udp, "to all", everybody) == 6);
  ENSURE(uv_udp_try_send2(udp, 2, bufs, nbufs, addresses, 0) == 2);
  for (int i = 0; i < 3; i++) ENSURE(mail_to(&outbox, i, udp, "to all", at(everybody)) == 0);
  UNTIL(outbox.count == 3);
  ENSURE(all_well(&outbox, 3));
  for (int i = 0; i < 6; i++) {
    letter_t letter = raw_recv(&there);
    ENSURE(strcmp(letter.text, "to all") == 0 && same_address(letter.from, near_of(AF_INET, port_of(local_of(udp)))));
  }
  /* Permission can be taken back. */
  ENSURE(uv_udp_set_broadcast(udp, 0) == 0 && say_to(udp, "x", everybody) == UV_EACCES);
  ENSURE(say_to(udp, "to one", far_of(AF_INET, port_of(there.address))) == 6);
  GETS_ONLY(&there, "to one");
}

/* The interface for groups, as the kernel tells it: its address, or its number. */
static int interface_for_groups(const stage_t* stage, const uv_udp_t* udp) {
  return stage->family == AF_INET ? option_of(udp, IPPROTO_IP, IP_MULTICAST_IF) : option_of(udp, IPPROTO_IPV6, IPV6_MULTICAST_IF);
}

static void not_there(stage_t* stage) {
  int v4 = stage->family == AF_INET;
  /* Addresses for documentation are nobody's, and there are fewer interfaces. */
  const char *group = v4 ? "239.9.9.9" : "ff02::9", *foreign = v4 ? "ff02::9" : "239.9.9.9", *own = v4 ? "127.0.0.1" : "::1";
  const char *lo = v4 ? "127.0.0.1" : "::1%lo", *nowhere = v4 ? "192.0.2.200" : "::1%999999";
  address_t absent = address_of(stage->family, v4 ? "192.0.2.200" : "2001:db8::200", 0);
  raw_t raw = raw_socket(stage);
  uv_udp_t *udp = bound_udp(stage), *fresh = new_udp(stage);
  ENSURE(uv_udp_set_multicast_interface(udp, nowhere) == (v4 ? UV_EADDRNOTAVAIL : UV_ENODEV));
  ENSURE(interface_for_groups(stage, udp) == 0);
  ENSURE(uv_udp_set_multicast_interface(udp, lo) == 0 && uv_udp_set_membership(udp, group, lo, UV_JOIN_GROUP) == 0);
  int before = interface_for_groups(stage, udp);
  ENSURE(before != 0 && uv_udp_set_multicast_interface(udp, nowhere) < 0 && interface_for_groups(stage, udp) == before);

  ENSURE(uv_udp_set_membership(udp, group, nowhere, UV_JOIN_GROUP) == UV_ENODEV);
  ENSURE(uv_udp_set_source_membership(udp, group, nowhere, own, UV_JOIN_GROUP) == UV_ENODEV);
  ENSURE(uv_udp_set_membership(udp, foreign, NULL, UV_JOIN_GROUP) == UV_EAFNOSUPPORT);
  ENSURE(uv_udp_set_membership(udp, group, nowhere, UV_LEAVE_GROUP) == UV_EADDRNOTAVAIL);
  /* The one that was joined is a member still, and then no more. */
  ENSURE(uv_udp_set_membership(udp, group, lo, UV_LEAVE_GROUP) == 0);
  ENSURE(uv_udp_set_membership(udp, group, lo, UV_LEAVE_GROUP) == UV_EADDRNOTAVAIL);

  ENSURE(uv_udp_bind(fresh, at(absent), 0) == UV_EADDRNOTAVAIL && !has_socket(fresh));
  ENSURE(uv_udp_bind(fresh, at(loopback_of(stage->family, 0)), 0) == 0 && port_of(local_of(fresh)) != 0);
  if (!v4) {
    /* What cannot be sent there is the send's own error, and the kernel's. */
    address_t beyond = address_of(AF_INET6, "fe80::1", 9);
    ((struct sockaddr_in6*) &beyond)->sin6_scope_id = 999999;
    ENSURE(sendto(raw.fd, "x", 1, 0, at(beyond), length_of(beyond)) < 0 && errno == ENETUNREACH);
    ENSURE(say_to(udp, "x", beyond) == UV_ENETUNREACH);
    ENSURE(uv_udp_bind(new_udp(stage), at(with_port(beyond, 0)), 0) == UV_ENODEV);
  }
  ENSURE(say_to(udp, "hello", raw.address) == 5);
  GETS_ONLY(&raw, "hello");
}

const rule_t option_rules[] = {
    EACH("options/reach-the-socket", reach_the_socket),
    EACH("options/survive-disconnecting", survive),
    EACH("options/have-named-errors", named_errors),
    EACH("options/need-a-socket", need_a_socket),
    ONCE("options/broadcast-needs-permission", broadcast),
    ISOLATED_V4("options/a-broadcast-arrives", broadcast_arrives),
    EACH("options/what-is-not-there-has-its-own-name", not_there),
    END,
};

static void shared(stage_t* stage, unsigned flag) {
  uv_udp_t *first = new_udp(stage), *second = new_udp(stage), *third = new_udp(stage);
  ENSURE(uv_udp_bind(first, at(loopback_of(stage->family, 0)), flag) == 0);
  ENSURE(uv_udp_bind(second, at(local_of(first)), flag) == 0);
  ENSURE(uv_udp_bind(third, at(local_of(first)), 0) == UV_EADDRINUSE);
}

static void reuse_address(stage_t* stage) {
  shared(stage, UV_UDP_REUSEADDR);
}

static void reuse_port(stage_t* stage) {
  shared(stage, UV_UDP_REUSEPORT);
}

static void group(stage_t* stage) {
  uv_udp_t *one = new_udp(stage), *other = new_udp(stage);
  inbox_t at_one = {0}, at_other = {0};
  ENSURE(uv_udp_bind(one, at(loopback_of(stage->family, 0)), UV_UDP_REUSEPORT) == 0);
  ENSURE(uv_udp_bind(other, at(local_of(one)), UV_UDP_REUSEPORT) == 0);
  ENSURE(receive(one, &at_one) == 0 && receive(other, &at_other) == 0);
  for (int i = 0; i < 64; i++) {
    raw_t raw = raw_socket(stage);
    raw_say(&raw, "hello", local_of(one));
  }
  UNTIL(at_one.count + at_other.count >= 64);
  settle(stage);
  ENSURE(at_one.count + at_other.count == 64 && at_one.count > 0 && at_other.count > 0);
}

static void ipv6_only(stage_t* stage) {
  raw_t four = raw_at(loopback_of(AF_INET, 0)), six = raw_at(loopback_of(AF_INET6, 0));
  for (int only = 0; only < 2; only++) {
    inbox_t inbox = {0};
    uv_udp_t* udp = new_udp(stage);
    ENSURE(uv_udp_bind(udp, at(wildcard_of(AF_INET6, 0)), only ? UV_UDP_IPV6ONLY : 0) == 0 && receive(udp, &inbox) == 0);
    raw_say(&four, "four", loopback_of(AF_INET, port_of(local_of(udp))));
    raw_say(&six, "six", loopback_of(AF_INET6, port_of(local_of(udp))));
    UNTIL(ends_with(&inbox, "six"));
    ENSURE(only ? HAS(&inbox, "six") : HAS(&inbox, "four", "six"));
    ENSURE(uv_udp_recv_stop(udp) == 0);
  }
  ENSURE(uv_udp_bind(new_udp(stage), at(loopback_of(AF_INET, 0)), UV_UDP_IPV6ONLY) == UV_EINVAL);
}

static void for_family(stage_t* stage) {
  uv_udp_t* udp = new_udp_ex(stage, (unsigned) stage->family);
  ENSURE(uv_udp_set_ttl(udp, 7) == 0);
  ENSURE(uv_udp_bind(udp, at(loopback_of(other_family(stage), 0)), 0) == UV_EAFNOSUPPORT);
  ENSURE(uv_udp_bind(udp, at(loopback_of(stage->family, 0)), 0) == 0);
  ENSURE((stage->family == AF_INET ? option_of(udp, IPPROTO_IP, IP_TTL) : option_of(udp, IPPROTO_IPV6, IPV6_UNICAST_HOPS)) == 7);
}

static void adopted(stage_t* stage) {
  raw_t bound = raw_socket(stage), connected = raw_socket(stage), peer = raw_socket(stage), stranger = raw_socket(stage);
  uv_udp_t *one = new_udp(stage), *two = new_udp(stage), *three = new_udp(stage);
  inbox_t inbox = {0};
  char byte;
  ENSURE(uv_udp_open(one, socket(stage->family, SOCK_DGRAM, 0)) == 0);
  ENSURE(uv_udp_bind(one, at(loopback_of(stage->family, 0)), 0) == 0);

  ENSURE(uv_udp_open(two, bound.fd) == 0 && fd_of(two) == bound.fd && same_address(local_of(two), bound.address));
  ENSURE(uv_udp_bind(two, at(loopback_of(stage->family, 0)), 0) == UV_EINVAL);
  ENSURE(recv(bound.fd, &byte, 1, 0) < 0 && errno == EAGAIN);

  raw_say(&stranger, "stranger", connected.address);
  ENSURE(connect(connected.fd, at(peer.address), length_of(peer.address)) == 0);
  ENSURE(uv_udp_open(three, connected.fd) == 0 && same_address(peer_of(three), peer.address));
  ENSURE(say_to(three, "x", peer.address) == UV_EISCONN && say(three, "ping") == 4);
  GETS_ONLY(&peer, "ping");
  ENSURE(receive(three, &inbox) == 0);
  raw_say(&peer, "pong", connected.address);
  UNTIL(inbox.count > 0);
  settle(stage);
  ENSURE(HAS(&inbox, "pong"));
}

static void not_adopted(stage_t* stage) {
  uv_udp_t *udp = new_udp(stage), *other = new_udp(stage), *has_one = new_udp(stage);
  int stream = socket(AF_INET, SOCK_STREAM, 0), file = open("/dev/null", O_RDONLY), local = socket(AF_UNIX, SOCK_DGRAM, 0);
  int good = socket(AF_INET, SOCK_DGRAM, 0), second = socket(AF_INET, SOCK_DGRAM, 0);
  ENSURE(uv_udp_open(udp, stream) == UV_EINVAL && uv_udp_open(udp, file) == UV_ENOTSOCK);
  ENSURE(uv_udp_open(udp, local) == UV_EAFNOSUPPORT && uv_udp_open(udp, -1) == UV_EBADF);
  ENSURE(uv_udp_open_ex(udp, good, 1u << 20) == UV_EINVAL);
  ENSURE(!has_socket(udp));
  ENSURE(uv_udp_open_ex(has_one, good, UV_UDP_REUSEADDR) == 0);
  ENSURE(uv_udp_open(has_one, second) == UV_EBUSY && uv_udp_open(other, good) == UV_EEXIST);
  /* What is refused stays the program's. */
  ENSURE(close(stream) == 0 && close(file) == 0 && close(local) == 0 && close(second) == 0);
}

/* Offers a descriptor that is refused: why, once it is known to be as it was. */
static int refusal(uv_udp_t* udp, int fd) {
  int value = 1, before = fcntl(fd, F_GETFL);
  socklen_t len = sizeof value;
  ENSURE(before >= 0 && (before & O_NONBLOCK) == 0);
  int result = uv_udp_open_ex(udp, fd, UV_UDP_REUSEADDR | UV_UDP_REUSEPORT);
  ENSURE(result < 0 && fcntl(fd, F_GETFL) == before);
  ENSURE(getsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &value, &len) == 0 && value == 0);
  ENSURE(getsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &value, &len) == 0 && value == 0);
  return result;
}

static void refused_comes_back(stage_t* stage) {
  int tied = socket(stage->family, SOCK_DGRAM, 0), good = socket(stage->family, SOCK_DGRAM, 0);
  uv_udp_t* udp = new_udp(stage);
  ip("link add gone type veth peer name end");
  ENSURE(setsockopt(tied, SOL_SOCKET, SO_BINDTODEVICE, "gone", 5) == 0);
  ip("link del gone");
  ENSURE(refusal(udp, tied) == UV_ENODEV && !has_socket(udp));
  ENSURE(uv_udp_bind(udp, at(loopback_of(stage->family, 0)), 0) == 0);
  ENSURE(refusal(udp, good) == UV_EBUSY);
  ENSURE(close(tied) == 0);
  close_udp(udp);
  ENSURE(refusal(udp, good) < 0 && close(good) == 0);
}

const rule_t socket_rules[] = {
    EACH("bind/reuse-address-shares-by-consent", reuse_address),
    EACH("bind/reuse-port-shares-by-consent", reuse_port),
    {"bind/a-reuse-port-group-gets-each-datagram-once", "A UV_UDP_REUSEPORT group gets each datagram once, and both of two members get some.",
     EACH_FAMILY, group},
    V6("bind/ipv6-only-leaves-ipv4-alone", ipv6_only),
    EACH("sockets/a-family-at-once", for_family),
    EACH("sockets/an-adopted-one-is-recognised", adopted),
    {"sockets/what-cannot-be-adopted-is-named",
     "Adopting a stream is UV_EINVAL, a file UV_ENOTSOCK, a Unix socket UV_EAFNOSUPPORT; a second socket UV_EBUSY.", NO_FAMILY, not_adopted},
    ISOLATED("sockets/what-is-refused-comes-back", refused_comes_back),
    END,
};
