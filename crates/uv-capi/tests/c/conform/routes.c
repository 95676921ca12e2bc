/* Networks with traps: several addresses, other networks, no route, small packets. */
#include "conform.h"

static void another_network(stage_t* stage) {
  cable(stage);
  raw_t local = raw_socket(stage), remote = far_raw(far_of(stage->family, 0));
  uv_udp_t* handles[] = {new_udp(stage), wildcard_udp(stage)};
  for (int i = 0; i < 2; i++) {
    uv_udp_t* udp = handles[i];
    inbox_t inbox = {0};
    ENSURE(uv_udp_connect(udp, at(local.address)) == 0);
    int port = port_of(local_of(udp));
    ENSURE(connect_anew(udp, at(remote.address)) == 0 && same_address(local_of(udp), near_of(stage->family, port)));
    ENSURE(say(udp, "hello") == 5);
    letter_t letter = raw_recv(&remote);
    ENSURE(strcmp(letter.text, "hello") == 0 && same_address(letter.from, local_of(udp)) && receive(udp, &inbox) == 0);
    raw_say(&remote, "answer", letter.from);
    UNTIL(inbox.count == 1);
    ENSURE(connect_anew(udp, at(local.address)) == 0 && say(udp, "back") == 4 && uv_udp_recv_stop(udp) == 0);
    GETS(&local, "back");
  }
}

static void other_addresses(stage_t* stage) {
  add_second_address(stage);
  raw_t peer = raw_socket(stage), other = raw_at(second_address(stage, 0));
  for (int start_first = 0; start_first < 2; start_first++) {
    inbox_t inbox = {0};
    uv_udp_t* udp = wildcard_udp(stage);
    int port = port_of(local_of(udp));
    if (start_first) ENSURE(receive(udp, &inbox) == 0);
    ENSURE(uv_udp_connect(udp, at(peer.address)) == 0 && disconnect(udp) == 0);
    if (!start_first) ENSURE(receive(udp, &inbox) == 0);
    raw_say(&other, "other", second_address(stage, port));
    raw_say(&peer, "former peer", loopback_of(stage->family, port));
    UNTIL(ends_with(&inbox, "former peer"));
    ENSURE(HAS(&inbox, "other", "former peer") && same_address(inbox.letters[0].from, other.address));
    /* And again after a connection to the other one. */
    ENSURE(uv_udp_connect(udp, at(other.address)) == 0 && disconnect(udp) == 0);
    raw_say(&peer, "peer again", loopback_of(stage->family, port));
    UNTIL(inbox.count == 3);
    ENSURE(uv_udp_recv_stop(udp) == 0);
  }
}

static void same_port_elsewhere(stage_t* stage) {
  inbox_t inbox = {0};
  add_second_address(stage);
  raw_t peer = raw_socket(stage), twin = raw_at(second_address(stage, port_of(peer.address)));
  uv_udp_t* udp = wildcard_udp(stage);
  address_t to = loopback_of(stage->family, port_of(local_of(udp)));
  raw_say(&twin, "twin", to);
  raw_say(&peer, "early", to);
  ENSURE(uv_udp_connect(udp, at(peer.address)) == 0 && receive(udp, &inbox) == 0);
  raw_say(&twin, "twin", to);
  raw_say(&peer, "late", to);
  UNTIL(ends_with(&inbox, "late"));
  ENSURE(HAS(&inbox, "early", "late"));
}

static void chosen_port(stage_t* stage) {
  raw_t first = raw_socket(stage), second = raw_socket(stage);
  raw_t* peers[] = {&second, &first};
  /* In a namespace of its own nobody else has them. */
  address_t chosen[] = {loopback_of(stage->family, 4242), wildcard_of(stage->family, 4243)};
  for (int i = 0; i < 2; i++) {
    inbox_t inbox = {0};
    uv_udp_t* udp = new_udp(stage);
    ENSURE(uv_udp_bind(udp, at(chosen[i]), 0) == 0 && uv_udp_connect(udp, at(first.address)) == 0);
    for (int each = 0; each < 2; each++) {
      ENSURE(connect_anew(udp, at(peers[each]->address)) == 0 && port_of(local_of(udp)) == 4242 + i);
    }
    ENSURE(disconnect(udp) == 0 && same_address(local_of(udp), chosen[i]) && say_to(udp, "hello", second.address) == 5);
    letter_t letter = raw_recv(&second);
    ENSURE(port_of(letter.from) == 4242 + i && receive(udp, &inbox) == 0);
    raw_say(&second, "answer", letter.from);
    UNTIL(inbox.count == 1);
    ENSURE(uv_udp_recv_stop(udp) == 0);
  }
}

