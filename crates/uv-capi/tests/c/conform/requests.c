/* Requests: each completes once, in order, and not inside a call; and what may be sent at all. */
#include "conform.h"

#define MANY 100

static verdict_t in_order(stage_t* stage) {
  uv_udp_t *receiver = bound_udp(stage), *udp = new_udp(stage);
  inbox_t inbox = {0};
  outbox_t outbox = {0};
  address_t to = local_of(receiver);
  char word[16];
  ENSURE(receive(receiver, &inbox) == 0 && uv_udp_connect(udp, at(to)) == 0);
  for (int i = 0; i < MANY; i++) {
    snprintf(word, sizeof word, "%d", i);
    ENSURE(mail_to_peer(&outbox, i, udp, word) == 0);
    ENSURE((int) udp->send_queue_count == i + 1 && uv_udp_get_send_queue_count(udp) == udp->send_queue_count);
  }
  ENSURE(outbox.count == 0);
  ENSURE(udp->send_queue_size == 10 + 90 * 2 && uv_udp_get_send_queue_size(udp) == udp->send_queue_size);
  ENSURE(uv_is_active((uv_handle_t*) udp));
  run_until(stage, &inbox.count, MANY);
  settle(stage);
  ENSURE(outbox.count == MANY && inbox.count == MANY);
  ENSURE(udp->send_queue_count == 0 && udp->send_queue_size == 0);
  ENSURE(!uv_is_active((uv_handle_t*) udp));
  for (int i = 0; i < MANY; i++) {
    snprintf(word, sizeof word, "%d", i);
    ENSURE(outbox.order[i] == i && outbox.status[i] == 0);
    ENSURE(strcmp(inbox.data[i], word) == 0);
  }
  return HOLDS;
}

static outbox_t* watched;
static int completed_before_close;

static void on_closed(uv_handle_t* handle) {
  completed_before_close = watched->count;
  free(handle);
}

static verdict_t before_close(stage_t* stage) {
  uv_udp_t *receiver = bound_udp(stage), *udp = new_udp(stage);
  outbox_t outbox = {0};
  address_t to = local_of(receiver);
  completed_before_close = -1;
  watched = &outbox;
  for (int i = 0; i < MANY; i++) ENSURE(mail_to(&outbox, i, udp, "x", at(to)) == 0);
  uv_close((uv_handle_t*) udp, on_closed);
  ENSURE(outbox.count == 0);
  close_udp(receiver);
  ENSURE(uv_run(&stage->loop, UV_RUN_DEFAULT) == 0);
  ENSURE(outbox.count == MANY && completed_before_close == MANY);
  for (int i = 0; i < MANY; i++) {
    ENSURE(outbox.order[i] == i && (outbox.status[i] == 0 || outbox.status[i] == UV_ECANCELED));
  }
  return HOLDS;
}

static verdict_t without_callback(stage_t* stage) {
  uv_udp_t* udp = bound_udp(stage);
  inbox_t inbox = {0};
  address_t to = local_of(udp);
  uv_udp_send_t req;
  uv_buf_t buf = text("quiet");
  ENSURE(receive(udp, &inbox) == 0);
  req.data = &inbox;
  ENSURE(send_to(&req, udp, &buf, 1, at(to), NULL) == 0);
  ENSURE(req.handle == udp && req.type == UV_UDP_SEND && req.data == &inbox);
  run_until(stage, &inbox.count, 1);
  settle(stage);
  ENSURE(inbox.count == 1 && udp->send_queue_count == 0);
  return HOLDS;
}

static int rounds;

static void on_sent_again(uv_udp_send_t* req, int status) {
  uv_buf_t buf = text("again");
  if (status == 0 && ++rounds < 10) (void) send_to_peer(req, req->handle, &buf, 1, on_sent_again);
}

static verdict_t reuse_in_callback(stage_t* stage) {
  uv_udp_t *receiver = bound_udp(stage), *udp = new_udp(stage);
  inbox_t inbox = {0};
  address_t to = local_of(receiver);
  uv_udp_send_t req;
  uv_buf_t buf = text("again");
  rounds = 0;
  ENSURE(receive(receiver, &inbox) == 0 && uv_udp_connect(udp, at(to)) == 0);
  ENSURE(send_to_peer(&req, udp, &buf, 1, on_sent_again) == 0);
  run_until(stage, &inbox.count, 10);
  settle(stage);
  ENSURE(rounds == 10 && inbox.count == 10 && udp->send_queue_count == 0);
  return HOLDS;
}

