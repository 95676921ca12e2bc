/* The policy table, part one: binding, connecting and disconnecting without a socket, unconnected, connected, closed. */
#include "conform.h"

static void on_ignored(uv_udp_send_t* req, int status) {
  (void) req, (void) status;
}

static void bind_creates(stage_t* stage) {
  uv_udp_t *udp = new_udp(stage), *other = new_udp(stage);
  ENSURE(!has_socket(udp));
  ENSURE(uv_udp_bind(udp, at(loopback_of(stage->family, 0)), 0) == 0);
  ENSURE(has_socket(udp) && same_ip(local_of(udp), loopback_of(stage->family, 0)) && port_of(local_of(udp)) != 0);
  ENSURE(uv_udp_bind(other, at(local_of(udp)), 0) == UV_EADDRINUSE);
}

static void bind_bound(stage_t* stage) {
  raw_t peer = raw_socket(stage);
  uv_udp_t* handles[] = {bound_udp(stage), new_udp(stage)};
  ENSURE(say_to(handles[1], "x", peer.address) == 1);
  for (int i = 0; i < 2; i++) {
    address_t before = local_of(handles[i]);
    ENSURE(uv_udp_bind(handles[i], at(loopback_of(stage->family, 0)), 0) == UV_EINVAL);
    ENSURE(same_address(local_of(handles[i]), before));
  }
}

static void bind_connected(stage_t* stage) {
  raw_t peer = raw_socket(stage);
  uv_udp_t* udp = connected_udp(stage, peer.address);
  address_t before = local_of(udp);
  ENSURE(uv_udp_bind(udp, at(loopback_of(stage->family, 0)), 0) == UV_EINVAL);
  ENSURE(same_address(local_of(udp), before) && say(udp, "still there") == 11);
  GETS_ONLY(&peer, "still there");
}

static void bind_unbound(stage_t* stage) {
  uv_udp_t* udp = new_udp_ex(stage, (unsigned) stage->family);
  ENSURE(has_socket(udp));
  ENSURE(uv_udp_bind(udp, at(loopback_of(other_family(stage), 0)), 0) == UV_EAFNOSUPPORT);
  ENSURE(uv_udp_bind(udp, at(loopback_of(stage->family, 0)), 0) == 0 && port_of(local_of(udp)) != 0);
  ENSURE(uv_udp_bind(udp, at(loopback_of(stage->family, 0)), 0) == UV_EINVAL);
}

static void bind_flags(stage_t* stage) {
  uv_udp_t* udp = new_udp(stage);
  address_t any = loopback_of(stage->family, 0);
  ENSURE(uv_udp_bind(udp, at(any), 1u << 20) == UV_EINVAL);
  ENSURE(uv_udp_bind(udp, at(any), UV_UDP_PARTIAL) == UV_EINVAL);
  ENSURE(uv_udp_bind(udp, at(any), UV_UDP_RECVMMSG) == UV_EINVAL);
  ENSURE(!has_socket(udp));
  ENSURE(uv_udp_bind(udp, at(any), UV_UDP_LINUX_RECVERR | UV_UDP_REUSEADDR | UV_UDP_REUSEPORT) == 0);
}

static void connect_creates(stage_t* stage) {
  raw_t peer = raw_socket(stage);
  uv_udp_t* udp = connected_udp(stage, peer.address);
  ENSURE(say(udp, "hello") == 5);
  letter_t letter = raw_recv(&peer);
  ENSURE(strcmp(letter.text, "hello") == 0 && same_address(letter.from, local_of(udp)));
}

static void connect_unconnected(stage_t* stage) {
  raw_t peer = raw_socket(stage);
  uv_udp_t* udp = bound_udp(stage);
  address_t before = local_of(udp);
  ENSURE(uv_udp_connect(udp, at(peer.address)) == 0 && same_address(local_of(udp), before));
  ENSURE(say(udp, "hello") == 5 && same_address(raw_recv(&peer).from, before));
}

