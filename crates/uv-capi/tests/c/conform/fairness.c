/* No busy loop and no starvation: however flooded a handle is, everything else on the loop gets its turn. */
#include <pthread.h>

#include "conform.h"

static int received, fired, stop_when;
static uv_loop_t* running;
static address_t here;

static void free_request(uv_udp_send_t* req, int status) {
  (void) status;
  free(req);
}

static void post_to(uv_udp_t* udp, const char* words, address_t to) {
  uv_buf_t buf = text(words);
  uv_udp_send_t* req = (uv_udp_send_t*) malloc(sizeof *req);
  ENSURE(send_to(req, udp, &buf, 1, at(to), free_request) == 0);
}

static void count_and_send_on(uv_udp_t* udp, ssize_t nread, const uv_buf_t* buf, const struct sockaddr* addr, unsigned flags) {
  (void) nread, (void) buf, (void) flags;
  if (addr == NULL) return;
  received++;
  post_to(udp, "round and round", here);
}

static void count_received(uv_udp_t* udp, ssize_t nread, const uv_buf_t* buf, const struct sockaddr* addr, unsigned flags) {
  (void) nread, (void) buf, (void) flags;
  if (addr != NULL) ++*(int*) udp->data;
}

/* A handle that sends to itself whatever it receives, so that it is never without: 100 datagrams go round for ever. */
static uv_udp_t* endless_flood(stage_t* stage) {
  uv_udp_t* udp = bound_udp(stage);
  here = local_of(udp);
  running = &stage->loop;
  ENSURE(uv_udp_recv_start(udp, alloc_the_same, count_and_send_on) == 0);
  for (int i = 0; i < 100; i++) post_to(udp, "round and round", here);
  UNTIL(received > 100);
  return udp;
}

/* Runs the loop in one go until it is stopped, with a flood that goes on. */
static void floods_until_stopped(stage_t* stage) {
  TO_THE_END();
  int before = received;
  UNTIL(received > before + 100);
}

static void one_iteration(stage_t* stage) {
  raw_t peer = raw_socket(stage);
  int count = 0, most = 0;
  uv_udp_t* udp = bound_udp(stage);
  udp->data = &count;
  ENSURE(uv_udp_recv_start(udp, alloc_the_same, count_received) == 0);
  for (int i = 0; i < 200; i++) raw_say(&peer, "flood", local_of(udp));
  for (int turn = 0; turn < 1000 && count < 200; turn++) {
    int before = count;
    ENSURE(uv_run(&stage->loop, UV_RUN_NOWAIT) >= 0);
    if (count - before > most) most = count - before;
  }
  ENSURE(count == 200 && most < 200);
  note("%d in one iteration at most", most);
}

static void stop_after_some(uv_timer_t* timer) {
  if (++fired >= stop_when) uv_stop(timer->loop);
}

static uv_timer_t ticking;

static void tick(stage_t* stage, int until) {
  stop_when = until;
  ENSURE(uv_timer_init(&stage->loop, &ticking) == 0 && uv_timer_start(&ticking, stop_after_some, 1, 1) == 0);
}

static void room_for_timers(stage_t* stage) {
  endless_flood(stage);
  tick(stage, 5);
  floods_until_stopped(stage);
  ENSURE(fired >= 5);
}

static int rounds;

static void answer(uv_udp_t* udp, ssize_t nread, const uv_buf_t* buf, const struct sockaddr* addr, unsigned flags) {
  uv_udp_send_t* req = (uv_udp_send_t*) malloc(sizeof *req);
  uv_buf_t pong = text("pong");
  (void) nread, (void) buf, (void) flags;
  if (addr == NULL || send_to_peer(req, udp, &pong, 1, free_request) != 0) {
    free(req);
    return;
  }
  if (++rounds == 40) uv_stop(udp->loop);
}

static void room_for_handles(stage_t* stage) {
  endless_flood(stage);
  /* Back and forth between two more handles. */
  uv_udp_t *one = bound_udp(stage), *other = bound_udp(stage);
  ENSURE(uv_udp_connect(one, at(local_of(other))) == 0 && uv_udp_connect(other, at(local_of(one))) == 0);
  ENSURE(uv_udp_recv_start(one, alloc_the_same, answer) == 0 && uv_udp_recv_start(other, alloc_the_same, answer) == 0);
  ENSURE(say(one, "ping") == 4);
  floods_until_stopped(stage);
  ENSURE(rounds >= 40);
}