static verdict_t no_overtaking(stage_t* stage) {
  uv_udp_t *receiver = bound_udp(stage), *udp = new_udp(stage);
  inbox_t inbox = {0};
  outbox_t outbox = {0};
  address_t to = local_of(receiver);
  uv_buf_t buf = text("late");
  ENSURE(receive(receiver, &inbox) == 0 && uv_udp_connect(udp, at(to)) == 0);
  ENSURE(mail_to_peer(&outbox, 0, udp, "first") == 0 && mail_to_peer(&outbox, 1, udp, "second") == 0);
  ENSURE(try_send_to_peer(udp, &buf, 1) == UV_EAGAIN);
  run_until(stage, &outbox.count, 2);
  ENSURE(try_send_to_peer(udp, &buf, 1) == 4);
  run_until(stage, &inbox.count, 3);
  ENSURE(strcmp(inbox.data[0], "first") == 0 && strcmp(inbox.data[1], "second") == 0 && strcmp(inbox.data[2], "late") == 0);
  return HOLDS;
}

static verdict_t try_many(stage_t* stage) {
  uv_udp_t *receiver = bound_udp(stage), *udp = new_udp(stage);
  inbox_t inbox = {0};
  address_t to = local_of(receiver);
  uv_buf_t one[1] = {text("one")}, two[2] = {text("tw"), text("o")}, none[1] = {text("")};
  uv_buf_t* bufs[] = {one, two, none};
  unsigned nbufs[] = {1, 2, 1};
  struct sockaddr* addrs[] = {(struct sockaddr*) &to, (struct sockaddr*) &to, (struct sockaddr*) &to};
  ENSURE(receive(receiver, &inbox) == 0);
  ENSURE(uv_udp_try_send2(udp, 3, bufs, nbufs, addrs, 1) == UV_EINVAL);
  ENSURE(uv_udp_try_send2(udp, 0, bufs, nbufs, addrs, 0) == UV_EINVAL);
  ENSURE(uv_udp_try_send2(udp, 3, bufs, nbufs, NULL, 0) == UV_EDESTADDRREQ);
  ENSURE(uv_udp_try_send2(udp, 3, bufs, nbufs, addrs, 0) == 3);
  run_until(stage, &inbox.count, 3);
  ENSURE(uv_udp_connect(udp, at(to)) == 0);
  ENSURE(uv_udp_try_send2(udp, 3, bufs, nbufs, addrs, 0) == UV_EISCONN);
  ENSURE(uv_udp_try_send2(udp, 2, bufs, nbufs, NULL, 0) == 2);
  run_until(stage, &inbox.count, 5);
  ENSURE(strcmp(inbox.data[0], "one") == 0 && strcmp(inbox.data[1], "two") == 0 && strcmp(inbox.data[2], "") == 0);
  ENSURE(strcmp(inbox.data[3], "one") == 0 && strcmp(inbox.data[4], "two") == 0);
  return HOLDS;
}

static verdict_t sizes(stage_t* stage) {
  static char large[65508];
  static uv_buf_t bufs[1025];
  uv_udp_t *receiver = bound_udp(stage), *udp = new_udp(stage);
  inbox_t inbox = {0};
  outbox_t outbox = {0};
  address_t to = local_of(receiver), nowhere = loopback_of(stage->family, 0);
  uv_buf_t buf = uv_buf_init(large, sizeof large);
  for (int i = 0; i < 1025; i++) bufs[i] = text("y");
  ENSURE(receive(receiver, &inbox) == 0);
  ENSURE(try_send_to(udp, &buf, 1, at(to)) == UV_EMSGSIZE);
  ENSURE(try_send_to(udp, bufs, 1025, at(to)) == UV_EMSGSIZE);
  ENSURE(try_send_to(udp, bufs, 1, at(nowhere)) == UV_EINVAL);
  ENSURE(try_send_to(udp, bufs, 1024, at(to)) == 1024);
  ENSURE(mail_to(&outbox, 0, udp, "", at(to)) == 0);
  run_until(stage, &inbox.count, 2);
  ENSURE(inbox.count == 2 && strcmp(inbox.data[1], "") == 0);
  nowhere = loopback_of(stage->family == AF_INET ? AF_INET6 : AF_INET, 9);
  ENSURE(try_send_to(udp, bufs, 1, at(nowhere)) == UV_EAFNOSUPPORT);
  return HOLDS;
}

const rule_t request_rules[] = {
    {"requests/each-completes-once-in-order-of-acceptance", "Every accepted send completes once, in order, and the queue's members count it until then.", in_order},
    {"requests/complete-before-the-close-callback", "Closing completes what is accepted before the close callback, with UV_ECANCELED at worst.", before_close},
    {"requests/the-callback-may-be-null", "A send without a callback is sent all the same.", without_callback},
    {"requests/a-callback-may-send-the-next", "A request's memory may be used again in its callback.", reuse_in_callback},
    {"order/try-send-never-overtakes", "With anything queued, trying to send is UV_EAGAIN.", no_overtaking},
    {"batch/try-send-batch-says-how-many-went", "uv_udp_try_send2 sends several datagrams, and says how many went.", try_many},
    {"input/sizes-and-addresses", "Too many bytes or buffers, port 0 and the other family are refused; an empty datagram is one.", sizes},
    {NULL, NULL, NULL},
};