static void connect_unbound(stage_t* stage) {
  raw_t peer = raw_socket(stage);
  uv_udp_t* udp = new_udp_ex(stage, (unsigned) stage->family);
  ENSURE(uv_udp_connect(udp, at(loopback_of(other_family(stage), 9))) == UV_EAFNOSUPPORT);
  ENSURE(disconnect(udp) == UV_ENOTCONN);
  ENSURE(uv_udp_connect(udp, at(peer.address)) == 0);
  int port = port_of(local_of(udp));
  ENSURE(port != 0 && disconnect(udp) == 0 && port_of(local_of(udp)) == port);
  ENSURE(say_to(udp, "hello", peer.address) == 5 && port_of(raw_recv(&peer).from) == port);
}

static void connect_connected(stage_t* stage) {
  raw_t first = raw_socket(stage), second = raw_socket(stage);
  raw_t* peers[] = {&first, &second, &second, &first};
  uv_udp_t* udp = connected_udp(stage, first.address);
  int port = port_of(local_of(udp));
  for (int i = 0; i < 4; i++) {
    ENSURE(connect_anew(udp, at(peers[i]->address)) == 0 && same_address(peer_of(udp), peers[i]->address));
    ENSURE(port_of(local_of(udp)) == port && say(udp, "moved") == 5);
    GETS(peers[i], "moved");
  }
  ENSURE(raw_rest(&first) == 0 && raw_rest(&second) == 0);
}

#ifdef UV_UDP_V1
static void connect_is_refused(stage_t* stage) {
  raw_t peer = raw_socket(stage), other = raw_socket(stage);
  uv_udp_t* udp = connected_udp(stage, peer.address);
  address_t before = local_of(udp);
  ENSURE(uv_udp_connect(udp, at(other.address)) == UV_EISCONN);
  ENSURE(uv_udp_connect(udp, at(peer.address)) == UV_EISCONN);
  ENSURE(same_address(peer_of(udp), peer.address) && same_address(local_of(udp), before));
  ENSURE(say(udp, "still there") == 11 && raw_rest(&other) == 0);
  GETS_ONLY(&peer, "still there");
}
#endif

/* An address that no socket can be connected to without further ado, and what the kernel says then. */
static address_t refused_peer(stage_t* stage, int* error) {
  /* Everybody on loopback, without SO_BROADCAST; a link-local address without a link. */
  *error = stage->family == AF_INET ? UV_EACCES : UV_EINVAL;
  return address_of(stage->family, stage->family == AF_INET ? "127.255.255.255" : "fe80::1", 9);
}

static void connect_failing(stage_t* stage) {
  raw_t peer = raw_socket(stage), other = raw_socket(stage);
  inbox_t inbox = {0};
  int error;
  address_t refused = refused_peer(stage, &error);
  uv_udp_t* udp = connected_udp(stage, peer.address);
  int port = port_of(local_of(udp));
  ENSURE(connect_anew(udp, at(refused)) == error);
  ENSURE(!is_connected(udp) && say(udp, "x") == UV_EDESTADDRREQ && port_of(local_of(udp)) == port);
  ENSURE(say_to(udp, "hello", other.address) == 5);
  letter_t letter = raw_recv(&other);
  ENSURE(strcmp(letter.text, "hello") == 0 && port_of(letter.from) == port && receive(udp, &inbox) == 0);
  raw_say(&other, "answer", letter.from);
  UNTIL(inbox.count == 1);
  ENSURE(uv_udp_connect(udp, at(peer.address)) == 0 && say(udp, "again") == 5);
  GETS_ONLY(&peer, "again");
}

static void first_connect_failing(stage_t* stage) {
  int error;
  address_t refused = refused_peer(stage, &error);
  uv_udp_t* udp = new_udp(stage);
  ENSURE(uv_udp_connect(udp, at(refused)) == error);
  ENSURE(!has_socket(udp) && say(udp, "x") == UV_EDESTADDRREQ);
  /* Not even the family is decided. */
  int family = has_family(other_family(stage)) ? other_family(stage) : stage->family;
  ENSURE(uv_udp_bind(udp, at(loopback_of(family, 0)), 0) == 0);
}

