/* No room: a full send buffer is waited for, and ENOBUFS is waited out with a growing pause. Neither spins, loses order, or
 * lets anything go astray. */
#include "conform.h"

/* As many as are sure not to fit in the smallest buffer, each longer than the one before, so that each is a message of its
 * own. */
#define MANY 60

static int size_of(int number) {
  return 10 + number;
}

/* Who is to get it all in the end; the handle with the smallest send buffer; and what became of its sends. */
static raw_t sleeper;
static uv_udp_t* jammed;
static outbox_t outbox;

static void smallest_buffer(uv_udp_t* udp) {
  int one = 1;
  ENSURE(uv_send_buffer_size((uv_handle_t*) udp, &one) == 0);
}

/* A peer that does not answer, and so many sends that most are queued. */
static void jam(stage_t* stage) {
  cable(stage);
  /* Bound to the wildcard address: the silent one is nobody's yet. */
  sleeper = far_raw(wildcard_of(stage->family, 0));
  jammed = connected_udp(stage, silent_of(stage->family, port_of(sleeper.address)));
  smallest_buffer(jammed);
  for (int i = 0; i < MANY; i++) ENSURE(mail(&outbox, i, jammed, numbered(i, size_of(i)), size_of(i), NULL) == 0);
  settle(stage);
  ENSURE(outbox.count < MANY && jammed->send_queue_count > 0);
}

/* First those that went and then those that were canceled; and those that went arrive when their destination wakes. */
static void went_or_was_canceled(stage_t* stage) {
  UNTIL(outbox.count >= MANY);
  settle(stage);
  int sent = count_well(&outbox);
  ENSURE(in_order(&outbox, MANY) && sent < MANY);
  for (int i = 0; i < MANY; i++) ENSURE((outbox.status[i] == 0) == (i < sent));
  wake(stage);
  for (int i = 0; i < sent; i++) ENSURE(number_in(raw_recv(&sleeper).text) == i);
  ENSURE(raw_rest(&sleeper) == 0);
  note("%d of %d went", sent, MANY);
}

static void full_buffer(stage_t* stage) {
  jam(stage);
  int before = outbox.count, waits = turns_in(stage, 50);
  ENSURE(outbox.count == before && waits <= 20);
  note("%d iterations in 50 ms of waiting", waits);
  wake(stage);
  UNTIL(outbox.count == MANY);
  ENSURE(all_well(&outbox, MANY));
  for (int i = 0; i < MANY; i++) {
    letter_t letter = raw_recv(&sleeper);
    ENSURE(number_in(letter.text) == i && letter.len == size_of(i));
  }
  ENSURE(raw_rest(&sleeper) == 0);
}

static void try_send_while_full(stage_t* stage) {
  jam(stage);
  for (int i = 0; i < 10; i++) {
    ENSURE(say(jammed, "overtaking") == UV_EAGAIN);
    settle(stage);
  }
  wake(stage);
  UNTIL(outbox.count == MANY);
  ENSURE(say(jammed, "last") == 4);
  for (int i = 0; i < MANY; i++) ENSURE(number_in(raw_recv(&sleeper).text) == i);
  GETS_ONLY(&sleeper, "last");
}

static int completed_at_close = -1;

static void on_closed(uv_handle_t* handle) {
  completed_at_close = outbox.count;
  free(handle);
}

static void close_while_full(stage_t* stage) {
  jam(stage);
  uv_close((uv_handle_t*) jammed, on_closed);
  UNTIL(completed_at_close >= 0);
  ENSURE(completed_at_close == MANY);
  went_or_was_canceled(stage);
}

/* What is jammed goes or is canceled, and "hello" behind it arrives where it was to go. */
static void gives_way(stage_t* stage, const outbox_t* next, const raw_t* other) {
  went_or_was_canceled(stage);
  UNTIL(next->count == 1);
  ENSURE(all_well(next, 1));
  GETS_ONLY(other, "hello");
}

static void disconnect_while_full(stage_t* stage) {
  outbox_t next = {0};
  jam(stage);
  raw_t other = far_raw(far_of(stage->family, 0));
  ENSURE(disconnect(jammed) == 0);
  size_t queued = jammed->send_queue_size;
  ENSURE(mail_to(&next, 0, jammed, "hello", at(other.address)) == 0 && jammed->send_queue_size == queued + 5);
  gives_way(stage, &next, &other);
}

static void connect_while_full(stage_t* stage) {
  outbox_t next = {0};
  jam(stage);
  raw_t other = far_raw(far_of(stage->family, 0));
  ENSURE(connect_anew(jammed, at(other.address)) == 0 && mail_to_peer(&next, 0, jammed, "hello") == 0);
  gives_way(stage, &next, &other);
}

static void others_while_full(stage_t* stage) {
  outbox_t theirs = {0};
  jam(stage);
  raw_t peer = raw_socket(stage);
  uv_udp_t* udp = connected_udp(stage, peer.address);
  for (int i = 0; i < MANY; i++) ENSURE(mail(&theirs, i, udp, numbered(i, size_of(i)), size_of(i), NULL) == 0);
  UNTIL(theirs.count == MANY);
  ENSURE(all_well(&theirs, MANY) && raw_rest(&peer) == MANY && outbox.count < MANY);
}

