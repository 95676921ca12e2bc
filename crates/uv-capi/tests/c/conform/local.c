/* The local address survives disconnecting and connecting anew, and so does what belongs to it. */
#include <dirent.h>

#include "conform.h"

/* Sends from the port and receives on it. */
static void lives_at(stage_t* stage, uv_udp_t* udp, int port, const raw_t* peer) {
  inbox_t* inbox = (inbox_t*) calloc(1, sizeof *inbox);
  ENSURE(port_of(local_of(udp)) == port);
  ENSURE((is_connected(udp) ? say(udp, "hello") : say_to(udp, "hello", peer->address)) == 5);
  ENSURE(port_of(raw_recv(peer).from) == port && receive(udp, inbox) == 0);
  raw_say(peer, "answer", loopback_of(stage->family, port));
  UNTIL(inbox->count == 1);
  ENSURE(uv_udp_recv_stop(udp) == 0);
  free(inbox);
}

static void survives(stage_t* stage, uv_udp_t* udp) {
  raw_t first = raw_socket(stage), second = raw_socket(stage);
  int before = has_socket(udp) ? port_of(local_of(udp)) : 0;
  ENSURE(uv_udp_connect(udp, at(first.address)) == 0);
  int port = port_of(local_of(udp));
  ENSURE(port != 0 && (before == 0 || port == before));
  lives_at(stage, udp, port, &first);
  for (int i = 0; i < 3; i++) {
    ENSURE(disconnect(udp) == 0);
    lives_at(stage, udp, port, &second);
    ENSURE(uv_udp_connect(udp, at(second.address)) == 0);
    lives_at(stage, udp, port, &second);
    ENSURE(connect_anew(udp, at(first.address)) == 0);
    lives_at(stage, udp, port, &first);
  }
}

static void port_0(stage_t* stage) {
  survives(stage, bound_udp(stage));
}

static void wildcard(stage_t* stage) {
  survives(stage, wildcard_udp(stage));
}

static void by_connect(stage_t* stage) {
  survives(stage, new_udp(stage));
}

static void by_send_to(stage_t* stage) {
  raw_t peer = raw_socket(stage);
  uv_udp_t* udp = new_udp(stage);
  ENSURE(say_to(udp, "hello", peer.address) == 5);
  survives(stage, udp);
}

static void by_recv_start(stage_t* stage) {
  inbox_t inbox = {0};
  uv_udp_t* udp = new_udp(stage);
  ENSURE(receive(udp, &inbox) == 0 && uv_udp_recv_stop(udp) == 0);
  survives(stage, udp);
}

static void adopted(stage_t* stage) {
  uv_udp_t* udp = new_udp(stage);
  ENSURE(uv_udp_open(udp, raw_socket(stage).fd) == 0);
  survives(stage, udp);
}

static void wildcard_comes_back(stage_t* stage) {
  raw_t peer = raw_socket(stage);
  uv_udp_t* udp = wildcard_udp(stage);
  address_t before = local_of(udp);
  for (int i = 0; i < 3; i++) {
    ENSURE(uv_udp_connect(udp, at(peer.address)) == 0 && same_ip(local_of(udp), loopback_of(stage->family, 0)));
    ENSURE(disconnect(udp) == 0 && same_address(local_of(udp), before));
  }
}

/* Nobody can take the address over, with and without the option that lets sockets share. */
static void is_exclusive(const uv_udp_t* udp) {
  address_t where = local_of(udp);
  for (int share = 0; share < 2; share++) {
    int fd = socket(where.any.ss_family, SOCK_DGRAM, 0);
    ENSURE(fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &share, sizeof share) == 0);
    ENSURE(bind(fd, at(where), length_of(where)) != 0 && errno == EADDRINUSE);
    close(fd);
  }
}

static void port_stays_exclusive(stage_t* stage) {
  raw_t first = raw_socket(stage), second = raw_socket(stage);
  uv_udp_t* handles[] = {bound_udp(stage), wildcard_udp(stage)};
  for (int i = 0; i < 2; i++) {
    uv_udp_t* udp = handles[i];
    is_exclusive(udp);
    ENSURE(uv_udp_connect(udp, at(first.address)) == 0);
    is_exclusive(udp);
    ENSURE(connect_anew(udp, at(second.address)) == 0);
    is_exclusive(udp);
    ENSURE(disconnect(udp) == 0);
    is_exclusive(udp);
    address_t where = local_of(udp);
    close_udp(udp);
    TO_THE_END();
    raw_at(where);
  }
}

static void waiting_datagrams_survive(stage_t* stage) {
  raw_t peer = raw_socket(stage), other = raw_socket(stage);
  inbox_t inbox = {0};
  uv_udp_t* udp = bound_udp(stage);
  address_t here = local_of(udp);
  ENSURE(uv_udp_connect(udp, at(peer.address)) == 0);
  for (int i = 0; i < 50; i++) raw_say(&peer, numbered(i, 10), here);
  ENSURE(disconnect(udp) == 0);
  raw_say(&other, "after", here);
  ENSURE(receive(udp, &inbox) == 0);
  UNTIL(ends_with(&inbox, "after"));
  ENSURE(inbox.count == 51);
  for (int i = 0; i < 50; i++) ENSURE(number_in(inbox.letters[i].text) == i);
}

static int option_of(const uv_udp_t* udp, int level, int name) {
  int value = -1;
  socklen_t len = sizeof value;
  ENSURE(getsockopt(fd_of(udp), level, name, &value, &len) == 0);
  return value;
}

