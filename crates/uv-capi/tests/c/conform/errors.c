/* An error about an earlier datagram does not cost a later one, and the receive callback hears of it. */
#include <poll.h>

#include "conform.h"

/* Some more iterations, after which there was so many times that error, and no other. */
static void errors_are(stage_t* stage, const inbox_t* inbox, int error, int count) {
  UNTIL(inbox->errors >= count);
  settle(stage);
  ENSURE(inbox->errors == count && inbox->error == error && inbox->lent == 0);
}

/* A handle whose first datagram was refused, and whose next one met the refusal, took it away from the socket and went to
 * somebody who lives by then. */
static uv_udp_t* refused_before(stage_t* stage, raw_t* live) {
  address_t dead = dead_address(stage);
  uv_udp_t* udp = connected_udp(stage, dead);
  ENSURE(say(udp, "lost") == 4);
  *live = revive(dead);
  ENSURE(say(udp, "next") == 4);
  GETS_ONLY(live, "next");
  return udp;
}

static void refused_then_try_send(stage_t* stage) {
  inbox_t inbox = {0};
  raw_t live;
  uv_udp_t* udp = refused_before(stage, &live);
  ENSURE(receive(udp, &inbox) == 0);
  errors_are(stage, &inbox, UV_ECONNREFUSED, 1);
}

static void refused_then_send(stage_t* stage) {
  inbox_t inbox = {0};
  outbox_t outbox = {0};
  address_t dead = dead_address(stage);
  uv_udp_t* udp = connected_udp(stage, dead);
  ENSURE(receive(udp, &inbox) == 0 && mail_to_peer(&outbox, 0, udp, "lost") == 0);
  raw_t live = revive(dead);
  ENSURE(mail_to_peer(&outbox, 1, udp, "next") == 0);
  UNTIL(outbox.count == 2);
  ENSURE(all_well(&outbox, 2));
  GETS_ONLY(&live, "next");
  errors_are(stage, &inbox, UV_ECONNREFUSED, 1);
}

static void refused_in_a_burst(stage_t* stage) {
  static const int sizes[3][3] = {{30, 30, 30}, {30, 40, 50}, {50, 50, 10}};
  for (int round = 0; round < 3; round++) {
    inbox_t inbox = {0};
    outbox_t outbox = {0};
    int numbers[ROOM];
    address_t dead = dead_address(stage);
    uv_udp_t* udp = connected_udp(stage, dead);
    ENSURE(receive(udp, &inbox) == 0 && mail_to_peer(&outbox, 0, udp, "lost") == 0);
    for (int i = 1; i < 100; i++) ENSURE(mail(&outbox, i, udp, numbered(i, sizes[round][i % 3]), sizes[round][i % 3], NULL) == 0);
    /* The first one was refused; the rest is queued, and goes out with the refusal pending. */
    raw_t live = revive(dead);
    UNTIL(outbox.count == 100);
    ENSURE(all_well(&outbox, 100) && raw_numbers(&live, numbers, ROOM) == 99);
    for (int i = 1; i < 100; i++) ENSURE(numbers[i - 1] == i);
    errors_are(stage, &inbox, UV_ECONNREFUSED, 1);
    ENSURE(uv_udp_recv_stop(udp) == 0);
  }
}

static void refused_in_a_batch(stage_t* stage) {
  static char data[20][64];
  uv_buf_t buf[20], *bufs[20];
  unsigned nbufs[20];
  int sent = 0;
  address_t dead = dead_address(stage);
  uv_udp_t* udp = connected_udp(stage, dead);
  for (int i = 0; i < 20; i++) {
    memcpy(data[i], numbered(i, 40 + i), 40 + (size_t) i);
    buf[i] = uv_buf_init(data[i], 40 + (unsigned) i);
    bufs[i] = &buf[i];
    nbufs[i] = 1;
  }
  ENSURE(say(udp, "lost") == 4);
  raw_t live = revive(dead);
  while (sent < 20) {
    int count = uv_udp_try_send2(udp, 20 - (unsigned) sent, bufs + sent, nbufs + sent, NULL, 0);
    ENSURE(count > 0 || count == UV_EAGAIN);
    if (count > 0) sent += count;
    settle(stage);
  }
  for (int i = 0; i < 20; i++) {
    letter_t letter = raw_recv(&live);
    ENSURE(number_in(letter.text) == i && letter.len == 40 + i);
  }
  ENSURE(raw_rest(&live) == 0);
}

