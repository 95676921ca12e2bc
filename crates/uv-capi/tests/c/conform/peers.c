/* A datagram goes to the peer that it was accepted for, or nowhere; and a connected handle delivers its peer's only. */
#include "conform.h"

static void queued_then_connected(stage_t* stage) {
  raw_t first = raw_socket(stage), second = raw_socket(stage);
  outbox_t outbox = {0}, next = {0};
  uv_udp_t* udp = connected_udp(stage, first.address);
  for (int i = 0; i < 100; i++) ENSURE(mail(&outbox, i, udp, numbered(i, 4 + i % 5), 4 + i % 5, NULL) == 0);
  ENSURE(connect_anew(udp, at(second.address)) == 0 && mail_to_peer(&next, 0, udp, "for the second") == 0);
  ENSURE(outbox.count == 0);
  UNTIL(next.count == 1);
  ENSURE(all_well(&next, 1));
  GETS_ONLY(&second, "for the second");
  THERE_OR_NOWHERE(&outbox, 100, &first);
}

static void queued_then_disconnected(stage_t* stage) {
  raw_t first = raw_socket(stage), second = raw_socket(stage);
  outbox_t outbox = {0};
  uv_udp_t* udp = connected_udp(stage, first.address);
  for (int i = 0; i < 50; i++) ENSURE(mail(&outbox, i, udp, numbered(i, 10), 10, NULL) == 0);
  ENSURE(disconnect(udp) == 0);
  /* The kernel would send a leftover without an address nowhere, and one with this address here. */
  while (say_to(udp, "hello", second.address) == UV_EAGAIN) settle(stage);
  UNTIL(outbox.count == 50);
  GETS_ONLY(&second, "hello");
  THERE_OR_NOWHERE(&outbox, 50, &first);
}

static void queued_with_address_then_connected(stage_t* stage) {
  raw_t first = raw_socket(stage), second = raw_socket(stage);
  outbox_t outbox = {0};
  uv_udp_t* udp = bound_udp(stage);
  for (int i = 0; i < 50; i++) ENSURE(mail(&outbox, i, udp, numbered(i, 10), 10, at(first.address)) == 0);
  ENSURE(uv_udp_connect(udp, at(second.address)) == 0);
  UNTIL(outbox.count == 50);
  ENSURE(raw_rest(&second) == 0);
  THERE_OR_NOWHERE(&outbox, 50, &first);
}

static address_t next_peer;
static int moved;

static void connect_in_callback(uv_udp_send_t* req, int status) {
  outbox_t* outbox = (outbox_t*) req->data;
  outbox->order[outbox->count] = 0;
  outbox->status[outbox->count++] = status;
  ENSURE(connect_anew(req->handle, at(next_peer)) == 0);
  moved++;
}

static void changed_in_a_callback(stage_t* stage) {
  raw_t first = raw_socket(stage), second = raw_socket(stage);
  outbox_t outbox = {0};
  uv_udp_t* udp = connected_udp(stage, first.address);
  uv_udp_send_t req;
  uv_buf_t buf = uv_buf_init((char*) numbered(0, 10), 10);
  next_peer = second.address;
  req.data = &outbox;
  ENSURE(send_to_peer(&req, udp, &buf, 1, connect_in_callback) == 0);
  for (int i = 1; i < 200; i++) ENSURE(mail(&outbox, i, udp, numbered(i, 4 + i % 3), 4 + i % 3, NULL) == 0);
  UNTIL(outbox.count == 200);
  ENSURE(moved == 1 && same_address(peer_of(udp), second.address) && raw_rest(&second) == 0);
  THERE_OR_NOWHERE(&outbox, 200, &first);
}

const rule_t peer_rules[] = {
    EACH("peer/what-is-queued-never-reaches-the-next-peer", queued_then_connected),
    EACH("peer/what-is-queued-never-follows-a-disconnect", queued_then_disconnected),
    EACH("peer/what-is-queued-with-an-address-never-reaches-a-peer", queued_with_address_then_connected),
    EACH("peer/what-is-queued-never-follows-a-change-in-a-callback", changed_in_a_callback),
    END,
};