static void stop_when_sent(uv_udp_send_t* req, int status) {
  ENSURE(status == 0);
  fired++;
  uv_stop(req->handle->loop);
}

static void room_for_sending(stage_t* stage) {
  raw_t peer = raw_socket(stage);
  uv_udp_send_t req;
  uv_buf_t buf = text("out");
  uv_udp_t* flooded = endless_flood(stage);
  ENSURE(send_to(&req, flooded, &buf, 1, at(peer.address), stop_when_sent) == 0);
  floods_until_stopped(stage);
  ENSURE(fired == 1);
  GETS_ONLY(&peer, "out");
}

static void stop_when_woken(uv_async_t* async) {
  fired++;
  uv_stop(async->loop);
}

static void* wake_up(void* async) {
  return uv_async_send((uv_async_t*) async) == 0 ? async : NULL;
}

static void room_for_posts(stage_t* stage) {
  static uv_async_t async;
  pthread_t thread;
  void* sent;
  endless_flood(stage);
  ENSURE(uv_async_init(&stage->loop, &async, stop_when_woken) == 0);
  ENSURE(pthread_create(&thread, NULL, wake_up, &async) == 0);
  floods_until_stopped(stage);
  ENSURE(pthread_join(thread, &sent) == 0 && sent == &async && fired == 1);
}

/* Receive callbacks between two ticks of a timer that is due in every iteration, and ticks that are waited for. */
enum { MANY_CALLS = 1000, TICKS = 20 };

static int calls, ticks, at_last_tick, starved;
static raw_t ahead;

/* Counts a callback; stops the handle when there were too many since the last tick. */
static int keeps_pace(uv_udp_t* udp) {
  calls++;
  if (calls - at_last_tick > MANY_CALLS) {
    starved = 1;
    uv_udp_recv_stop(udp);
  }
  return !starved;
}

static void tick_and_start_again(uv_timer_t* timer) {
  ticks++;
  at_last_tick = calls;
  if (ticks < TICKS && !starved)
    uv_timer_start(timer, tick_and_start_again, 0, 0);
  else
    uv_stop(timer->loop);
}

static void check_pace(stage_t* stage) {
  ENSURE(uv_timer_init(&stage->loop, &ticking) == 0 && uv_timer_start(&ticking, tick_and_start_again, 0, 0) == 0);
  TO_THE_END();
  ENSURE(!starved && ticks == TICKS && calls >= TICKS / 2);
  note("%d callbacks in %d ticks", calls, ticks);
}

static void answer_errors(uv_udp_t* udp, ssize_t nread, const uv_buf_t* buf, const struct sockaddr* addr, unsigned flags) {
  (void) buf, (void) addr, (void) flags;
  /* What they are refused with is reported to this callback. */
  if (nread < 0 && keeps_pace(udp)) say(udp, "again"), say(udp, "and again");
}

static void errors_that_cause_errors(stage_t* stage) {
  uv_udp_t* udp = connected_udp(stage, dead_address(stage));
  ENSURE(uv_udp_recv_start(udp, alloc_the_same, answer_errors) == 0);
  ENSURE(say(udp, "first") == 5);
  check_pace(stage);
}

static void reconnect(uv_udp_t* udp, ssize_t nread, const uv_buf_t* buf, const struct sockaddr* addr, unsigned flags) {
  (void) nread, (void) buf, (void) flags;
  if (addr == NULL || !keeps_pace(udp)) return;
  /* What there is no room for is lost; there is enough. */
  for (int i = 0; i < 2; i++) raw_say(&ahead, "more", here);
  ENSURE(disconnect(udp) == 0 && uv_udp_connect(udp, at(ahead.address)) == 0);
}

static void reconnecting_per_datagram(stage_t* stage) {
  ahead = raw_socket(stage);
  uv_udp_t* udp = connected_udp(stage, ahead.address);
  here = local_of(udp);
  ENSURE(uv_udp_recv_start(udp, alloc_the_same, reconnect) == 0);
  for (int i = 0; i < 10; i++) raw_say(&ahead, "first", here);
  check_pace(stage);
}

