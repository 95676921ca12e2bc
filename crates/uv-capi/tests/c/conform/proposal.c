/* The sentences of the proposal, one after another. */
#include "conform.h"

static void connect_associates(stage_t* stage) {
  raw_t peer = raw_socket(stage);
  uv_udp_t* udp = new_udp(stage);
  ENSURE(!is_connected(udp));
  ENSURE(uv_udp_connect(udp, at(peer.address)) == 0);
  ENSURE(same_address(peer_of(udp), peer.address));
  ENSURE(same_ip(local_of(udp), loopback_of(stage->family, 0)) && port_of(local_of(udp)) != 0);
}

static void every_send_goes_to_the_peer(stage_t* stage) {
  static const char* const words[] = {"now", "one", "two", "three"};
  raw_t peer = raw_socket(stage);
  outbox_t outbox = {0};
  uv_udp_t* udp = connected_udp(stage, peer.address);
  ENSURE(say(udp, "now") == 3);
  for (int i = 0; i < 3; i++) ENSURE(mail_to_peer(&outbox, i, udp, words[i + 1]) == 0);
  UNTIL(outbox.count == 3);
  ENSURE(all_well(&outbox, 3));
  for (int i = 0; i < 4; i++) {
    letter_t letter = raw_recv(&peer);
    ENSURE(strcmp(letter.text, words[i]) == 0 && same_address(letter.from, local_of(udp)));
  }
}

static void connecting_again(stage_t* stage) {
  raw_t first = raw_socket(stage), second = raw_socket(stage);
  uv_udp_t* udp = connected_udp(stage, first.address);
  ENSURE(say(udp, "to the first") == 12);
  ENSURE(connect_anew(udp, at(second.address)) == 0);
  ENSURE(same_address(peer_of(udp), second.address));
  ENSURE(say(udp, "to the second") == 13);
  GETS_ONLY(&second, "to the second");
  GETS_ONLY(&first, "to the first");
}

static void disconnect_dissolves(stage_t* stage) {
  raw_t peer = raw_socket(stage), other = raw_socket(stage);
  inbox_t inbox = {0};
  uv_udp_t* udp = connected_udp(stage, peer.address);
  ENSURE(disconnect(udp) == 0);
  ENSURE(!is_connected(udp) && say(udp, "x") == UV_EDESTADDRREQ);
  ENSURE(say_to(udp, "hello", other.address) == 5);
  letter_t letter = raw_recv(&other);
  ENSURE(strcmp(letter.text, "hello") == 0 && receive(udp, &inbox) == 0);
  raw_say(&other, "answer", letter.from);
  UNTIL(inbox.count == 1);
  ENSURE(HAS(&inbox, "answer") && same_address(inbox.letters[0].from, other.address));
}

static void send_is_for_connected(stage_t* stage) {
  raw_t peer = raw_socket(stage);
  outbox_t outbox = {0};
  uv_udp_t* udp = bound_udp(stage);
  ENSURE(mail_to_peer(&outbox, 7, udp, "x") == UV_EDESTADDRREQ && say(udp, "x") == UV_EDESTADDRREQ);
  ENSURE(uv_udp_connect(udp, at(peer.address)) == 0);
  ENSURE(mail_to_peer(&outbox, 0, udp, "send") == 0);
  UNTIL(outbox.count > 0);
  ENSURE(say(udp, "try_send") == 8);
  settle(stage);
  ENSURE(all_well(&outbox, 1));
  GETS_ONLY(&peer, "send", "try_send");
}