static void burst_to_a_dead_peer(stage_t* stage) {
  inbox_t inbox = {0};
  outbox_t outbox = {0};
  uv_udp_t* udp = connected_udp(stage, dead_address(stage));
  ENSURE(receive(udp, &inbox) == 0);
  /* Runs and single ones; each of the latter is refused before the next one is sent. */
  for (int i = 0; i < 100; i++) ENSURE(mail(&outbox, i, udp, numbered(i, i < 50 ? 30 : 4 + i), i < 50 ? 30 : 4 + i, NULL) == 0);
  UNTIL(outbox.count == 100);
  ENSURE(all_well(&outbox, 100));
  UNTIL(inbox.errors > 0);
  settle(stage);
  ENSURE(inbox.error == UV_ECONNREFUSED && inbox.count == 0 && inbox.errors <= 100);
  note("%d refusals reported", inbox.errors);
}

static void reported_once(stage_t* stage) {
  inbox_t inbox = {0};
  uv_udp_t* udp = connected_udp(stage, dead_address(stage));
  ENSURE(receive(udp, &inbox) == 0);
  for (int round = 1; round <= 5; round++) {
    ENSURE(say(udp, "refused") == 7);
    errors_are(stage, &inbox, UV_ECONNREFUSED, round);
  }
}

static void reported_later(stage_t* stage) {
  inbox_t inbox = {0};
  raw_t live;
  uv_udp_t* udp = refused_before(stage, &live);
  settle(stage);
  ENSURE(receive(udp, &inbox) == 0);
  UNTIL(inbox.errors > 0);
  raw_say(&live, "answer", local_of(udp));
  UNTIL(inbox.count == 1);
  errors_are(stage, &inbox, UV_ECONNREFUSED, 1);
}

static void receiving_goes_on(stage_t* stage) {
  inbox_t inbox = {0};
  address_t dead = dead_address(stage);
  uv_udp_t* udp = connected_udp(stage, dead);
  ENSURE(receive(udp, &inbox) == 0 && say(udp, "refused") == 7);
  errors_are(stage, &inbox, UV_ECONNREFUSED, 1);
  ENSURE(is_connected(udp) && uv_is_active((uv_handle_t*) udp));
  raw_t live = revive(dead);
  for (int round = 1; round <= 3; round++) {
    ENSURE(say(udp, "hello") == 5);
    raw_say(&live, "answer", raw_recv(&live).from);
    UNTIL(inbox.count == round);
  }
  errors_are(stage, &inbox, UV_ECONNREFUSED, 1);
}

static void former_peer(stage_t* stage) {
  raw_t live = raw_socket(stage);
  outbox_t outbox = {0};
  address_t dead = dead_address(stage);
  uv_udp_t* udp = connected_udp(stage, dead);
  ENSURE(say(udp, "lost") == 4 && connect_anew(udp, at(live.address)) == 0 && say(udp, "1") == 1);
  ENSURE(connect_anew(udp, at(dead)) == 0 && say(udp, "lost") == 4 && connect_anew(udp, at(live.address)) == 0);
  ENSURE(mail_to_peer(&outbox, 0, udp, "2") == 0 && mail_to_peer(&outbox, 1, udp, "3") == 0);
  UNTIL(outbox.count == 2);
  ENSURE(all_well(&outbox, 2));
  ENSURE(connect_anew(udp, at(dead)) == 0 && say(udp, "lost") == 4 && disconnect(udp) == 0);
  ENSURE(say_to(udp, "4", live.address) == 1);
  GETS_ONLY(&live, "1", "2", "3", "4");
}