/* A handle whose datagrams of many packets find no buffers: the smallest send buffer, and packets of 1,500 bytes. */
static uv_udp_t* starved(stage_t* stage, const raw_t* peer) {
  ip("link set lo mtu 1500");
  uv_udp_t* udp = connected_udp(stage, peer->address);
  smallest_buffer(udp);
  return udp;
}

#define TOO_LARGE 60000

/* When the kernel counted another attempt, in nanoseconds. */
static long attempts_before, attempts;
static uint64_t moments[100];
static int family;

static void note_attempts(uv_check_t* check) {
  long now = sends_without_buffers(family) - attempts_before;
  (void) check;
  for (; attempts < now && attempts < 100; attempts++) moments[attempts] = uv_hrtime();
}

static int turns, ticks;

static void count_turn(uv_prepare_t* prepare) {
  (void) prepare;
  turns++;
}

static void count_tick(uv_timer_t* timer) {
  (void) timer;
  ticks++;
}

static void enobufs(stage_t* stage) {
  raw_t peer = raw_socket(stage);
  static uv_prepare_t prepare;
  static uv_check_t check;
  static uv_timer_t timer;
  uv_udp_t* udp = starved(stage, &peer);
  family = stage->family;
  attempts_before = sends_without_buffers(family);
  ENSURE(uv_check_init(&stage->loop, &check) == 0 && uv_check_start(&check, note_attempts) == 0);
  uv_unref((uv_handle_t*) &check);
  ENSURE(uv_prepare_init(&stage->loop, &prepare) == 0 && uv_prepare_start(&prepare, count_turn) == 0);
  uv_unref((uv_handle_t*) &prepare);
  ENSURE(uv_timer_init(&stage->loop, &timer) == 0 && uv_timer_start(&timer, count_tick, 20, 20) == 0);
  ENSURE(mail(&outbox, 0, udp, numbered(0, TOO_LARGE), TOO_LARGE, NULL) == 0 && mail_to_peer(&outbox, 1, udp, "behind it") == 0);
  ENSURE(say(udp, "overtaking") == UV_EAGAIN);
  UNTIL(outbox.count > 0);
  int turns_then = turns, ticks_then = ticks;
  UNTIL(outbox.count > 1);
  ENSURE(outbox.order[0] == 0 && outbox.status[0] == UV_ENOBUFS && outbox.order[1] == 1 && outbox.status[1] == 0);
  GETS_ONLY(&peer, "behind it");
  ENSURE(attempts >= 4 && attempts <= 40 && ticks_then >= 2);
  ENSURE(turns_then <= 20 * attempts + 10 * ticks_then);
  uint64_t early = UINT64_MAX, late = 0;
  for (long i = 1; i < attempts; i++) {
    uint64_t pause = moments[i] - moments[i - 1];
    if (i <= 3 && pause > 0 && pause < early) early = pause;
    if (i >= attempts - 3 && pause > late) late = pause;
  }
  ENSURE(late > 4 * early);
  note("%ld attempts", attempts);
}

static void enobufs_passes(stage_t* stage) {
  raw_t peer = raw_socket(stage);
  int room = 1 << 20;
  ENSURE(setsockopt(peer.fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof room) == 0);
  uv_udp_t* udp = starved(stage, &peer);
  long before = sends_without_buffers(stage->family);
  ENSURE(mail(&outbox, 0, udp, numbered(0, TOO_LARGE), TOO_LARGE, NULL) == 0 && mail_to_peer(&outbox, 1, udp, "behind it") == 0);
  settle(stage);
  ENSURE(sends_without_buffers(stage->family) > before && outbox.count == 0);
  ENSURE(uv_send_buffer_size((uv_handle_t*) udp, &room) == 0);
  UNTIL(outbox.count == 2);
  ENSURE(all_well(&outbox, 2) && raw_recv(&peer).len == TOO_LARGE);
  GETS_ONLY(&peer, "behind it");
}

static void try_send_enobufs(stage_t* stage) {
  raw_t peer = raw_socket(stage);
  uv_udp_t* udp = starved(stage, &peer);
  long before = sends_without_buffers(stage->family);
  ENSURE(say(udp, numbered(0, TOO_LARGE)) == UV_ENOBUFS && sends_without_buffers(stage->family) == before + 1);
  ENSURE(say(udp, "small") == 5);
  GETS_ONLY(&peer, "small");
}

const rule_t pressure_rules[] = {
    ISOLATED("pressure/a-full-buffer-is-waited-for", full_buffer),
    ISOLATED("pressure/try-send-is-eagain-while-it-is-full", try_send_while_full),
    ISOLATED("pressure/close-cancels-what-does-not-go", close_while_full),
    ISOLATED("pressure/disconnect-cancels-what-does-not-go", disconnect_while_full),
    ISOLATED("pressure/what-does-not-go-never-reaches-the-next-peer", connect_while_full),
    ISOLATED("pressure/a-full-handle-leaves-the-others-alone", others_while_full),
    ISOLATED("pressure/enobufs-is-waited-out-and-reported", enobufs),
    ISOLATED("pressure/enobufs-that-passes-costs-nothing", enobufs_passes),
    ISOLATED("pressure/try-send-tells-enobufs-at-once", try_send_enobufs),
    END,
};
