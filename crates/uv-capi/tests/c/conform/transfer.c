/* The policy table, part two: sending and receiving before there is a socket, unconnected and connected. */
#include "conform.h"

static void refuses_without_peer(stage_t* stage, uv_udp_t* udp) {
  outbox_t outbox = {0};
  uv_buf_t buf = text("x"), *bufs[] = {&buf, &buf};
  unsigned nbufs[] = {1, 1};
  ENSURE(mail_to_peer(&outbox, 0, udp, "x") == UV_EDESTADDRREQ && say(udp, "x") == UV_EDESTADDRREQ);
  ENSURE(uv_udp_try_send2(udp, 2, bufs, nbufs, NULL, 0) == UV_EDESTADDRREQ);
  settle(stage);
  ENSURE(outbox.count == 0 && udp->send_queue_count == 0 && !uv_is_active((uv_handle_t*) udp));
}

static void send_without_socket(stage_t* stage) {
  uv_udp_t* udp = new_udp(stage);
  refuses_without_peer(stage, udp);
  ENSURE(!has_socket(udp));
}

static void send_unconnected(stage_t* stage) {
  raw_t peer = raw_socket(stage);
  uv_udp_t* udp = bound_udp(stage);
  refuses_without_peer(stage, udp);
  ENSURE(uv_udp_connect(udp, at(peer.address)) == 0 && disconnect(udp) == 0);
  refuses_without_peer(stage, udp);
  ENSURE(raw_rest(&peer) == 0);
}

static void send_connected(stage_t* stage) {
  raw_t peer = raw_socket(stage);
  outbox_t outbox = {0};
  uv_udp_t* udp = connected_udp(stage, peer.address);
  ENSURE(mail_to_peer(&outbox, 0, udp, "hello") == 0);
  UNTIL(outbox.count == 1);
  ENSURE(all_well(&outbox, 1));
  GETS_ONLY(&peer, "hello");
}

static void try_send_connected(stage_t* stage) {
  raw_t peer = raw_socket(stage);
  ENSURE(say(connected_udp(stage, peer.address), "hello") == 5);
  GETS_ONLY(&peer, "hello");
}

static void is_bound_to_the_wildcard(stage_t* stage, uv_udp_t* udp, const raw_t* peer) {
  inbox_t* inbox = (inbox_t*) calloc(1, sizeof *inbox);
  letter_t letter = raw_recv(peer);
  ENSURE(is_wildcard(local_of(udp)) && port_of(letter.from) == port_of(local_of(udp)));
  ENSURE(strcmp(letter.text, "hello") == 0 && receive(udp, inbox) == 0);
  raw_say(peer, "answer", letter.from);
  UNTIL(inbox->count == 1);
  ENSURE(uv_udp_recv_stop(udp) == 0);
  free(inbox);
}

static void send_to_creates(stage_t* stage) {
  raw_t peer = raw_socket(stage);
  outbox_t outbox = {0};
  uv_udp_t* udp = new_udp(stage);
  ENSURE(mail_to(&outbox, 0, udp, "hello", at(peer.address)) == 0);
  UNTIL(outbox.count == 1);
  ENSURE(all_well(&outbox, 1));
  is_bound_to_the_wildcard(stage, udp, &peer);
}

static void try_send_to_creates(stage_t* stage) {
  raw_t peer = raw_socket(stage);
  uv_udp_t* udp = new_udp(stage);
  ENSURE(say_to(udp, "hello", peer.address) == 5);
  is_bound_to_the_wildcard(stage, udp, &peer);
}

static void send_to_unbound(stage_t* stage) {
  raw_t peer = raw_socket(stage);
  uv_udp_t* udp = new_udp_ex(stage, (unsigned) stage->family);
  ENSURE(say(udp, "x") == UV_EDESTADDRREQ && say_to(udp, "hello", peer.address) == 5);
  is_bound_to_the_wildcard(stage, udp, &peer);
}

static void send_to_unconnected(stage_t* stage) {
  raw_t first = raw_socket(stage), second = raw_socket(stage);
  outbox_t outbox = {0};
  uv_udp_t* udp = bound_udp(stage);
  ENSURE(mail_to(&outbox, 0, udp, "0", at(first.address)) == 0);
  ENSURE(mail_to(&outbox, 1, udp, "1", at(second.address)) == 0);
  ENSURE(mail_to(&outbox, 2, udp, "2", at(first.address)) == 0);
  UNTIL(outbox.count == 3);
  ENSURE(say_to(udp, "3", second.address) == 1 && all_well(&outbox, 3));
  GETS_ONLY(&first, "0", "2");
  GETS_ONLY(&second, "1", "3");
}