static void follows_the_peer(stage_t* stage) {
  cable(stage);
  raw_t local = raw_socket(stage), remote = far_raw(far_of(stage->family, 0));
  uv_udp_t* udp = wildcard_udp(stage);
  address_t before = local_of(udp);
  int port = port_of(before);
  for (int i = 0; i < 2; i++) {
    inbox_t inbox = {0};
    ENSURE(uv_udp_connect(udp, at(local.address)) == 0 && same_address(local_of(udp), loopback_of(stage->family, port)));
    ENSURE(connect_anew(udp, at(remote.address)) == 0 && same_address(local_of(udp), near_of(stage->family, port)));
    ENSURE(disconnect(udp) == 0 && same_address(local_of(udp), before) && receive(udp, &inbox) == 0);
    raw_say(&remote, "hello", near_of(stage->family, port));
    raw_say(&local, "hello", loopback_of(stage->family, port));
    UNTIL(inbox.count == 2);
    ENSURE(uv_udp_recv_stop(udp) == 0);
  }
}

static int astray(int number) {
  return number == 0 || number == 7 || number == 8 || number == 19;
}

static void no_route(stage_t* stage) {
  raw_t peer = raw_socket(stage);
  outbox_t outbox = {0};
  int numbers[ROOM], next = 0;
  /* In a namespace with nothing but loopback no route leads there. */
  address_t nowhere = silent_of(stage->family, 9);
  uv_udp_t* udp = wildcard_udp(stage);
  for (int i = 0; i < 20; i++) ENSURE(mail(&outbox, i, udp, numbered(i, 10), 10, at(astray(i) ? nowhere : peer.address)) == 0);
  UNTIL(outbox.count == 20);
  ENSURE(raw_numbers(&peer, numbers, ROOM) == 16);
  for (int i = 0; i < 20; i++) {
    ENSURE(outbox.order[i] == i && outbox.status[i] == (astray(i) ? UV_ENETUNREACH : 0));
    if (!astray(i)) ENSURE(numbers[next++] == i);
  }
  ENSURE(say_to(udp, "x", nowhere) == UV_ENETUNREACH && say_to(udp, "x", peer.address) == 1);
}

static void connect_without_route(stage_t* stage) {
  raw_t peer = raw_socket(stage);
  address_t nowhere = silent_of(stage->family, 9);
  uv_udp_t *fresh = new_udp(stage), *connected = connected_udp(stage, peer.address);
  int port = port_of(local_of(connected));
  ENSURE(uv_udp_connect(fresh, at(nowhere)) == UV_ENETUNREACH && !has_socket(fresh));
  ENSURE(connect_anew(connected, at(nowhere)) == UV_ENETUNREACH && !is_connected(connected));
  ENSURE(say_to(connected, "hello", peer.address) == 5 && port_of(raw_recv(&peer).from) == port);
}

/* One that fits among those that do not. */
static int size_of(int number) {
  return number == 30 ? 100 : 1400;
}

static void small_packets(stage_t* stage) {
  outbox_t outbox = {0};
  int room = 1 << 20;
  cable(stage);
  raw_t raw = far_raw(far_of(stage->family, 0));
  /* Room for all of them: each takes two packets. */
  ENSURE(setsockopt(raw.fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof room) == 0);
  ip("link set near mtu 1280");
  uv_udp_t *connected = connected_udp(stage, raw.address), *unconnected = wildcard_udp(stage);
  for (int i = 0; i < 20; i++) ENSURE(mail(&outbox, i, connected, numbered(i, 1400), 1400, NULL) == 0);
  UNTIL(outbox.count == 20);
  for (int i = 20; i < 40; i++) ENSURE(mail(&outbox, i, unconnected, numbered(i, size_of(i)), size_of(i), at(raw.address)) == 0);
  UNTIL(outbox.count == 40);
  ENSURE(all_well(&outbox, 40));
  for (int i = 0; i < 40; i++) {
    letter_t letter = raw_recv(&raw);
    ENSURE(number_in(letter.text) == i && letter.len == size_of(i));
  }
}

const rule_t route_rules[] = {
    ISOLATED("traps/connecting-anew-towards-another-network", another_network),
    ISOLATED("filter/other-addresses-are-heard-after-disconnect", other_addresses),
    ISOLATED("filter/the-peers-port-elsewhere-is-a-stranger", same_port_elsewhere),
    ISOLATED("local/a-chosen-port-survives", chosen_port),
    ISOLATED("local/the-wildcard-follows-the-peer", follows_the_peer),
    ISOLATED("errors/no-route-is-the-datagrams-own-error", no_route),
    ISOLATED("errors/connecting-without-a-route-is-enetunreach", connect_without_route),
    ISOLATED("batch/segments-larger-than-the-path-takes-arrive", small_packets),
    END,
};