static void send_to_is_for_unconnected(stage_t* stage) {
  raw_t peer = raw_socket(stage), other = raw_socket(stage);
  outbox_t outbox = {0};
  uv_udp_t* udp = bound_udp(stage);
  ENSURE(mail_to(&outbox, 0, udp, "sendto", at(peer.address)) == 0);
  UNTIL(outbox.count > 0);
  ENSURE(say_to(udp, "try_sendto", peer.address) == 10);
  ENSURE(uv_udp_connect(udp, at(peer.address)) == 0);
  ENSURE(mail_to(&outbox, 1, udp, "x", at(peer.address)) == UV_EISCONN);
  ENSURE(mail_to(&outbox, 1, udp, "x", at(other.address)) == UV_EISCONN);
  ENSURE(say_to(udp, "x", peer.address) == UV_EISCONN && say_to(udp, "x", other.address) == UV_EISCONN);
  settle(stage);
  ENSURE(all_well(&outbox, 1) && raw_rest(&other) == 0);
  GETS_ONLY(&peer, "sendto", "try_sendto");
}

static int sent_well;

static void count_well_sent(uv_udp_send_t* req, int status) {
  (void) req;
  sent_well += status == 0;
}

static void buffers_are_gathered(stage_t* stage) {
  raw_t peer = raw_socket(stage);
  uv_buf_t bufs[] = {text("the "), uv_buf_init(NULL, 0), text("whole "), text("datagram")};
  uv_udp_send_t reqs[4];
  uv_udp_t* udp = bound_udp(stage);
  sent_well = 0;
  /* Two, so that one of them is queued. */
  for (int i = 0; i < 2; i++) ENSURE(send_to(&reqs[i], udp, bufs, 4, at(peer.address), count_well_sent) == 0);
  UNTIL(sent_well == 2);
  ENSURE(try_send_to(udp, bufs, 4, at(peer.address)) == 18);
  ENSURE(uv_udp_connect(udp, at(peer.address)) == 0);
  for (int i = 2; i < 4; i++) ENSURE(send_to_peer(&reqs[i], udp, bufs, 4, count_well_sent) == 0);
  UNTIL(sent_well == 4);
  ENSURE(try_send_to_peer(udp, bufs, 4) == 18);
  GETS_ONLY(&peer, "the whole datagram", "the whole datagram", "the whole datagram", "the whole datagram",
            "the whole datagram", "the whole datagram");
}

static uv_udp_t* of_request;
static int status_seen;

static void note_both(uv_udp_send_t* req, int status) {
  of_request = req->handle;
  status_seen = status;
}

static void the_callback_gets_both(stage_t* stage) {
  raw_t peer = raw_socket(stage);
  uv_udp_t* udp = connected_udp(stage, peer.address);
  uv_udp_send_t req;
  uv_buf_t buf = text("hello");
  of_request = NULL;
  status_seen = 77;
  ENSURE(send_to_peer(&req, udp, &buf, 1, note_both) == 0);
  ENSURE(req.type == UV_UDP_SEND && req.handle == udp);
  UNTIL(of_request != NULL);
  ENSURE(of_request == udp && status_seen == 0);
}

static void try_send_says_how_many(stage_t* stage) {
  raw_t peer = raw_socket(stage);
  uv_udp_t* udp = bound_udp(stage);
  ENSURE(say_to(udp, numbered(1, 1200), peer.address) == 1200);
  ENSURE(uv_udp_connect(udp, at(peer.address)) == 0);
  ENSURE(say(udp, numbered(2, 45)) == 45);
  /* Without a turn of the loop: they are there. */
  ENSURE(raw_recv(&peer).len == 1200 && raw_recv(&peer).len == 45 && raw_rest(&peer) == 0);
}

