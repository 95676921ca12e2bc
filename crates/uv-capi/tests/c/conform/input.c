/* Bad input gets a named error and changes nothing; odd input that is good works. */
#include "conform.h"

static char large[65508];
static uv_buf_t many[1025];

/* The payload is refused on a connected and on an unconnected handle, and nobody gets anything. */
static void is_refused(stage_t* stage, uv_buf_t* bufs, unsigned count, int error) {
  raw_t peer = raw_socket(stage);
  uv_udp_t *connected = connected_udp(stage, peer.address), *unconnected = bound_udp(stage), *fresh = new_udp(stage);
  struct sockaddr* addrs[] = {(struct sockaddr*) &peer.address};
  uv_udp_send_t req;
  uv_buf_t* batch[] = {bufs};
  unsigned counts[] = {count};
  ENSURE(send_to_peer(&req, connected, bufs, count, NULL) == error && try_send_to_peer(connected, bufs, count) == error);
  ENSURE(uv_udp_try_send2(connected, 1, batch, counts, NULL, 0) == error);
  ENSURE(send_to(&req, unconnected, bufs, count, at(peer.address), NULL) == error);
  ENSURE(try_send_to(unconnected, bufs, count, at(peer.address)) == error);
  ENSURE(uv_udp_try_send2(unconnected, 1, batch, counts, addrs, 0) == error);
  ENSURE(try_send_to(fresh, bufs, count, at(peer.address)) == error && !has_socket(fresh));
  settle(stage);
  ENSURE(connected->send_queue_count == 0 && unconnected->send_queue_count == 0 && raw_rest(&peer) == 0);
}

static void empty_list(stage_t* stage) {
  uv_buf_t buf = text("x");
  is_refused(stage, &buf, 0, UV_EINVAL);
  is_refused(stage, NULL, 1, UV_EINVAL);
}

static int completed;

static void on_sent_well(uv_udp_send_t* req, int status) {
  (void) req;
  ENSURE(status == 0);
  completed++;
}

static void too_many_slices(stage_t* stage) {
  raw_t peer = raw_socket(stage);
  uv_udp_send_t reqs[2];
  for (int i = 0; i < 1025; i++) many[i] = text("x");
  is_refused(stage, many, 1025, UV_EMSGSIZE);
  uv_udp_t* udp = connected_udp(stage, peer.address);
  ENSURE(try_send_to_peer(udp, many, 1024) == 1024);
  for (int i = 0; i < 2; i++) ENSURE(send_to_peer(&reqs[i], udp, many, 1024, on_sent_well) == 0);
  UNTIL(completed == 2);
  for (int i = 0; i < 3; i++) ENSURE(raw_recv(&peer).len == 1024);
  ENSURE(raw_rest(&peer) == 0);
}

static void too_long(stage_t* stage) {
  uv_buf_t whole = uv_buf_init(large, 65508), halves[] = {uv_buf_init(large, 65507), text("x")};
  inbox_t inbox = {0};
  outbox_t outbox = {0};
  is_refused(stage, &whole, 1, UV_EMSGSIZE);
  is_refused(stage, halves, 2, UV_EMSGSIZE);
  uv_udp_t *peer = bound_udp(stage), *udp = connected_udp(stage, local_of(peer));
  ENSURE(receive(peer, &inbox) == 0);
  whole.len = 65507;
  ENSURE(try_send_to_peer(udp, &whole, 1) == 65507);
  UNTIL(inbox.count == 1);
  ENSURE(mail(&outbox, 0, udp, large, 65507, NULL) == 0);
  UNTIL(inbox.count == 2 && outbox.count == 1);
  ENSURE(mail_to_peer(&outbox, 1, udp, "") == 0);
  /* A queued one. */
  ENSURE(mail(&outbox, 2, udp, large, 65507, NULL) == 0);
  UNTIL(inbox.count == 4 && outbox.count == 3);
  ENSURE(all_well(&outbox, 3) && inbox.flags == 0);
  for (int i = 0; i < 4; i++) ENSURE(inbox.letters[i].len == (i == 2 ? 0 : 65507));
}

