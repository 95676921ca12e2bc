/* The policy table: what each call does without a socket, unconnected, connected, closed. */
#include "conform.h"

static void on_ignored(uv_udp_send_t* req, int status) {
  (void) req, (void) status;
}

static verdict_t bind_creates(stage_t* stage) {
  uv_udp_t* udp = bound_udp(stage);
  int fd;
  ENSURE(uv_fileno((uv_handle_t*) udp, &fd) == 0 && fd >= 0);
  ENSURE(port_of(local_of(udp)) != 0 && !is_wildcard(local_of(udp)));
  return HOLDS;
}

static verdict_t bind_bound(stage_t* stage) {
  uv_udp_t* udp = bound_udp(stage);
  address_t before = local_of(udp);
  ENSURE(uv_udp_bind(udp, at(loopback_of(stage->family, 0)), 0) == UV_EINVAL);
  ENSURE(same_address(local_of(udp), before));
  return HOLDS;
}

static verdict_t bind_connected(stage_t* stage) {
  uv_udp_t *peer = bound_udp(stage), *udp = new_udp(stage);
  address_t to = local_of(peer);
  ENSURE(uv_udp_connect(udp, at(to)) == 0);
  ENSURE(uv_udp_bind(udp, at(loopback_of(stage->family, 0)), 0) == UV_EINVAL);
  return HOLDS;
}

static verdict_t bind_flags(stage_t* stage) {
  uv_udp_t *one = new_udp(stage), *other = new_udp(stage), *third = new_udp(stage);
  address_t any = loopback_of(stage->family, 0);
  ENSURE(uv_udp_bind(one, at(any), 1u << 20) == UV_EINVAL);
  ENSURE(uv_udp_bind(one, at(any), UV_UDP_PARTIAL) == UV_EINVAL);
  ENSURE(uv_udp_bind(one, at(any), UV_UDP_IPV6ONLY) == (stage->family == AF_INET ? UV_EINVAL : 0));
  if (stage->family == AF_INET) ENSURE(uv_udp_bind(one, at(any), UV_UDP_LINUX_RECVERR) == 0);
  address_t taken = local_of(one);
  ENSURE(uv_udp_bind(other, at(taken), 0) == UV_EADDRINUSE);
  ENSURE(uv_udp_bind(other, at(any), UV_UDP_REUSEADDR) == 0);
  address_t shared = local_of(other);
  ENSURE(uv_udp_bind(third, at(shared), UV_UDP_REUSEADDR) == 0);
  return HOLDS;
}

static verdict_t connect_creates(stage_t* stage) {
  uv_udp_t *peer = bound_udp(stage), *udp = new_udp(stage);
  address_t to = local_of(peer), name;
  int len = sizeof name.any;
  ENSURE(uv_udp_connect(udp, at(to)) == 0);
  ENSURE(uv_udp_getpeername(udp, (struct sockaddr*) &name, &len) == 0);
  ENSURE(len == (stage->family == AF_INET ? (int) sizeof(struct sockaddr_in) : (int) sizeof(struct sockaddr_in6)));
  ENSURE(same_address(name, to) && port_of(local_of(udp)) != 0);
  return HOLDS;
}

static verdict_t connect_unconnected(stage_t* stage) {
  uv_udp_t *peer = bound_udp(stage), *udp = bound_udp(stage);
  address_t to = local_of(peer), before = local_of(udp);
  ENSURE(uv_udp_connect(udp, at(to)) == 0);
  ENSURE(same_address(local_of(udp), before));
  return HOLDS;
}

#ifdef UV_UDP_V1
static verdict_t connect_connected(stage_t* stage) {
  uv_udp_t *peer = bound_udp(stage), *udp = new_udp(stage);
  address_t to = local_of(peer), name;
  int len = sizeof name.any;
  ENSURE(uv_udp_connect(udp, at(to)) == 0);
  ENSURE(uv_udp_connect(udp, at(loopback_of(stage->family, 9))) == UV_EISCONN);
  ENSURE(uv_udp_getpeername(udp, (struct sockaddr*) &name, &len) == 0 && same_address(name, to));
  return HOLDS;
}
#else
static verdict_t connect_connected(stage_t* stage) {
  uv_udp_t *one = bound_udp(stage), *other = bound_udp(stage), *udp = new_udp(stage);
  address_t first = local_of(one), second = local_of(other), name;
  inbox_t inbox = {0};
  uv_buf_t buf = text("moved");
  int len = sizeof name.any;
  ENSURE(uv_udp_connect(udp, at(first)) == 0);
  address_t before = local_of(udp);
  ENSURE(uv_udp_connect(udp, at(first)) == 0);
  ENSURE(uv_udp_connect(udp, at(second)) == 0);
  ENSURE(uv_udp_getpeername(udp, (struct sockaddr*) &name, &len) == 0 && same_address(name, second));
  ENSURE(port_of(local_of(udp)) == port_of(before));
  ENSURE(receive(other, &inbox) == 0 && uv_udp_try_send(udp, &buf, 1) == 5);
  run_until(stage, &inbox.count, 1);
  ENSURE(inbox.count == 1 && strcmp(inbox.data[0], "moved") == 0);
  return HOLDS;
}
#endif