static void former_peers_errors(stage_t* stage) {
  raw_t live = raw_socket(stage);
  inbox_t inbox = {0};
  address_t dead = dead_address(stage);
  uv_udp_t* udp = connected_udp(stage, dead);
  for (int i = 0; i < 3; i++) ENSURE(say(udp, "lost") == 4);
  ENSURE(connect_anew(udp, at(live.address)) == 0 && receive(udp, &inbox) == 0);
  raw_say(&live, "alive", local_of(udp));
  UNTIL(inbox.count == 1);
  settle(stage);
  ENSURE(inbox.count == 1 && inbox.errors == 0);
}

static void unconnected(stage_t* stage) {
  raw_t live = raw_socket(stage);
  inbox_t inbox = {0};
  outbox_t outbox = {0};
  int numbers[ROOM];
  address_t dead = dead_address(stage);
  uv_udp_t* udp = bound_udp(stage);
  ENSURE(receive(udp, &inbox) == 0);
  for (int i = 0; i < 20; i++) ENSURE(mail(&outbox, i, udp, numbered(i, 10), 10, at(i % 2 == 0 ? dead : live.address)) == 0);
  UNTIL(outbox.count == 20);
  ENSURE(all_well(&outbox, 20) && raw_numbers(&live, numbers, ROOM) == 10);
  for (int i = 0; i < 10; i++) ENSURE(numbers[i] == 2 * i + 1);
  raw_say(&live, "answer", local_of(udp));
  UNTIL(inbox.count == 1);
  ENSURE(inbox.errors == 0);
}

const rule_t error_rules[] = {
    EACH("errors/refused-costs-no-later-try-send", refused_then_try_send),
    EACH("errors/refused-costs-no-later-send", refused_then_send),
    EACH("errors/refused-costs-nothing-of-a-burst", refused_in_a_burst),
    {"errors/refused-costs-nothing-of-a-batch", "The same for uv_udp_try_send2.", EACH_FAMILY, refused_in_a_batch},
    EACH("errors/every-send-to-a-dead-peer-completes", burst_to_a_dead_peer),
    EACH("errors/refused-is-reported-once-per-error", reported_once),
    EACH("errors/what-a-send-meets-reaches-a-later-receiver", reported_later),
    EACH("errors/receiving-goes-on-after-an-error", receiving_goes_on),
    EACH("errors/of-a-former-peer-cost-the-next-nothing", former_peer),
    EACH("errors/of-a-former-peer-are-not-told-of-the-next", former_peers_errors),
    EACH("errors/unconnected-handles-send-on", unconnected),
    END,
};

/* ---- UV_UDP_LINUX_RECVERR ---- */

static uv_udp_t* hearing_udp(stage_t* stage, address_t local, inbox_t* inbox) {
  uv_udp_t* udp = new_udp(stage);
  ENSURE(uv_udp_bind(udp, at(local), UV_UDP_LINUX_RECVERR) == 0 && receive(udp, inbox) == 0);
  return udp;
}

static void off_at_first(stage_t* stage) {
  inbox_t inbox = {0};
  int on = -1;
  socklen_t len = sizeof on;
  uv_udp_t* udp = bound_udp(stage);
  ENSURE(receive(udp, &inbox) == 0 && say_to(udp, "anyone?", dead_address(stage)) == 7);
  settle(stage);
  ENSURE(inbox.errors == 0);
  ENSURE(getsockopt(fd_of(udp), stage->family == AF_INET ? IPPROTO_IP : IPPROTO_IPV6,
                    stage->family == AF_INET ? IP_RECVERR : IPV6_RECVERR, &on, &len) == 0 && on == 0);
}