static int has_memory;

static void alloc_perhaps(uv_handle_t* handle, size_t suggested, uv_buf_t* buf) {
  *buf = uv_buf_init(NULL, 0);
  if (has_memory) alloc_the_same(handle, suggested, buf);
}

static void what_was_refused_comes_in_parts(stage_t* stage) {
  raw_t peer = raw_socket(stage);
  int count = 0, most = 0;
  uv_udp_t* udp = bound_udp(stage);
  udp->data = &count;
  ENSURE(uv_udp_recv_start(udp, alloc_perhaps, count_received) == 0);
  for (int round = 0; round < 4; round++) {
    for (int i = 0; i < 100; i++) raw_say(&peer, "flood", local_of(udp));
    settle(stage);
  }
  ENSURE(count == 0);
  has_memory = 1;
  for (int turn = 0; turn < 1000 && count < 400; turn++) {
    int before = count;
    ENSURE(uv_run(&stage->loop, UV_RUN_NOWAIT) >= 0);
    if (count - before > most) most = count - before;
  }
  ENSURE(count == 400 && most < 400);
  note("%d in one iteration at most", most);
}

static uv_udp_t* flooded[2];
static int shares[2];
static raw_t flooder;

static void flood_both(uv_prepare_t* prepare) {
  /* More in every iteration than a handle receives in one. What there is no room for is lost; there is enough. */
  for (int each = 0; each < 2; each++) {
    address_t to = local_of(flooded[each]);
    for (int i = 0; i < 200; i++) {
      if (sendto(flooder.fd, "flood", 5, 0, at(to), length_of(to)) < 0) break;
    }
  }
  if (shares[0] + shares[1] >= 5000) uv_stop(prepare->loop);
}

static void two_floods(stage_t* stage) {
  static uv_prepare_t prepare;
  flooder = raw_socket(stage);
  for (int each = 0; each < 2; each++) {
    flooded[each] = bound_udp(stage);
    flooded[each]->data = &shares[each];
    ENSURE(uv_udp_recv_start(flooded[each], alloc_the_same, count_received) == 0);
  }
  ENSURE(uv_prepare_init(&stage->loop, &prepare) == 0 && uv_prepare_start(&prepare, flood_both) == 0);
  TO_THE_END();
  uv_close((uv_handle_t*) &prepare, NULL);
  settle(stage);
  ENSURE(2 * shares[0] >= shares[1] && 2 * shares[1] >= shares[0]);
}

static void send_for_ever(uv_udp_send_t* req, int status) {
  uv_buf_t buf = text("again");
  if (status != 0 || send_to_peer(req, req->handle, &buf, 1, send_for_ever) != 0) free(req);
}

static void endless_sending(stage_t* stage) {
  raw_t peer = raw_socket(stage);
  int count = 0;
  uv_udp_t* udp = connected_udp(stage, peer.address);
  uv_buf_t buf = text("again");
  udp->data = &count;
  ENSURE(uv_udp_recv_start(udp, alloc_the_same, count_received) == 0);
  for (int i = 0; i < 64; i++) {
    ENSURE(send_to_peer((uv_udp_send_t*) malloc(sizeof(uv_udp_send_t)), udp, &buf, 1, send_for_ever) == 0);
  }
  tick(stage, 1);
  for (int round = 1; round <= 5; round++) {
    raw_say(&peer, "answer", local_of(udp));
    while (count < round) {
      int before = fired;
      TO_THE_END();
      ENSURE(fired > before && fired < 5000);
    }
  }
}

static void idle_loop_sleeps(stage_t* stage) {
  raw_t peer = raw_socket(stage);
  inbox_t inbox = {0}, other = {0};
  uv_udp_t *first = bound_udp(stage), *second = connected_udp(stage, peer.address);
  ENSURE(receive(first, &inbox) == 0 && receive(second, &other) == 0);
  /* Something happened before, and it is over. */
  ENSURE(say(second, "hello") == 5);
  raw_say(&peer, "answer", local_of(second));
  raw_say(&peer, "hello", local_of(first));
  UNTIL(inbox.count == 1 && other.count == 1);
  int turns = turns_in(stage, 50);
  ENSURE(turns <= 10);
  note("%d iterations in 50 ms", turns);
}