static void zero_length(stage_t* stage) {
  static const char* const words[] = {"", "", "x", "", "y", "y", "", ""};
  raw_t peer = raw_socket(stage);
  inbox_t inbox = {0};
  outbox_t outbox = {0};
  uv_udp_t* udp = connected_udp(stage, peer.address);
  uv_buf_t none[] = {text(""), uv_buf_init(NULL, 0)}, *bufs[] = {none};
  unsigned nbufs[] = {1};
  ENSURE(receive(udp, &inbox) == 0 && say(udp, "") == 0 && try_send_to_peer(udp, none, 2) == 0);
  for (int i = 0; i < 8; i++) ENSURE(mail_to_peer(&outbox, i, udp, words[i]) == 0);
  UNTIL(outbox.count == 8);
  ENSURE(all_well(&outbox, 8) && uv_udp_try_send2(udp, 1, bufs, nbufs, NULL, 0) == 1);
  GETS_ONLY(&peer, "", "", "", "", "x", "", "y", "y", "", "", "");
  for (int i = 0; i < 8; i++) raw_say(&peer, words[i], local_of(udp));
  UNTIL(inbox.count == 8);
  ENSURE(HAS(&inbox, "", "", "x", "", "y", "y", "", ""));
}

/* Every way to send to that address is this error, on a handle that has no peer. */
static void goes_nowhere(uv_udp_t* udp, address_t to, int error) {
  uv_udp_send_t req;
  uv_buf_t buf = text("x"), *bufs[] = {&buf};
  unsigned nbufs[] = {1};
  struct sockaddr* addrs[] = {(struct sockaddr*) &to};
  ENSURE(send_to(&req, udp, &buf, 1, at(to), NULL) == error && say_to(udp, "x", to) == error);
  ENSURE(uv_udp_try_send2(udp, 1, bufs, nbufs, addrs, 0) == error);
}

static void the_other_family(stage_t* stage) {
  raw_t peer = raw_socket(stage);
  address_t foreign = loopback_of(other_family(stage), 9);
  uv_udp_t *connected = connected_udp(stage, peer.address), *unconnected = bound_udp(stage);
  address_t before = local_of(connected);
#ifndef UV_UDP_V1
  ENSURE(uv_udp_connect(connected, at(foreign)) == UV_EAFNOSUPPORT);
#endif
  ENSURE(same_address(peer_of(connected), peer.address) && same_address(local_of(connected), before));
  ENSURE(say(connected, "still connected") == 15);
  ENSURE(uv_udp_connect(unconnected, at(foreign)) == UV_EAFNOSUPPORT);
  goes_nowhere(unconnected, foreign, UV_EAFNOSUPPORT);
  ENSURE(!is_connected(unconnected));
  /* A mapped address needs an IPv6 socket: on an IPv4 one it is of the other family too. */
  if (stage->family == AF_INET) {
    ENSURE(uv_udp_connect(unconnected, at(address_of(AF_INET6, "::ffff:127.0.0.1", 9))) == UV_EAFNOSUPPORT);
  }
  ENSURE(say_to(unconnected, "still unconnected", peer.address) == 17);
  GETS_ONLY(&peer, "still connected", "still unconnected");
}

static void port_0(stage_t* stage) {
  raw_t peer = raw_socket(stage);
  address_t nowhere = loopback_of(stage->family, 0);
  uv_udp_t *connected = connected_udp(stage, peer.address), *unconnected = bound_udp(stage), *fresh = new_udp(stage);
#ifndef UV_UDP_V1
  ENSURE(uv_udp_connect(connected, at(nowhere)) == UV_EINVAL);
#endif
  ENSURE(uv_udp_connect(unconnected, at(nowhere)) == UV_EINVAL && uv_udp_connect(fresh, at(nowhere)) == UV_EINVAL);
  goes_nowhere(unconnected, nowhere, UV_EINVAL);
  goes_nowhere(fresh, nowhere, UV_EINVAL);
  ENSURE(same_address(peer_of(connected), peer.address) && !is_connected(unconnected) && !has_socket(fresh));
  ENSURE(say(connected, "still connected") == 15);
  GETS_ONLY(&peer, "still connected");
}