static void cost_nothing(stage_t* stage) {
  raw_t live = raw_socket(stage);
  inbox_t inbox = {0};
  outbox_t outbox = {0};
  int numbers[ROOM];
  address_t dead = dead_address(stage);
  uv_udp_t* udp = hearing_udp(stage, loopback_of(stage->family, 0), &inbox);
  for (int i = 0; i < 20; i++) {
    ENSURE(say_to(udp, "lost", dead) == 4 && say_to(udp, numbered(2 * i, 4), live.address) == 4);
    ENSURE(mail_to(&outbox, 3 * i, udp, "lost", at(dead)) == 0 && mail_to(&outbox, 3 * i + 1, udp, "lost", at(dead)) == 0);
    ENSURE(mail_to(&outbox, 3 * i + 2, udp, numbered(2 * i + 1, 4), at(live.address)) == 0);
    UNTIL(udp->send_queue_count == 0);
  }
  errors_are(stage, &inbox, UV_ECONNREFUSED, 60);
  ENSURE(all_well(&outbox, 60) && raw_numbers(&live, numbers, ROOM) == 40);
  for (int i = 0; i < 40; i++) ENSURE(numbers[i] == i);
}

static void once_each(stage_t* stage) {
  inbox_t inbox = {0};
  address_t dead = dead_address(stage);
  uv_udp_t* udp = hearing_udp(stage, loopback_of(stage->family, 0), &inbox);
  for (int i = 0; i < 10; i++) ENSURE(say_to(udp, "x", dead) == 1);
  errors_are(stage, &inbox, UV_ECONNREFUSED, 10);
  ENSURE(turns_in(stage, 20) <= 10 && inbox.errors == 10);
}

static void survive(stage_t* stage) {
  inbox_t inbox = {0};
  raw_t first = raw_socket(stage), second = raw_socket(stage);
  uv_udp_t* udp = hearing_udp(stage, loopback_of(stage->family, 0), &inbox);
  ENSURE(uv_udp_connect(udp, at(first.address)) == 0 && connect_anew(udp, at(second.address)) == 0 && disconnect(udp) == 0);
  ENSURE(say_to(udp, "anyone?", dead_address(stage)) == 7);
  /* An unconnected handle without the flag would hear nothing. */
  errors_are(stage, &inbox, UV_ECONNREFUSED, 1);
}

/* The host beyond the cable says so, not the one that the handle is on. */
static void far_port(stage_t* stage) {
  cable(stage);
  for (int connect = 0; connect < 2; connect++) {
    inbox_t inbox = {0}, later = {0};
    outbox_t outbox = {0};
    raw_t gone = far_raw(far_of(stage->family, 0));
    ENSURE(close(gone.fd) == 0);
    address_t to = gone.address;
    const struct sockaddr* peer = connect ? NULL : at(to);
    uv_udp_t* udp = hearing_udp(stage, wildcard_of(stage->family, 0), &inbox);
    if (connect) ENSURE(uv_udp_connect(udp, at(to)) == 0);
    ENSURE((connect ? say(udp, "anyone?") : say_to(udp, "anyone?", to)) == 7);
    errors_are(stage, &inbox, UV_ECONNREFUSED, 1);
    ENSURE(inbox.count == 0 && is_connected(udp) == connect);
    /* And once more: the refusal is there before the next datagram is sent, and before anybody hears of it. */
    ENSURE(uv_udp_recv_stop(udp) == 0 && (connect ? say(udp, "anyone?") : say_to(udp, "anyone?", to)) == 7);
    struct pollfd refusal = {fd_of(udp), 0, 0};
    waiting(__FILE__, __LINE__, "the second refusal");
    while (poll(&refusal, 1, -1) < 0) ENSURE(errno == EINTR);
    ENSURE(refusal.revents == POLLERR);
    raw_t live = far_raw(to);
    ENSURE((connect ? say(udp, "next") : say_to(udp, "next", to)) == 4);
    ENSURE(mail(&outbox, 0, udp, "last", 4, peer) == 0);
    UNTIL(outbox.count == 1);
    ENSURE(all_well(&outbox, 1));
    GETS_ONLY(&live, "next", "last");
    ENSURE(receive(udp, &later) == 0);
    errors_are(stage, &later, UV_ECONNREFUSED, 1);
    raw_say(&live, "answer", with_port(near_of(stage->family, 0), port_of(local_of(udp))));
    UNTIL(later.count == 1);
    ENSURE(HAS(&later, "answer") && later.errors == 1 && inbox.errors == 1);
    ENSURE(uv_udp_recv_stop(udp) == 0);
  }
}