static void connect_bad(stage_t* stage) {
  uv_udp_t* udp = new_udp(stage);
  address_t local = loopback_of(stage->family, 9);
  local.any.ss_family = AF_UNIX;
  ENSURE(uv_udp_connect(udp, at(local)) == UV_EINVAL);
#ifndef UV_UDP_V1
  ENSURE(uv_udp_connect(udp, NULL) == UV_EINVAL);
#endif
  ENSURE(!has_socket(udp));
}

static void disconnect_without_socket(stage_t* stage) {
  uv_udp_t* udp = new_udp(stage);
  ENSURE(disconnect(udp) == UV_ENOTCONN && !has_socket(udp));
}

static void disconnect_unconnected(stage_t* stage) {
  raw_t peer = raw_socket(stage);
  uv_udp_t* udp = bound_udp(stage);
  address_t before = local_of(udp);
  ENSURE(disconnect(udp) == UV_ENOTCONN);
  ENSURE(uv_udp_connect(udp, at(peer.address)) == 0 && disconnect(udp) == 0);
  ENSURE(disconnect(udp) == UV_ENOTCONN && same_address(local_of(udp), before));
}

static void disconnect_connected(stage_t* stage) {
  raw_t peer = raw_socket(stage);
  uv_udp_t* udp = bound_udp(stage);
  address_t before = local_of(udp);
  ENSURE(uv_udp_connect(udp, at(peer.address)) == 0 && disconnect(udp) == 0);
  ENSURE(same_address(local_of(udp), before) && !is_connected(udp));
}

static int getpeername_of(uv_udp_t* udp) {
  address_t name;
  int len = sizeof name;
  return uv_udp_getpeername(udp, (struct sockaddr*) &name, &len);
}

static void peer_without_socket(stage_t* stage) {
  ENSURE(getpeername_of(new_udp(stage)) == UV_ENOTCONN);
}

static void peer_unconnected(stage_t* stage) {
  ENSURE(getpeername_of(bound_udp(stage)) == UV_ENOTCONN);
}

static void peer_connected(stage_t* stage) {
  raw_t peer = raw_socket(stage);
  uv_udp_t* udp = connected_udp(stage, peer.address);
  address_t name;
  int len = sizeof name, little = 2;
  ENSURE(uv_udp_getpeername(udp, (struct sockaddr*) &name, &len) == 0 && same_address(name, peer.address));
  ENSURE(len == (int) length_of(peer.address));
  /* What there is no room for is left out, and the whole length told. */
  ENSURE(uv_udp_getpeername(udp, (struct sockaddr*) &name, &little) == 0 && little == len);
  /* Connecting to the wildcard address is connecting to loopback. */
  ENSURE(connect_anew(udp, at(wildcard_of(stage->family, port_of(peer.address)))) == 0);
  ENSURE(same_address(peer_of(udp), peer.address) && say(udp, "hello") == 5);
  GETS_ONLY(&peer, "hello");
}