static verdict_t connect_bad(stage_t* stage) {
  uv_udp_t* udp = new_udp(stage);
  address_t local = loopback_of(stage->family, 0), other = loopback_of(stage->family == AF_INET ? AF_INET6 : AF_INET, 9);
  ENSURE(uv_udp_connect(udp, at(local)) == UV_EINVAL);
#ifndef UV_UDP_V1
  ENSURE(uv_udp_connect(udp, NULL) == UV_EINVAL);
#endif
  other.any.ss_family = AF_UNIX;
  ENSURE(uv_udp_connect(udp, at(other)) == UV_EINVAL);
  ENSURE(uv_udp_bind(udp, at(local), 0) == 0);
  return HOLDS;
}

static verdict_t disconnect_unconnected(stage_t* stage) {
  uv_udp_t *fresh = new_udp(stage), *bound = bound_udp(stage);
  ENSURE(disconnect(fresh) == UV_ENOTCONN);
  ENSURE(disconnect(bound) == UV_ENOTCONN);
  return HOLDS;
}

static verdict_t disconnect_connected(stage_t* stage) {
  uv_udp_t *peer = bound_udp(stage), *udp = bound_udp(stage);
  address_t to = local_of(peer), before = local_of(udp);
  uv_buf_t buf = text("x");
  ENSURE(uv_udp_connect(udp, at(to)) == 0);
  ENSURE(disconnect(udp) == 0);
  ENSURE(disconnect(udp) == UV_ENOTCONN);
  ENSURE(same_address(local_of(udp), before));
  ENSURE(try_send_to_peer(udp, &buf, 1) == UV_EDESTADDRREQ);
  ENSURE(try_send_to(udp, &buf, 1, at(to)) == 1);
  return HOLDS;
}

static verdict_t peer_unconnected(stage_t* stage) {
  uv_udp_t *fresh = new_udp(stage), *bound = bound_udp(stage);
  address_t name;
  int len = sizeof name.any;
  ENSURE(uv_udp_getpeername(fresh, (struct sockaddr*) &name, &len) == UV_ENOTCONN);
  ENSURE(uv_udp_getpeername(bound, (struct sockaddr*) &name, &len) == UV_ENOTCONN);
  ENSURE(uv_udp_getsockname(fresh, (struct sockaddr*) &name, &len) == UV_EBADF);
  return HOLDS;
}

static verdict_t send_unconnected(stage_t* stage) {
  uv_udp_t *fresh = new_udp(stage), *bound = bound_udp(stage);
  uv_udp_send_t req;
  uv_buf_t buf = text("x");
  int fd;
  ENSURE(send_to_peer(&req, fresh, &buf, 1, on_ignored) == UV_EDESTADDRREQ);
  ENSURE(try_send_to_peer(fresh, &buf, 1) == UV_EDESTADDRREQ);
  ENSURE(uv_fileno((uv_handle_t*) fresh, &fd) == UV_EBADF);
  ENSURE(send_to_peer(&req, bound, &buf, 1, on_ignored) == UV_EDESTADDRREQ);
  ENSURE(try_send_to_peer(bound, &buf, 1) == UV_EDESTADDRREQ);
  ENSURE(bound->send_queue_count == 0 && !uv_is_active((uv_handle_t*) bound));
  return HOLDS;
}