static void same_peer(stage_t* stage) {
  raw_t peer = raw_socket(stage), stranger = raw_socket(stage);
  inbox_t inbox = {0};
  uv_udp_t* udp = connected_udp(stage, peer.address);
  address_t here = local_of(udp);
  ENSURE(receive(udp, &inbox) == 0);
  for (int round = 1; round <= 3; round++) {
    ENSURE(connect_anew(udp, at(peer.address)) == 0);
    ENSURE(same_address(local_of(udp), here) && same_address(peer_of(udp), peer.address));
    raw_say(&stranger, "stranger", here);
    ENSURE(say(udp, "hello") == 5);
    raw_say(&peer, "answer", raw_recv(&peer).from);
    UNTIL(inbox.count == round);
  }
  ENSURE(HAS(&inbox, "answer", "answer", "answer"));
}

static void taken_address(stage_t* stage) {
  raw_t taken = raw_socket(stage), peer = raw_socket(stage);
  uv_udp_t* udp = new_udp(stage);
  for (int i = 0; i < 2; i++) ENSURE(uv_udp_bind(udp, at(taken.address), 0) == UV_EADDRINUSE && !has_socket(udp));
  ENSURE(uv_udp_bind(udp, at(loopback_of(stage->family, 0)), 0) == 0 && say_to(udp, "hello", peer.address) == 5);
  ENSURE(same_address(raw_recv(&peer).from, local_of(udp)));
}

static void foreign_address(stage_t* stage) {
  /* Addresses that documentation may use and nobody has. */
  address_t foreign = address_of(stage->family, stage->family == AF_INET ? "203.0.113.1" : "2001:db8:1:1:1:1:1:1", 0);
  uv_udp_t* udp = new_udp(stage);
  ENSURE(uv_udp_bind(udp, at(foreign), 0) == UV_EADDRNOTAVAIL && !has_socket(udp));
  ENSURE(uv_udp_bind(udp, at(loopback_of(stage->family, 0)), 0) == 0);
}

static void refused_calls_change_nothing(stage_t* stage) {
  raw_t peer = raw_socket(stage);
  inbox_t inbox = {0};
  outbox_t outbox = {0};
  uv_udp_t* udp = connected_udp(stage, peer.address);
  uv_buf_t buf = text("x");
  uv_udp_send_t req;
  ENSURE(receive(udp, &inbox) == 0 && mail_to_peer(&outbox, 0, udp, "1") == 0 && mail_to_peer(&outbox, 1, udp, "2") == 0);
  address_t local = local_of(udp);
  int fd = fd_of(udp);
  ENSURE(uv_udp_bind(udp, at(loopback_of(stage->family, 0)), 0) < 0);
  ENSURE(uv_udp_connect(udp, at(loopback_of(stage->family, 0))) < 0);
  ENSURE(uv_udp_connect(udp, at(loopback_of(other_family(stage), 9))) < 0);
  ENSURE(mail_to(&outbox, 9, udp, "x", at(peer.address)) < 0 && mail(&outbox, 9, udp, large, 65508, NULL) < 0);
  ENSURE(send_to_peer(&req, udp, &buf, 0, NULL) < 0 && say(udp, "x") < 0 && receive(udp, &inbox) < 0);
  ENSURE(uv_udp_open(udp, 0) < 0 && uv_udp_set_ttl(udp, 0) < 0);
  ENSURE(same_address(local_of(udp), local) && same_address(peer_of(udp), peer.address) && fd_of(udp) == fd);
  ENSURE(udp->send_queue_count == 2 && udp->send_queue_size == 2 && uv_is_active((uv_handle_t*) udp));
  UNTIL(outbox.count == 2);
  ENSURE(all_well(&outbox, 2));
  GETS_ONLY(&peer, "1", "2");
  raw_say(&peer, "answer", local);
  UNTIL(inbox.count == 1);
}