static void refuses_everything(uv_udp_t* udp, address_t to) {
  uv_udp_send_t req;
  uv_buf_t buf = text("x"), *bufs[] = {&buf};
  unsigned nbufs[] = {1};
  int len = sizeof to, fd, size = 0;
  address_t name;
  ENSURE(uv_is_closing((uv_handle_t*) udp) && !uv_is_active((uv_handle_t*) udp));
  ENSURE(uv_udp_bind(udp, at(to), 0) == UV_EBADF && uv_udp_connect(udp, at(to)) == UV_EBADF);
  ENSURE(disconnect(udp) == UV_EBADF);
  ENSURE(send_to_peer(&req, udp, &buf, 1, on_ignored) == UV_EBADF);
  ENSURE(send_to(&req, udp, &buf, 1, at(to), on_ignored) == UV_EBADF);
  ENSURE(try_send_to_peer(udp, &buf, 1) == UV_EBADF && try_send_to(udp, &buf, 1, at(to)) == UV_EBADF);
  ENSURE(uv_udp_try_send2(udp, 1, bufs, nbufs, NULL, 0) == UV_EBADF);
  ENSURE(uv_udp_recv_start(udp, inbox_alloc, inbox_recv) == UV_EBADF);
  ENSURE(uv_udp_getsockname(udp, (struct sockaddr*) &name, &len) == UV_EBADF && getpeername_of(udp) == UV_EBADF);
  ENSURE(uv_udp_set_ttl(udp, 64) == UV_EBADF && uv_udp_set_broadcast(udp, 1) == UV_EBADF);
  ENSURE(uv_udp_set_multicast_loop(udp, 1) == UV_EBADF && uv_udp_set_multicast_ttl(udp, 1) == UV_EBADF);
  ENSURE(uv_fileno((uv_handle_t*) udp, &fd) == UV_EBADF && uv_recv_buffer_size((uv_handle_t*) udp, &size) == UV_EBADF);
  uv_close((uv_handle_t*) udp, NULL);
}

static int closed;

static void count_close(uv_handle_t* handle) {
  (void) handle;
  closed++;
}

static void closed_calls(stage_t* stage) {
  raw_t peer = raw_socket(stage);
  uv_udp_t handles[3];
  closed = 0;
  for (int i = 0; i < 3; i++) ENSURE(uv_udp_init(&stage->loop, &handles[i]) == 0);
  ENSURE(uv_udp_bind(&handles[1], at(loopback_of(stage->family, 0)), 0) == 0);
  ENSURE(uv_udp_connect(&handles[2], at(peer.address)) == 0);
  for (int i = 0; i < 3; i++) {
    uv_close((uv_handle_t*) &handles[i], count_close);
    refuses_everything(&handles[i], peer.address);
    UNTIL(closed == i + 1);
    refuses_everything(&handles[i], peer.address);
  }
  settle(stage);
  ENSURE(closed == 3 && raw_rest(&peer) == 0);
}

const rule_t policy_rules[] = {
    EACH("bind/no-socket-creates-and-binds", bind_creates),
    EACH("bind/bound-is-einval", bind_bound),
    EACH("bind/connected-is-einval", bind_connected),
    EACH("bind/unbound-binds", bind_unbound),
    {"bind/flags", "uv_udp_bind knows its flags, and refuses others with UV_EINVAL.", EACH_FAMILY, bind_flags},
    EACH("connect/no-socket-creates-and-connects", connect_creates),
    EACH("connect/unconnected-connects", connect_unconnected),
    EACH("connect/unbound-connects", connect_unbound),
    EACH("connect/connected-connects-anew", connect_connected),
#ifdef UV_UDP_V1
    {"connect/connected-is-eisconn", "uv_udp_connect on a connected handle is UV_EISCONN, and changes nothing.", EACH_FAMILY,
     connect_is_refused},
#endif
    EACH("connect/failure-leaves-it-unconnected", connect_failing),
    EACH("connect/failed-first-call-changes-nothing", first_connect_failing),
    {"connect/bad-input-is-einval", "uv_udp_connect with no address, or one of no family it knows, is UV_EINVAL.", EACH_FAMILY,
     connect_bad},
    EACH("disconnect/no-socket-is-enotconn", disconnect_without_socket),
    EACH("disconnect/unconnected-is-enotconn", disconnect_unconnected),
    EACH("disconnect/connected-keeps-the-local-address", disconnect_connected),
    EACH("peer-addr/no-socket-is-enotconn", peer_without_socket),
    EACH("peer-addr/unconnected-is-enotconn", peer_unconnected),
    EACH("peer-addr/connected-is-the-peer", peer_connected),
    EACH("closed/every-call-is-ebadf", closed_calls),
    END,
};