static verdict_t send_to_connected(stage_t* stage) {
  uv_udp_t *peer = bound_udp(stage), *udp = new_udp(stage);
  address_t to = local_of(peer), unix_address = to;
  uv_udp_send_t req;
  uv_buf_t buf = text("x");
  unix_address.any.ss_family = AF_UNIX;
  ENSURE(uv_udp_connect(udp, at(to)) == 0);
  ENSURE(send_to(&req, udp, &buf, 1, at(to), on_ignored) == UV_EISCONN);
  ENSURE(try_send_to(udp, &buf, 1, at(to)) == UV_EISCONN);
  ENSURE(try_send_to(udp, &buf, 1, at(unix_address)) == UV_EISCONN);
  ENSURE(udp->send_queue_count == 0);
  return HOLDS;
}

static verdict_t send_to_fresh(stage_t* stage) {
  uv_udp_t *receiver = bound_udp(stage), *udp = new_udp(stage), *tried = new_udp(stage);
  address_t to = local_of(receiver);
  inbox_t inbox = {0};
  outbox_t outbox = {0};
  uv_buf_t bufs[3] = {text("o"), uv_buf_init(NULL, 0), text("ne")};
  ENSURE(receive(receiver, &inbox) == 0);
  ENSURE(mail_to(&outbox, 1, udp, "queued", at(to)) == 0);
  ENSURE(try_send_to(tried, bufs, 3, at(to)) == 3);
  ENSURE(is_wildcard(local_of(udp)) && port_of(local_of(udp)) != 0);
  ENSURE(is_wildcard(local_of(tried)) && port_of(local_of(tried)) != 0);
  run_until(stage, &inbox.count, 2);
  settle(stage);
  ENSURE(inbox.count == 2 && outbox.count == 1 && outbox.status[0] == 0);
  ENSURE(strcmp(inbox.data[0], "queued") == 0 && strcmp(inbox.data[1], "one") == 0);
  ENSURE(port_of(inbox.from[0]) == port_of(local_of(udp)));
  return HOLDS;
}

static verdict_t recv_fresh(stage_t* stage) {
  uv_udp_t* udp = new_udp(stage);
  inbox_t inbox = {0};
  ENSURE(uv_udp_recv_start(udp, NULL, inbox_recv) == UV_EINVAL);
  ENSURE(uv_udp_recv_start(udp, inbox_alloc, NULL) == UV_EINVAL);
  ENSURE(receive(udp, &inbox) == 0);
  ENSURE(receive(udp, &inbox) == UV_EALREADY);
  ENSURE(is_wildcard(local_of(udp)) && port_of(local_of(udp)) != 0);
  ENSURE(uv_udp_recv_stop(udp) == 0 && uv_udp_recv_stop(udp) == 0);
  return HOLDS;
}

static verdict_t closed_calls(stage_t* stage) {
  uv_udp_t udp;
  address_t to = loopback_of(stage->family, 9);
  inbox_t inbox = {0};
  uv_udp_send_t req;
  uv_buf_t buf = text("x");
  int len = sizeof to.any, fd, size = 0;
  ENSURE(uv_udp_init(&stage->loop, &udp) == 0 && uv_udp_bind(&udp, at(loopback_of(stage->family, 0)), 0) == 0);
  uv_close((uv_handle_t*) &udp, NULL);
  /* While it closes, and once it is closed. */
  for (int i = 0; i < 2; i++) {
    ENSURE(uv_is_closing((uv_handle_t*) &udp) && !uv_is_active((uv_handle_t*) &udp));
    ENSURE(uv_udp_bind(&udp, at(to), 0) == UV_EBADF);
    ENSURE(uv_udp_connect(&udp, at(to)) == UV_EBADF);
    ENSURE(disconnect(&udp) == UV_EBADF);
    ENSURE(send_to_peer(&req, &udp, &buf, 1, on_ignored) == UV_EBADF);
    ENSURE(send_to(&req, &udp, &buf, 1, at(to), on_ignored) == UV_EBADF);
    ENSURE(try_send_to_peer(&udp, &buf, 1) == UV_EBADF);
    ENSURE(try_send_to(&udp, &buf, 1, at(to)) == UV_EBADF);
    ENSURE(uv_udp_recv_start(&udp, inbox_alloc, inbox_recv) == UV_EBADF);
    ENSURE(uv_udp_getsockname(&udp, (struct sockaddr*) &inbox.from[0], &len) == UV_EBADF);
    ENSURE(uv_udp_getpeername(&udp, (struct sockaddr*) &inbox.from[0], &len) == UV_EBADF);
    ENSURE(uv_udp_set_ttl(&udp, 64) == UV_EBADF && uv_udp_set_broadcast(&udp, 1) == UV_EBADF);
    ENSURE(uv_fileno((uv_handle_t*) &udp, &fd) == UV_EBADF);
    ENSURE(uv_recv_buffer_size((uv_handle_t*) &udp, &size) == UV_EBADF);
    uv_close((uv_handle_t*) &udp, NULL);
    uv_run(&stage->loop, UV_RUN_DEFAULT);
  }
  return HOLDS;
}