static void send_to_connected(stage_t* stage) {
  raw_t peer = raw_socket(stage), other = raw_socket(stage);
  outbox_t outbox = {0};
  uv_udp_t* udp = connected_udp(stage, peer.address);
  address_t unix_address = peer.address;
  unix_address.any.ss_family = AF_UNIX;
  address_t addresses[] = {peer.address, other.address, loopback_of(stage->family, 0), loopback_of(other_family(stage), 9), unix_address};
  uv_buf_t buf = text("x"), *bufs[] = {&buf};
  unsigned nbufs[] = {1};
  for (int i = 0; i < 5; i++) {
    struct sockaddr* addrs[] = {(struct sockaddr*) &addresses[i]};
    ENSURE(mail_to(&outbox, 0, udp, "x", at(addresses[i])) == UV_EISCONN && say_to(udp, "x", addresses[i]) == UV_EISCONN);
    ENSURE(uv_udp_try_send2(udp, 1, bufs, nbufs, addrs, 0) == UV_EISCONN);
  }
  settle(stage);
  ENSURE(outbox.count == 0 && udp->send_queue_count == 0 && raw_rest(&peer) == 0 && raw_rest(&other) == 0);
}

static void recv_creates(stage_t* stage) {
  raw_t peer = raw_socket(stage);
  inbox_t inbox = {0};
  uv_udp_t* udp = new_udp(stage);
  ENSURE(uv_udp_recv_start(udp, NULL, inbox_recv) == UV_EINVAL && uv_udp_recv_start(udp, inbox_alloc, NULL) == UV_EINVAL);
  ENSURE(!has_socket(udp) && receive(udp, &inbox) == 0);
  ENSURE(same_ip(local_of(udp), wildcard_of(AF_INET, 0)));
  raw_say(&peer, "hello", loopback_of(AF_INET, port_of(local_of(udp))));
  UNTIL(inbox.count == 1);
}

static void recv_unbound(stage_t* stage) {
  raw_t peer = raw_socket(stage);
  inbox_t inbox = {0};
  uv_udp_t* udp = new_udp_ex(stage, (unsigned) stage->family);
  ENSURE(receive(udp, &inbox) == 0 && is_wildcard(local_of(udp)) && local_of(udp).any.ss_family == stage->family);
  raw_say(&peer, "hello", loopback_of(stage->family, port_of(local_of(udp))));
  UNTIL(inbox.count == 1);
}

static void recv_unconnected(stage_t* stage) {
  raw_t first = raw_socket(stage), second = raw_socket(stage);
  inbox_t inbox = {0};
  uv_udp_t* udp = bound_udp(stage);
  ENSURE(receive(udp, &inbox) == 0);
  raw_say(&first, "1", local_of(udp));
  raw_say(&second, "2", local_of(udp));
  UNTIL(inbox.count == 2);
  ENSURE(HAS(&inbox, "1", "2"));
  ENSURE(same_address(inbox.letters[0].from, first.address) && same_address(inbox.letters[1].from, second.address));
}

static void recv_connected(stage_t* stage) {
  raw_t peer = raw_socket(stage), stranger = raw_socket(stage);
  inbox_t inbox = {0};
  uv_udp_t* udp = connected_udp(stage, peer.address);
  ENSURE(receive(udp, &inbox) == 0);
  raw_say(&stranger, "stranger", local_of(udp));
  raw_say(&peer, "peer", local_of(udp));
  UNTIL(inbox.count > 0);
  settle(stage);
  ENSURE(HAS(&inbox, "peer") && same_address(inbox.letters[0].from, peer.address));
}

static int second_calls;

static void second_alloc(uv_handle_t* handle, size_t suggested, uv_buf_t* buf) {
  second_calls++;
  inbox_alloc(handle, suggested, buf);
}

static void recv_twice(stage_t* stage) {
  raw_t peer = raw_socket(stage);
  inbox_t inbox = {0};
  uv_udp_t* udp = bound_udp(stage);
  second_calls = 0;
  ENSURE(receive(udp, &inbox) == 0 && uv_udp_recv_start(udp, second_alloc, inbox_recv) == UV_EALREADY);
  raw_say(&peer, "hello", local_of(udp));
  UNTIL(inbox.count == 1);
  ENSURE(second_calls == 0 && uv_udp_recv_stop(udp) == 0 && receive(udp, &inbox) == 0);
  raw_say(&peer, "again", local_of(udp));
  UNTIL(inbox.count == 2);
}

const rule_t transfer_rules[] = {
    EACH("send/no-socket-is-edestaddrreq", send_without_socket),
    EACH("send/unconnected-is-edestaddrreq", send_unconnected),
    EACH("send/connected-sends", send_connected),
    EACH("try-send/connected-sends", try_send_connected),
    EACH("send-to/no-socket-binds-to-the-wildcard", send_to_creates),
    EACH("try-send-to/no-socket-binds-to-the-wildcard", try_send_to_creates),
    EACH("send-to/unbound-binds-and-sends", send_to_unbound),
    EACH("send-to/unconnected-sends", send_to_unconnected),
    EACH("send-to/connected-is-eisconn", send_to_connected),
    ONCE("recv-start/no-socket-binds-to-the-wildcard", recv_creates),
    EACH("recv-start/unbound-binds-to-the-wildcard", recv_unbound),
    EACH("recv-start/unconnected-hears-everybody", recv_unconnected),
    EACH("recv-start/connected-hears-the-peer-only", recv_connected),
    EACH("recv-start/twice-is-ealready", recv_twice),
    END,
};