/* Where a router reports what, and as which error. */
typedef struct {
  const char *v4, *v6;
  int v4_error, v6_error;
} fate_t;

static uv_udp_t* sender;
static address_t beyond;

static void send_over(uv_timer_t* timer) {
  (void) timer;
  ENSURE((is_connected(sender) ? say(sender, "over there?") : say_to(sender, "over there?", beyond)) == 11);
}

static void from_router(stage_t* stage, fate_t fate) {
  int v4 = stage->family == AF_INET;
  router(stage);
  beyond = address_of(stage->family, v4 ? fate.v4 : fate.v6, 9);
  for (int connect = 0; connect < 2; connect++) {
    inbox_t inbox = {0};
    static uv_timer_t timer;
    sender = hearing_udp(stage, wildcard_of(stage->family, 0), &inbox);
    if (connect) ENSURE(uv_udp_connect(sender, at(beyond)) == 0);
    /* Again and again: Linux says nothing to a host that it has known for less than a second. */
    ENSURE(uv_timer_init(&stage->loop, &timer) == 0 && uv_timer_start(&timer, send_over, 0, 50) == 0);
    UNTIL(inbox.errors > 0);
    ENSURE(inbox.error == (v4 ? fate.v4_error : fate.v6_error) && inbox.count == 0);
    uv_close((uv_handle_t*) &timer, NULL);
    close_udp(sender);
    TO_THE_END();
  }
}

static void host_unreachable(stage_t* stage) {
  from_router(stage, (fate_t) {"198.51.100.9", "2001:db8:1::9", UV_EHOSTUNREACH, UV_EHOSTUNREACH});
}

static void network_unreachable(stage_t* stage) {
  from_router(stage, (fate_t) {"10.9.9.9", "2001:db8:9::9", UV_ENETUNREACH, UV_ENETUNREACH});
}

static void prohibited(stage_t* stage) {
  from_router(stage, (fate_t) {"10.1.1.9", "2001:db8:3::9", UV_EHOSTUNREACH, UV_EACCES});
}

static void ttl_exceeded(stage_t* stage) {
  inbox_t inbox = {0};
  router(stage);
  beyond = address_of(stage->family, stage->family == AF_INET ? "198.51.100.9" : "2001:db8:1::9", 9);
  uv_udp_t* udp = hearing_udp(stage, wildcard_of(stage->family, 0), &inbox);
  ENSURE(uv_udp_set_ttl(udp, 1) == 0 && say_to(udp, "far", beyond) == 3);
  UNTIL(inbox.errors > 0);
  ENSURE(inbox.error == UV_EHOSTUNREACH);
}

const rule_t report_rules[] = {
    {"reports/are-off-at-first", "Without UV_UDP_LINUX_RECVERR an unconnected handle hears of no error.", EACH_FAMILY, off_at_first},
    EACH("reports/cost-no-datagram-of-another-peer", cost_nothing),
    EACH("reports/come-once-each", once_each),
    EACH("reports/survive-disconnecting", survive),
    ISOLATED("reports/port-unreachable", far_port),
    ISOLATED("reports/host-unreachable", host_unreachable),
    ISOLATED("reports/network-unreachable", network_unreachable),
    ISOLATED("reports/prohibited", prohibited),
    ISOLATED("reports/ttl-exceeded", ttl_exceeded),
    END,
};