/* The one call that both forms have, and in libuv's form its own ones too. */
static void no_address_means_the_peer(stage_t* stage) {
  raw_t peer = raw_socket(stage);
  uv_udp_t* udp = bound_udp(stage);
  uv_buf_t without = text("without"), with = text("with"), *withouts[] = {&without}, *withs[] = {&with};
  unsigned one[] = {1};
  struct sockaddr* to[] = {(struct sockaddr*) &peer.address};
  struct sockaddr* none[] = {NULL};
  ENSURE(uv_udp_try_send2(udp, 1, withouts, one, NULL, 0) == UV_EDESTADDRREQ);
  ENSURE(uv_udp_try_send2(udp, 1, withouts, one, none, 0) == UV_EDESTADDRREQ);
  ENSURE(uv_udp_try_send2(udp, 1, withs, one, to, 0) == 1);
  ENSURE(uv_udp_connect(udp, at(peer.address)) == 0);
  ENSURE(uv_udp_try_send2(udp, 1, withs, one, to, 0) == UV_EISCONN);
  ENSURE(uv_udp_try_send2(udp, 1, withouts, one, none, 0) == 1);
  ENSURE(uv_udp_try_send2(udp, 1, withouts, one, NULL, 0) == 1);
  GETS_ONLY(&peer, "with", "without", "without");
#ifdef UV_UDP_V1
  outbox_t outbox = {0};
  uv_udp_send_t req;
  ENSURE(uv_udp_send(&req, udp, &with, 1, to[0], NULL) == UV_EISCONN && uv_udp_try_send(udp, &with, 1, to[0]) == UV_EISCONN);
  ENSURE(mail_to_peer(&outbox, 0, udp, "by a null") == 0);
  UNTIL(outbox.count == 1);
  ENSURE(uv_udp_try_send(udp, &without, 1, NULL) == 7);
  ENSURE(uv_udp_connect(udp, NULL) == 0 && uv_udp_try_send(udp, &without, 1, NULL) == UV_EDESTADDRREQ);
  ENSURE(uv_udp_send(&req, udp, &without, 1, NULL, NULL) == UV_EDESTADDRREQ);
  GETS_ONLY(&peer, "by a null", "without");
#endif
}

static void the_story(stage_t* stage) {
  raw_t first = raw_socket(stage), second = raw_socket(stage);
  outbox_t outbox = {0};
  inbox_t inbox = {0};
  uv_udp_t* udp = connected_udp(stage, first.address);
  int port = port_of(local_of(udp));
  ENSURE(receive(udp, &inbox) == 0 && mail_to_peer(&outbox, 0, udp, "1") == 0);
  UNTIL(outbox.count == 1);
  GETS(&first, "1");
  ENSURE(connect_anew(udp, at(second.address)) == 0 && mail_to_peer(&outbox, 1, udp, "2") == 0);
  UNTIL(outbox.count == 2);
  letter_t letter = raw_recv(&second);
  ENSURE(strcmp(letter.text, "2") == 0 && port_of(letter.from) == port);
  raw_say(&second, "answer", letter.from);
  UNTIL(inbox.count == 1);
  ENSURE(disconnect(udp) == 0 && mail_to(&outbox, 2, udp, "3", at(first.address)) == 0);
  UNTIL(outbox.count == 3);
  letter = raw_recv(&first);
  ENSURE(strcmp(letter.text, "3") == 0 && port_of(letter.from) == port);
  ENSURE(all_well(&outbox, 3) && HAS(&inbox, "answer"));
}

const rule_t proposal_rules[] = {
    EACH("proposal/connect-associates-an-address-and-a-port", connect_associates),
    EACH("proposal/every-send-goes-to-the-peer", every_send_goes_to_the_peer),
    EACH("proposal/connecting-again-replaces-the-peer", connecting_again),
    EACH("proposal/disconnect-dissolves-the-association", disconnect_dissolves),
    EACH("proposal/send-is-for-connected-handles", send_is_for_connected),
    EACH("proposal/send-to-is-for-unconnected-handles", send_to_is_for_unconnected),
    EACH("proposal/buffers-leave-as-one-datagram", buffers_are_gathered),
    EACH("proposal/the-callback-gets-the-handle-and-the-result", the_callback_gets_both),
    EACH("proposal/try-send-says-how-many-bytes-went", try_send_says_how_many),
    EACH("proposal/no-address-means-the-peer", no_address_means_the_peer),
    EACH("proposal/the-story", the_story),
    END,
};