static void strangers_before_connect(stage_t* stage) {
  raw_t peer = raw_socket(stage), stranger = raw_socket(stage);
  inbox_t inbox = {0};
  uv_udp_t* udp = bound_udp(stage);
  address_t here = local_of(udp);
  raw_say(&stranger, "stranger", here);
  raw_say(&peer, "early", here);
  raw_say(&stranger, "stranger", here);
  ENSURE(uv_udp_connect(udp, at(peer.address)) == 0 && receive(udp, &inbox) == 0);
  raw_say(&peer, "late", here);
  UNTIL(ends_with(&inbox, "late"));
  ENSURE(HAS(&inbox, "early", "late"));
  for (int i = 0; i < 2; i++) ENSURE(same_address(inbox.letters[i].from, peer.address));
}

static void many_strangers(stage_t* stage) {
  /* Bursts of strangers around the widths of system calls, and the peer in between. */
  static const int bursts[] = {1, 31, 32, 33, 64};
  static const char* const words[] = {"0", "1", "2", "3", "4"};
  raw_t peer = raw_socket(stage), stranger = raw_socket(stage);
  inbox_t inbox = {0};
  uv_udp_t* udp = bound_udp(stage);
  address_t here = local_of(udp);
  for (int round = 0; round < 5; round++) {
    for (int i = 0; i < bursts[round]; i++) raw_say(&stranger, "stranger", here);
    raw_say(&peer, words[round], here);
  }
  ENSURE(uv_udp_connect(udp, at(peer.address)) == 0 && receive(udp, &inbox) == 0);
  raw_say(&peer, "late", here);
  UNTIL(ends_with(&inbox, "late"));
  ENSURE(HAS(&inbox, "0", "1", "2", "3", "4", "late"));
}

static void receiving_before_connect(stage_t* stage) {
  raw_t peer = raw_socket(stage), stranger = raw_socket(stage);
  inbox_t inbox = {0};
  uv_udp_t* udp = bound_udp(stage);
  address_t here = local_of(udp);
  ENSURE(receive(udp, &inbox) == 0);
  raw_say(&stranger, "while unconnected", here);
  UNTIL(inbox.count == 1);
  raw_say(&stranger, "stranger", here);
  raw_say(&peer, "early", here);
  ENSURE(uv_udp_connect(udp, at(peer.address)) == 0);
  raw_say(&peer, "late", here);
  UNTIL(ends_with(&inbox, "late"));
  ENSURE(HAS(&inbox, "while unconnected", "early", "late"));
}

static void alloc_several(uv_handle_t* handle, size_t suggested, uv_buf_t* buf) {
  inbox_alloc(handle, 4 * suggested, buf);
}

/* C's batches: buffers for several datagrams. */
static void batches_without_strangers(stage_t* stage) {
  raw_t peer = raw_socket(stage), stranger = raw_socket(stage);
  inbox_t inbox = {0};
  uv_udp_t* udp = bound_udp_ex(stage, UV_UDP_RECVMMSG);
  address_t here = local_of(udp);
  for (int i = 0; i < 40; i++) raw_say(&stranger, "stranger", here);
  raw_say(&peer, "early", here);
  ENSURE(uv_udp_connect(udp, at(peer.address)) == 0);
  ENSURE(receive_with(udp, &inbox, alloc_several, inbox_recv) == 0);
  raw_say(&peer, "late", here);
  UNTIL(ends_with(&inbox, "late"));
  settle(stage);
  ENSURE(HAS(&inbox, "early", "late") && inbox.lent == 0);
}

static void connect_when_heard(uv_udp_t* udp, ssize_t nread, const uv_buf_t* buf, const struct sockaddr* addr, unsigned flags) {
  inbox_recv(udp, nread, buf, addr, flags);
  if (addr != NULL && !is_connected(udp)) ENSURE(uv_udp_connect(udp, at(next_peer)) == 0);
}