static void bad_batch(stage_t* stage) {
  raw_t peer = raw_socket(stage);
  uv_udp_t *connected = connected_udp(stage, peer.address), *unconnected = bound_udp(stage);
  address_t nowhere = loopback_of(stage->family, 0), foreign = loopback_of(other_family(stage), 9);
  uv_buf_t good = text("good"), bad = uv_buf_init(large, 65508), *goods[] = {&good, &good, &good, &good}, *mixed[] = {&good, &good, &bad, &good};
  unsigned ones[] = {1, 1, 1, 1}, empty[] = {1, 1, 0, 1};
  struct sockaddr *to = (struct sockaddr*) &peer.address, *third[] = {NULL, NULL, to, NULL};
  struct sockaddr *no_peer[] = {to, to, NULL, to}, *no_port[] = {to, to, (struct sockaddr*) &nowhere, to};
  struct sockaddr *other[] = {to, to, (struct sockaddr*) &foreign, to};
  ENSURE(uv_udp_try_send2(connected, 4, mixed, ones, NULL, 0) == UV_EMSGSIZE);
  ENSURE(uv_udp_try_send2(connected, 4, goods, empty, NULL, 0) == UV_EINVAL);
  ENSURE(uv_udp_try_send2(connected, 4, goods, ones, third, 0) == UV_EISCONN);
  ENSURE(uv_udp_try_send2(unconnected, 4, goods, ones, no_peer, 0) == UV_EDESTADDRREQ);
  ENSURE(uv_udp_try_send2(unconnected, 4, goods, ones, no_port, 0) == UV_EINVAL);
  ENSURE(uv_udp_try_send2(unconnected, 4, goods, ones, other, 0) == UV_EAFNOSUPPORT);
  ENSURE(uv_udp_try_send2(connected, 4, goods, ones, NULL, 1) == UV_EINVAL);
  ENSURE(uv_udp_try_send2(connected, 0, goods, ones, NULL, 0) == UV_EINVAL);
  ENSURE(raw_rest(&peer) == 0);
}

static void stop_not_started(stage_t* stage) {
  raw_t peer = raw_socket(stage);
  uv_udp_t* handles[] = {new_udp(stage), bound_udp(stage), connected_udp(stage, peer.address)};
  for (int i = 0; i < 3; i++) {
    ENSURE(uv_udp_recv_stop(handles[i]) == 0 && uv_udp_recv_stop(handles[i]) == 0);
    ENSURE(!uv_is_active((uv_handle_t*) handles[i]));
  }
}

static void null_pointers(stage_t* stage) {
  uv_udp_t* udp = bound_udp(stage);
  uv_buf_t buf = text("x");
  uv_udp_send_t req;
  address_t to = local_of(udp);
  int value = 0;
  ENSURE(uv_udp_init(&stage->loop, NULL) == UV_EINVAL && uv_udp_init(NULL, udp) == UV_EINVAL);
  ENSURE(uv_udp_bind(udp, NULL, 0) == UV_EINVAL && uv_udp_bind(NULL, at(to), 0) == UV_EINVAL);
  ENSURE(send_to(NULL, udp, &buf, 1, at(to), NULL) == UV_EINVAL && send_to(&req, NULL, &buf, 1, at(to), NULL) == UV_EINVAL);
  ENSURE(uv_udp_getsockname(udp, NULL, &value) == UV_EINVAL && uv_udp_getsockname(udp, (struct sockaddr*) &to, NULL) == UV_EINVAL);
  ENSURE(uv_recv_buffer_size((uv_handle_t*) udp, NULL) == UV_EINVAL);
  ENSURE(uv_recv_buffer_size((uv_handle_t*) udp, &value) == 0 && value > 0);
  ENSURE(uv_fileno(NULL, &value) == UV_EINVAL && uv_udp_recv_stop(NULL) == UV_EINVAL);
  ENSURE(uv_udp_set_membership(udp, NULL, NULL, UV_JOIN_GROUP) == UV_EINVAL);
  uv_close(NULL, NULL), uv_ref(NULL), uv_unref(NULL);
}

const rule_t input_rules[] = {
    EACH("input/an-empty-slice-list-is-einval", empty_list),
    EACH("input/more-than-1024-slices-are-emsgsize", too_many_slices),
    EACH("input/more-than-65507-bytes-are-emsgsize", too_long),
    EACH("input/zero-length-datagrams-are-datagrams", zero_length),
    EACH("input/the-other-family-is-eafnosupport", the_other_family),
    EACH("input/port-0-is-einval", port_0),
    EACH("input/connecting-to-the-same-peer-is-fine", same_peer),
    EACH("input/a-taken-address-is-eaddrinuse", taken_address),
    EACH("input/a-foreign-address-is-eaddrnotavail", foreign_address),
    EACH("input/refused-calls-change-nothing", refused_calls_change_nothing),
    EACH("input/bad-input-in-a-batch-sends-nothing-of-it", bad_batch),
    EACH("input/stopping-what-is-not-started-is-fine", stop_not_started),
    {"input/null-pointers-are-einval", "A null pointer where there must be none is UV_EINVAL.", EACH_FAMILY, null_pointers},
    END,
};