static int left, failed, size;

static void send_the_rest(uv_udp_send_t* req, int status) {
  static char data[1200];
  uv_buf_t buf = uv_buf_init(data, (unsigned) size);
  failed += status != 0;
  if (left-- <= 0) {
    free(req);
  } else if (send_to_peer(req, req->handle, &buf, 1, send_the_rest) != 0) {
    failed++;
    free(req);
  }
}

static void sixty_four_outstanding(stage_t* stage) {
  enum { ALL = 10000 };
  static const int sizes[] = {45, 1200};
  for (int i = 0; i < 2; i++) {
    int count = 0;
    uv_udp_t *receiver = bound_udp(stage), *sender = connected_udp(stage, local_of(receiver));
    receiver->data = &count;
    ENSURE(uv_udp_recv_start(receiver, alloc_the_same, count_received) == 0);
    /* So that the loop comes to an end when all are sent. */
    uv_unref((uv_handle_t*) receiver);
    left = ALL;
    size = sizes[i];
    for (int each = 0; each < 64; each++) {
      uv_udp_send_t* req = (uv_udp_send_t*) malloc(sizeof *req);
      req->handle = sender;
      send_the_rest(req, 0);
    }
    TO_THE_END();
    uv_ref((uv_handle_t*) receiver);
    settle(stage);
    ENSURE(failed == 0 && sender->send_queue_count == 0);
    ENSURE(100 * count >= 99 * ALL && count <= ALL);
    note("%.1f %% of those of %d bytes", 100.0 * count / ALL, size);
    close_udp(receiver);
    TO_THE_END();
  }
}

static void freed(uv_udp_send_t* req, int status) {
  failed += status != 0;
  free(req);
}

static void many_senders(stage_t* stage) {
  enum { SENDERS = 16, EACH_ONE = 64 };
  static char data[1200];
  uv_buf_t buf = uv_buf_init(data, sizeof data);
  int count = 0;
  uv_udp_t *receiver = bound_udp(stage), *senders[SENDERS];
  receiver->data = &count;
  ENSURE(uv_udp_recv_start(receiver, alloc_the_same, count_received) == 0);
  uv_unref((uv_handle_t*) receiver);
  for (int i = 0; i < SENDERS; i++) senders[i] = connected_udp(stage, local_of(receiver));
  failed = 0;
  for (int i = 0; i < SENDERS * EACH_ONE; i++)
    ENSURE(send_to_peer((uv_udp_send_t*) malloc(sizeof(uv_udp_send_t)), senders[i % SENDERS], &buf, 1, freed) == 0);
  TO_THE_END();
  uv_ref((uv_handle_t*) receiver);
  settle(stage);
  ENSURE(failed == 0 && count == SENDERS * EACH_ONE);
}

const rule_t fairness_rules[] = {
    EACH("fairness/one-iteration-does-not-drain-a-flood", one_iteration),
    EACH("fairness/a-flood-leaves-room-for-timers", room_for_timers),
    EACH("fairness/a-flood-leaves-room-for-other-handles", room_for_handles),
    EACH("fairness/a-flood-leaves-room-for-the-other-direction", room_for_sending),
    {"fairness/a-flood-leaves-room-for-posts", "uv_async_send from another thread is heard while a handle is flooded without end.",
     NO_FAMILY, room_for_posts},
    EACH("fairness/errors-that-cause-errors-leave-room-for-timers", errors_that_cause_errors),
    EACH("fairness/reconnecting-per-datagram-leaves-room-for-timers", reconnecting_per_datagram),
    {"fairness/what-was-refused-comes-in-parts", "Datagrams that the program had no memory for are not all offered in one iteration.",
     EACH_FAMILY, what_was_refused_comes_in_parts},
    EACH("fairness/two-floods-share-the-loop", two_floods),
    EACH("fairness/sending-without-end-leaves-room-for-receiving", endless_sending),
    ONCE("fairness/an-idle-loop-sleeps", idle_loop_sleeps),
    EACH("traps/64-outstanding-reach-a-receiver-on-the-same-loop", sixty_four_outstanding),
    EACH("traps/many-senders-reach-a-receiver-on-the-same-loop", many_senders),
    END,
};