static void same_options(const stage_t* stage, uv_udp_t* udp) {
  int sizes[] = {0, 0};
  ENSURE(stage->family == AF_INET ? option_of(udp, IPPROTO_IP, IP_TTL) == 17
                                  : option_of(udp, IPPROTO_IPV6, IPV6_UNICAST_HOPS) == 17);
  ENSURE(option_of(udp, SOL_SOCKET, SO_BROADCAST) == 1);
  ENSURE(uv_send_buffer_size((uv_handle_t*) udp, &sizes[0]) == 0 && sizes[0] == 100000);
  ENSURE(uv_recv_buffer_size((uv_handle_t*) udp, &sizes[1]) == 0 && sizes[1] == 120000);
  /* One that the library knows nothing of. */
  ENSURE(option_of(udp, SOL_SOCKET, SO_PRIORITY) == 3);
}

static void options_survive(stage_t* stage) {
  raw_t first = raw_socket(stage), second = raw_socket(stage);
  uv_udp_t* udp = bound_udp(stage);
  int out = 50000, in = 60000, three = 3;
  ENSURE(uv_udp_set_ttl(udp, 17) == 0 && uv_udp_set_broadcast(udp, 1) == 0);
  ENSURE(uv_send_buffer_size((uv_handle_t*) udp, &out) == 0 && uv_recv_buffer_size((uv_handle_t*) udp, &in) == 0);
  ENSURE(setsockopt(fd_of(udp), SOL_SOCKET, SO_PRIORITY, &three, sizeof three) == 0);
  same_options(stage, udp);
  for (int i = 0; i < 3; i++) {
    ENSURE(uv_udp_connect(udp, at(first.address)) == 0);
    same_options(stage, udp);
    ENSURE(connect_anew(udp, at(second.address)) == 0);
    same_options(stage, udp);
    ENSURE(disconnect(udp) == 0);
    same_options(stage, udp);
  }
}

static int heard;

static void hears(stage_t* stage, const inbox_t* inbox, const raw_t* peer, address_t here) {
  raw_say(peer, numbered(heard, 4), here);
  heard++;
  UNTIL(inbox->count == heard);
  ENSURE(number_in(inbox->letters[heard - 1].text) == heard - 1);
}

static void receiving_goes_on(stage_t* stage) {
  raw_t first = raw_socket(stage), second = raw_socket(stage);
  inbox_t inbox = {0};
  uv_udp_t* udp = bound_udp(stage);
  address_t here = local_of(udp);
  ENSURE(receive(udp, &inbox) == 0);
  for (int i = 0; i < 3; i++) {
    ENSURE(uv_udp_connect(udp, at(first.address)) == 0);
    hears(stage, &inbox, &first, here);
    ENSURE(connect_anew(udp, at(second.address)) == 0);
    hears(stage, &inbox, &second, here);
    ENSURE(disconnect(udp) == 0);
    hears(stage, &inbox, &first, here);
    hears(stage, &inbox, &second, here);
  }
  ENSURE(receive(udp, &inbox) == UV_EALREADY && inbox.errors == 0);
}

static void descriptor_keeps_its_number(stage_t* stage) {
  raw_t first = raw_socket(stage), second = raw_socket(stage);
  uv_udp_t* udp = bound_udp(stage);
  address_t here = local_of(udp);
  int number = fd_of(udp);
  for (int i = 0; i < 3; i++) {
    ENSURE(uv_udp_connect(udp, at(first.address)) == 0 && fd_of(udp) == number);
    ENSURE(connect_anew(udp, at(second.address)) == 0 && fd_of(udp) == number);
    ENSURE(disconnect(udp) == 0 && fd_of(udp) == number);
    address_t local;
    socklen_t len = sizeof local;
    ENSURE(getsockname(number, (struct sockaddr*) &local, &len) == 0 && same_address(local, here));
  }
}

static int descriptors(void) {
  int count = 0;
  DIR* dir = opendir("/proc/self/fd");
  ENSURE(dir != NULL);
  while (readdir(dir) != NULL) count++;
  closedir(dir);
  return count;
}

static void many_reconnects(stage_t* stage) {
  raw_t peers[] = {raw_socket(stage), raw_socket(stage)};
  uv_udp_t* udp = bound_udp(stage);
  int port = port_of(local_of(udp)), before = descriptors();
  for (int round = 0; round < 100; round++) {
    raw_t* peer = &peers[round % 2];
    ENSURE((is_connected(udp) ? connect_anew(udp, at(peer->address)) : uv_udp_connect(udp, at(peer->address))) == 0);
    ENSURE(port_of(local_of(udp)) == port && say(udp, "x") == 1 && raw_recv(peer).len == 1);
    if (round % 3 == 0) ENSURE(disconnect(udp) == 0);
  }
  ENSURE(descriptors() == before);
}

const rule_t local_rules[] = {
    EACH("local/a-port-0-binding-survives", port_0),
    ISOLATED("local/a-wildcard-binding-survives", wildcard),
    ISOLATED("local/a-binding-by-connect-survives", by_connect),
    ISOLATED("local/a-binding-by-send-to-survives", by_send_to),
    ONCE("local/a-binding-by-recv-start-survives", by_recv_start),
    EACH("local/an-adopted-binding-survives", adopted),
    ISOLATED("local/the-wildcard-comes-back", wildcard_comes_back),
    ISOLATED("local/the-port-is-nobody-elses", port_stays_exclusive),
    EACH("local/what-the-peer-sent-before-disconnect-arrives", waiting_datagrams_survive),
    EACH("local/options-survive", options_survive),
    EACH("local/receiving-goes-on-through-it-all", receiving_goes_on),
    EACH("local/the-descriptor-keeps-its-number", descriptor_keeps_its_number),
    EACH("local/hundred-reconnects-keep-the-port", many_reconnects),
    END,
};
