/* Datagrams leave one handle in the order of acceptance. */
#include "conform.h"

static void leave_in_order(stage_t* stage) {
  /* Runs of equal size, single ones, growing and shrinking ones. */
  static const int sizes[] = {50, 50, 50, 50, 20, 90, 10, 11, 12, 80, 80, 79, 80, 5, 4, 100};
  raw_t peer = raw_socket(stage);
  outbox_t outbox = {0};
  uv_udp_t* udp = connected_udp(stage, peer.address);
  for (int i = 0; i < 128; i++) ENSURE(mail(&outbox, i, udp, numbered(i, sizes[i % 16]), sizes[i % 16], NULL) == 0);
  UNTIL(outbox.count == 128);
  ENSURE(all_well(&outbox, 128));
  for (int i = 0; i < 128; i++) {
    letter_t letter = raw_recv(&peer);
    ENSURE(letter.len == sizes[i % 16] && number_in(letter.text) == i);
  }
  ENSURE(raw_rest(&peer) == 0);
}

/* Alternating, and in runs. */
static int destination(int number) {
  return number < 60 ? number % 3 : number / 10 % 3;
}

static void destinations_share_order(stage_t* stage) {
  raw_t peers[] = {raw_socket(stage), raw_socket(stage), raw_socket(stage)};
  outbox_t outbox = {0};
  uv_udp_t* udp = bound_udp(stage);
  for (int i = 0; i < 120; i++) {
    ENSURE(mail(&outbox, i, udp, numbered(i, 30), 30, at(peers[destination(i)].address)) == 0);
  }
  UNTIL(outbox.count == 120);
  ENSURE(all_well(&outbox, 120));
  for (int i = 0; i < 120; i++) ENSURE(number_in(raw_recv(&peers[destination(i)]).text) == i);
  for (int i = 0; i < 3; i++) ENSURE(raw_rest(&peers[i]) == 0);
}

static void try_send_never_overtakes(stage_t* stage) {
  raw_t peer = raw_socket(stage);
  outbox_t outbox = {0};
  uv_udp_t* udp = connected_udp(stage, peer.address);
  uv_buf_t buf = text("third"), *bufs[] = {&buf};
  unsigned nbufs[] = {1};
  ENSURE(mail_to_peer(&outbox, 0, udp, "first") == 0 && mail_to_peer(&outbox, 1, udp, "second") == 0);
  ENSURE(say(udp, "third") == UV_EAGAIN && uv_udp_try_send2(udp, 1, bufs, nbufs, NULL, 0) == UV_EAGAIN);
  UNTIL(outbox.count == 2);
  ENSURE(say(udp, "fourth") == 6);
  GETS_ONLY(&peer, "first", "second", "fourth");
}

static void try_send_to_never_overtakes(stage_t* stage) {
  raw_t first = raw_socket(stage), other = raw_socket(stage);
  raw_t* peers[] = {&first, &other};
  outbox_t outbox = {0};
  uv_udp_t* udp = bound_udp(stage);
  uv_buf_t buf = text("third"), *bufs[] = {&buf};
  unsigned nbufs[] = {1};
  ENSURE(mail_to(&outbox, 0, udp, "first", at(first.address)) == 0 && mail_to(&outbox, 1, udp, "second", at(first.address)) == 0);
  /* Not even to somebody for whom nothing is queued. */
  for (int i = 0; i < 2; i++) {
    struct sockaddr* addrs[] = {(struct sockaddr*) &peers[i]->address};
    ENSURE(say_to(udp, "third", peers[i]->address) == UV_EAGAIN);
    ENSURE(uv_udp_try_send2(udp, 1, bufs, nbufs, addrs, 0) == UV_EAGAIN);
  }
  UNTIL(outbox.count == 2);
  ENSURE(say_to(udp, "fourth", first.address) == 6);
  GETS_ONLY(&first, "first", "second", "fourth");
  ENSURE(raw_rest(&other) == 0);
}

const rule_t order_rules[] = {
    EACH("order/datagrams-leave-in-order-of-acceptance", leave_in_order),
    EACH("order/several-destinations-share-one-order", destinations_share_order),
    EACH("order/try-send-never-overtakes", try_send_never_overtakes),
    EACH("order/try-send-to-never-overtakes", try_send_to_never_overtakes),
    END,
};