static verdict_t null_pointers(stage_t* stage) {
  uv_udp_t* udp = bound_udp(stage);
  uv_buf_t buf = text("x");
  uv_udp_send_t req;
  address_t to = local_of(udp);
  int value = 0;
  ENSURE(uv_udp_init(&stage->loop, NULL) == UV_EINVAL && uv_udp_init(NULL, udp) == UV_EINVAL);
  ENSURE(uv_udp_bind(udp, NULL, 0) == UV_EINVAL && uv_udp_bind(NULL, at(to), 0) == UV_EINVAL);
  ENSURE(send_to(NULL, udp, &buf, 1, at(to), on_ignored) == UV_EINVAL);
  ENSURE(send_to(&req, udp, NULL, 1, at(to), on_ignored) == UV_EINVAL);
  ENSURE(send_to(&req, udp, &buf, 0, at(to), on_ignored) == UV_EINVAL);
  ENSURE(try_send_to(udp, &buf, 0, at(to)) == UV_EINVAL);
  ENSURE(uv_udp_getsockname(udp, NULL, &value) == UV_EINVAL);
  ENSURE(uv_recv_buffer_size((uv_handle_t*) udp, NULL) == UV_EINVAL);
  ENSURE(uv_recv_buffer_size((uv_handle_t*) udp, &value) == 0 && value > 0);
  ENSURE(uv_fileno(NULL, &value) == UV_EINVAL);
  uv_close(NULL, NULL), uv_ref(NULL), uv_unref(NULL);
  return HOLDS;
}

const rule_t policy_rules[] = {
    {"bind/no-socket-creates-and-binds", "uv_udp_bind makes a socket of the address's family and binds it.", bind_creates},
    {"bind/bound-is-einval", "uv_udp_bind on a bound handle is UV_EINVAL.", bind_bound},
    {"bind/connected-is-einval", "uv_udp_bind on a connected handle is UV_EINVAL.", bind_connected},
    {"bind/flags", "uv_udp_bind knows its flags, and refuses others with UV_EINVAL.", bind_flags},
    {"connect/no-socket-creates-and-connects", "uv_udp_connect makes a socket of the peer's family and connects it.", connect_creates},
    {"connect/unconnected-connects", "uv_udp_connect on a bound handle connects it, and keeps its port.", connect_unconnected},
#ifdef UV_UDP_V1
    {"connect/connected-is-eisconn", "uv_udp_connect on a connected handle is UV_EISCONN, and changes nothing.", connect_connected},
#else
    {"connect/connected-connects-anew", "uv_udp_connect on a connected handle moves it to the new peer.", connect_connected},
#endif
    {"connect/bad-input-changes-nothing", "uv_udp_connect with bad input is UV_EINVAL, and changes nothing.", connect_bad},
    {"disconnect/unconnected-is-enotconn", "Disconnecting without a peer is UV_ENOTCONN.", disconnect_unconnected},
    {"disconnect/connected-keeps-the-local-address", "Disconnecting dissolves the association and keeps the local address.", disconnect_connected},
    {"peer-addr/unconnected-is-enotconn", "uv_udp_getpeername without a peer is UV_ENOTCONN.", peer_unconnected},
    {"send/unconnected-is-edestaddrreq", "Sending to the peer without one is UV_EDESTADDRREQ, and accepts nothing.", send_unconnected},
    {"send-to/connected-is-eisconn", "Sending to an address on a connected handle is UV_EISCONN, whatever the address.", send_to_connected},
    {"send-to/no-socket-binds-to-the-wildcard", "Sending to an address without a socket makes one, bound to the wildcard address.", send_to_fresh},
    {"recv-start/no-socket-binds-to-the-wildcard", "uv_udp_recv_start without a socket makes one; a second start is UV_EALREADY.", recv_fresh},
    {"closed/every-call-is-ebadf", "Every call on a handle that was closed is UV_EBADF.", closed_calls},
    {"input/null-pointers-are-einval", "A null pointer where there must be none is UV_EINVAL.", null_pointers},
    {NULL, NULL, NULL},
};