static void connecting_in_the_callback(stage_t* stage) {
  raw_t peer = raw_socket(stage), stranger = raw_socket(stage);
  inbox_t inbox = {0};
  uv_udp_t* udp = bound_udp(stage);
  address_t here = local_of(udp);
  for (int i = 0; i < 5; i++) raw_say(&stranger, i == 0 ? "stranger" : "another", here);
  raw_say(&peer, "early", here);
  next_peer = peer.address;
  ENSURE(receive_with(udp, &inbox, inbox_alloc, connect_when_heard) == 0);
  UNTIL(inbox.count > 0);
  raw_say(&peer, "late", here);
  UNTIL(ends_with(&inbox, "late"));
  ENSURE(HAS(&inbox, "stranger", "early", "late"));
}

static void former_peer(stage_t* stage) {
  raw_t first = raw_socket(stage), second = raw_socket(stage);
  inbox_t inbox = {0};
  uv_udp_t* udp = connected_udp(stage, first.address);
  address_t here = local_of(udp);
  for (int i = 0; i < 3; i++) raw_say(&first, "first", here);
  ENSURE(connect_anew(udp, at(second.address)) == 0 && receive(udp, &inbox) == 0);
  raw_say(&first, "first", here);
  raw_say(&second, "second", here);
  UNTIL(ends_with(&inbox, "second"));
  settle(stage);
  ENSURE(HAS(&inbox, "second"));
}

static void strangers_after_connect(stage_t* stage) {
  raw_t peer = raw_socket(stage), strangers[] = {raw_socket(stage), raw_socket(stage)};
  inbox_t inbox = {0};
  uv_udp_t* udp = connected_udp(stage, peer.address);
  ENSURE(receive(udp, &inbox) == 0);
  for (int round = 0; round < 20; round++) {
    for (int i = 0; i < 2; i++) raw_say(&strangers[i], "stranger", local_of(udp));
    raw_say(&peer, numbered(round, 4), local_of(udp));
    UNTIL(inbox.count > round);
  }
  ENSURE(inbox.count == 20);
  for (int i = 0; i < 20; i++) ENSURE(number_in(inbox.letters[i].text) == i);
}

static void everybody_after_disconnect(stage_t* stage) {
  raw_t peer = raw_socket(stage), stranger = raw_socket(stage);
  inbox_t inbox = {0};
  uv_udp_t* udp = bound_udp(stage);
  address_t here = local_of(udp);
  ENSURE(receive(udp, &inbox) == 0);
  for (int round = 1; round <= 3; round++) {
    ENSURE(uv_udp_connect(udp, at(peer.address)) == 0);
    raw_say(&stranger, "unheard", here);
    ENSURE(disconnect(udp) == 0);
    raw_say(&peer, "former peer", here);
    raw_say(&stranger, "stranger", here);
    UNTIL(inbox.count == 2 * round);
  }
  ENSURE(HAS(&inbox, "former peer", "stranger", "former peer", "stranger", "former peer", "stranger"));
  ENSURE(same_address(inbox.letters[5].from, stranger.address));
}

const rule_t filter_rules[] = {
    EACH("filter/strangers-from-before-connect-are-never-delivered", strangers_before_connect),
    EACH("filter/many-strangers-from-before-connect-are-never-delivered", many_strangers),
    EACH("filter/a-receiving-handle-drops-strangers-from-before-connect", receiving_before_connect),
    {"filter/a-batch-callback-sees-no-strangers-from-before-connect", "The same for buffers that take several datagrams.",
     EACH_FAMILY, batches_without_strangers},
    EACH("filter/connecting-in-the-callback-ends-strangers-at-once", connecting_in_the_callback),
    EACH("filter/the-former-peer-is-a-stranger", former_peer),
    EACH("filter/the-kernel-drops-strangers-of-a-connected-handle", strangers_after_connect),
    EACH("filter/everybody-is-heard-again-after-disconnect", everybody_after_disconnect),
    END,
};
