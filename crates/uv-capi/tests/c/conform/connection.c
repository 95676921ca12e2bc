/* Connections: who is heard, who is reached, and what survives. */
#include "conform.h"

static verdict_t strangers(stage_t* stage) {
  uv_udp_t *udp = bound_udp(stage), *stranger = bound_udp(stage), *peer = bound_udp(stage);
  inbox_t inbox = {0};
  address_t to = local_of(udp), from = local_of(peer);
  uv_buf_t bad = text("stranger"), good = text("peer");
  for (int i = 0; i < 20; i++) ENSURE(try_send_to(stranger, &bad, 1, at(to)) == 8);
  ENSURE(try_send_to(peer, &good, 1, at(to)) == 4);
  ENSURE(uv_udp_connect(udp, at(from)) == 0 && receive(udp, &inbox) == 0);
  ENSURE(try_send_to(stranger, &bad, 1, at(to)) == 8 && try_send_to(peer, &good, 1, at(to)) == 4);
  run_until(stage, &inbox.count, 2);
  settle(stage);
  ENSURE(inbox.count == 2);
  ENSURE(strcmp(inbox.data[0], "peer") == 0 && strcmp(inbox.data[1], "peer") == 0);
  ENSURE(same_address(inbox.from[0], from));
  return HOLDS;
}

static verdict_t heard_again(stage_t* stage) {
  uv_udp_t *udp = bound_udp(stage), *stranger = bound_udp(stage), *peer = bound_udp(stage);
  inbox_t inbox = {0};
  address_t to = local_of(udp), from = local_of(peer);
  uv_buf_t buf = text("again");
  ENSURE(uv_udp_connect(udp, at(from)) == 0 && receive(udp, &inbox) == 0);
  ENSURE(disconnect(udp) == 0);
  ENSURE(try_send_to(stranger, &buf, 1, at(to)) == 5);
  run_until(stage, &inbox.count, 1);
  ENSURE(inbox.count == 1 && strcmp(inbox.data[0], "again") == 0);
  return HOLDS;
}

static verdict_t port_survives(stage_t* stage) {
  uv_udp_t *peer = bound_udp(stage), *udp = new_udp(stage);
  address_t to = local_of(peer);
  ENSURE(uv_udp_bind(udp, at(wildcard_of(stage->family, 0)), 0) == 0);
  address_t before = local_of(udp);
  ENSURE(uv_udp_connect(udp, at(to)) == 0 && port_of(local_of(udp)) == port_of(before));
  for (int i = 0; i < 20; i++) ENSURE(connect_anew(udp, at(to)) == 0 && port_of(local_of(udp)) == port_of(before));
  ENSURE(disconnect(udp) == 0);
  ENSURE(same_address(local_of(udp), before));
  return HOLDS;
}

static verdict_t queued_stays(stage_t* stage) {
  uv_udp_t *first = bound_udp(stage), *second = bound_udp(stage), *udp = new_udp(stage);
  inbox_t to_first = {0}, to_second = {0};
  outbox_t outbox = {0};
  address_t one = local_of(first), other = local_of(second);
  ENSURE(receive(first, &to_first) == 0 && receive(second, &to_second) == 0);
  ENSURE(uv_udp_connect(udp, at(one)) == 0);
  for (int i = 0; i < 50; i++) ENSURE(mail_to_peer(&outbox, i, udp, "first") == 0);
  ENSURE(connect_anew(udp, at(other)) == 0);
  ENSURE(outbox.count == 0);
  for (int i = 50; i < 100; i++) ENSURE(mail_to_peer(&outbox, i, udp, "second") == 0);
  ENSURE(disconnect(udp) == 0);
  run_until(stage, &outbox.count, 100);
  settle(stage);
  int went_first = 0, went_second = 0;
  for (int i = 0; i < 100; i++) {
    ENSURE(outbox.order[i] == i && (outbox.status[i] == 0 || outbox.status[i] == UV_ECANCELED));
    if (outbox.status[i] == 0) ++*(i < 50 ? &went_first : &went_second);
  }
  ENSURE(to_first.count == went_first && to_second.count == went_second);
  for (int i = 0; i < to_first.count; i++) ENSURE(strcmp(to_first.data[i], "first") == 0);
  for (int i = 0; i < to_second.count; i++) ENSURE(strcmp(to_second.data[i], "second") == 0);
  return HOLDS;
}

static verdict_t refused(stage_t* stage) {
  uv_udp_t *gone = bound_udp(stage), *udp = bound_udp(stage);
  inbox_t inbox = {0}, later = {0};
  address_t to = local_of(gone);
  uv_buf_t buf = text("x");
  ENSURE(uv_udp_connect(udp, at(to)) == 0 && receive(udp, &inbox) == 0);
  close_udp(gone);
  settle(stage);
  ENSURE(try_send_to_peer(udp, &buf, 1) == 1);
  run_until(stage, &inbox.errors, 1);
  ENSURE(inbox.error == UV_ECONNREFUSED && inbox.errors == 1 && inbox.lent == 0);
  /* Somebody listens there again: no send is lost to an error about another. */
  ENSURE(try_send_to_peer(udp, &buf, 1) == 1);
  uv_udp_t* back = new_udp(stage);
  ENSURE(uv_udp_bind(back, at(to), 0) == 0 && receive(back, &later) == 0);
  ENSURE(try_send_to_peer(udp, &buf, 1) == 1);
  run_until(stage, &later.count, 1);
  settle(stage);
  ENSURE(later.count == 1 && inbox.error == UV_ECONNREFUSED);
  return HOLDS;
}

const rule_t connection_rules[] = {
    {"filter/strangers-from-before-connect-are-never-delivered", "A connected handle delivers its peer's datagrams only, also of those from before.", strangers},
    {"filter/everybody-is-heard-again-after-disconnect", "After disconnecting everybody is heard again.", heard_again},
    {"local/a-port-0-binding-survives", "The port survives connecting anew and disconnecting.", port_survives},
    {"peer/what-is-queued-never-reaches-the-next-peer", "A datagram goes to the peer that it was accepted for, or nowhere.", queued_stays},
    {"errors/refused-costs-no-later-send", "An error about an earlier datagram comes to the receive callback, and costs no later send.", refused},
    {NULL, NULL, NULL},
};
