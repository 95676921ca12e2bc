/* Receiving into the program's memory: what is asked for, and what comes back with it. */
#include <sys/mman.h>

#include "conform.h"

static void into_buffers(stage_t* stage) {
  raw_t sender = raw_socket(stage);
  inbox_t inbox = {0};
  uv_udp_t* udp = bound_udp(stage);
  ENSURE(receive(udp, &inbox) == 0 && uv_is_active((uv_handle_t*) udp));
  raw_say(&sender, "one", local_of(udp));
  raw_say(&sender, "", local_of(udp));
  UNTIL(inbox.count == 2);
  settle(stage);
  ENSURE(HAS(&inbox, "one", "") && inbox.lent == 0 && inbox.flags == 0 && inbox.errors == 0);
  ENSURE(same_address(inbox.letters[0].from, sender.address) && same_address(inbox.letters[1].from, sender.address));
}

static void round_ends(stage_t* stage) {
  raw_t sender = raw_socket(stage);
  inbox_t inbox = {0};
  uv_udp_t* udp = bound_udp(stage);
  ENSURE(receive(udp, &inbox) == 0);
  for (int i = 0; i < 5; i++) raw_say(&sender, "one", local_of(udp));
  UNTIL(inbox.ends == 1);
  settle(stage);
  ENSURE(inbox.count == 5 && inbox.ends == 1 && inbox.errors == 0 && inbox.lent == 0);
}

static void alloc_two_bytes(uv_handle_t* handle, size_t suggested, uv_buf_t* buf) {
  (void) suggested;
  inbox_alloc(handle, 16, buf);
  buf->len = 2;
}

static void partial(stage_t* stage) {
  raw_t sender = raw_socket(stage);
  inbox_t inbox = {0};
  uv_udp_t* udp = bound_udp(stage);
  ENSURE(receive_with(udp, &inbox, alloc_two_bytes, inbox_recv) == 0);
  raw_say(&sender, "ab", local_of(udp));
  UNTIL(inbox.count == 1);
  ENSURE(inbox.flags == 0);
  raw_say(&sender, "abc", local_of(udp));
  UNTIL(inbox.count == 2);
  ENSURE(inbox.flags == UV_UDP_PARTIAL && HAS(&inbox, "ab", "ab") && inbox.letters[1].len == 2);
}

/* 1,200-byte bursts, which the kernel carries as one: nothing of that is seen. */
static void one_each(stage_t* stage) {
  for (int small = 0; small < 2; small++) {
    inbox_t inbox = {0};
    outbox_t outbox = {0};
    int size = small ? 45 : 1200;
    uv_udp_t* udp = bound_udp(stage);
    uv_udp_t* sender = connected_udp(stage, local_of(udp));
    ENSURE(receive(udp, &inbox) == 0);
    for (int i = 0; i < 64; i++) ENSURE(mail(&outbox, i, sender, numbered(i, size), size, NULL) == 0);
    UNTIL(inbox.count >= 64 && outbox.count == 64);
    settle(stage);
    ENSURE(all_well(&outbox, 64) && inbox.count == 64 && inbox.lent == 0 && inbox.flags == 0);
    for (int i = 0; i < 64; i++) {
      const letter_t* letter = &inbox.letters[i];
      ENSURE(letter->len == size && letter->sum == sum_of(numbered(i, size), size) && same_address(letter->from, local_of(sender)));
    }
    ENSURE(uv_udp_recv_stop(udp) == 0);
  }
}

static int refuse;

static void alloc_at_times(uv_handle_t* handle, size_t suggested, uv_buf_t* buf) {
  if (refuse-- > 0) return;
  inbox_alloc(handle, suggested, buf);
}

static void no_memory(stage_t* stage) {
  raw_t sender = raw_socket(stage);
  for (int refusals = 1; refusals <= 3; refusals++) {
    inbox_t inbox = {0};
    uv_udp_t* udp = bound_udp(stage);
    refuse = refusals;
    ENSURE(receive_with(udp, &inbox, alloc_at_times, inbox_recv) == 0);
    raw_say(&sender, "one", local_of(udp));
    raw_say(&sender, "two", local_of(udp));
    raw_say(&sender, "three", local_of(udp));
    UNTIL(inbox.count == 3);
    ENSURE(inbox.error == UV_ENOBUFS && inbox.errors == refusals && inbox.lent == 0);
    ENSURE(HAS(&inbox, "one", "two", "three"));
    settle(stage);
    /* That there is nothing more to read is told when that is so, and not with the refusals. */
    ENSURE(inbox.ends == 1 && uv_udp_recv_stop(udp) == 0);
  }
}

static void strangers(stage_t* stage) {
  raw_t peer = raw_socket(stage), stranger = raw_socket(stage);
  inbox_t inbox = {0};
  uv_udp_t* udp = bound_udp(stage);
  raw_say(&stranger, "stranger", local_of(udp));
  raw_say(&peer, "peer", local_of(udp));
  refuse = 2;
  /* Also those that wait for memory when the handle is connected. */
  ENSURE(receive_with(udp, &inbox, alloc_at_times, inbox_recv) == 0);
  UNTIL(inbox.errors > 0);
  ENSURE(uv_udp_connect(udp, at(peer.address)) == 0);
  UNTIL(inbox.count > 0);
  settle(stage);
  ENSURE(HAS(&inbox, "peer") && inbox.lent == 0);
}

static int stop_after;

static void recv_and_stop(uv_udp_t* udp, ssize_t nread, const uv_buf_t* buf, const struct sockaddr* addr, unsigned flags) {
  inbox_t* inbox = (inbox_t*) udp->data;
  inbox_recv(udp, nread, buf, addr, flags);
  if (inbox->count == stop_after && addr != NULL) ENSURE(uv_udp_recv_stop(udp) == 0);
}

static int began_with_the_end = -1;

static void note_the_first(uv_udp_t* udp, ssize_t nread, const uv_buf_t* buf, const struct sockaddr* addr, unsigned flags) {
  if (began_with_the_end < 0) began_with_the_end = addr == NULL;
  inbox_recv(udp, nread, buf, addr, flags);
}

static void half_way(stage_t* stage) {
  raw_t sender = raw_socket(stage);
  inbox_t inbox = {0};
  uv_udp_t* udp = bound_udp(stage);
  for (int i = 0; i < 6; i++) raw_say(&sender, numbered(i, 4), local_of(udp));
  /* In the middle of what one system call receives, and not at its beginning. */
  stop_after = 2;
  ENSURE(receive_with(udp, &inbox, inbox_alloc, recv_and_stop) == 0);
  UNTIL(inbox.count >= 2);
  settle(stage);
  ENSURE(inbox.count == 2 && inbox.lent == 0 && !uv_is_active((uv_handle_t*) udp) && inbox.ends == 0);
  ENSURE(uv_udp_recv_start(udp, inbox_alloc, note_the_first) == 0);
  UNTIL(inbox.count == 6);
  /* It is not told that there is nothing to read before it is given what there is. */
  ENSURE(began_with_the_end == 0);
  for (int i = 0; i < 6; i++) ENSURE(number_in(inbox.letters[i].text) == i);
}

static int asked;

static void alloc_stops(uv_handle_t* handle, size_t suggested, uv_buf_t* buf) {
  (void) suggested;
  asked++;
  ENSURE(uv_udp_recv_stop((uv_udp_t*) handle) == 0);
  *buf = uv_buf_init(NULL, 0);
}

static void stopped_by_alloc(stage_t* stage) {
  raw_t sender = raw_socket(stage);
  for (int large = 0; large < 2; large++) {
    inbox_t inbox = {0};
    uv_udp_t* udp = bound_udp_ex(stage, (unsigned) stage->family | (large ? UV_UDP_RECVMMSG : 0));
    asked = 0;
    ENSURE(receive_with(udp, &inbox, alloc_stops, inbox_recv) == 0);
    raw_say(&sender, "one", local_of(udp));
    UNTIL(asked > 0);
    settle(stage);
    ENSURE(asked == 1 && inbox.count == 0 && inbox.ends == 0 && inbox.errors == 0 && !uv_is_active((uv_handle_t*) udp));
    ENSURE(receive(udp, &inbox) == 0);
    UNTIL(inbox.count > 0);
    settle(stage);
    ENSURE(HAS(&inbox, "one") && inbox.errors == 0 && inbox.lent == 0 && uv_udp_recv_stop(udp) == 0);
  }
}

static void alloc_for_three(uv_handle_t* handle, size_t suggested, uv_buf_t* buf) {
  inbox_alloc(handle, 3 * suggested, buf);
}

static void stopped_in_large(stage_t* stage) {
  raw_t sender = raw_socket(stage);
  inbox_t inbox = {0};
  uv_udp_t *udp = new_udp_ex(stage, (unsigned) stage->family | UV_UDP_RECVMMSG), *plain = new_udp(stage);
  ENSURE(uv_udp_using_recvmmsg(udp) == 1 && uv_udp_using_recvmmsg(plain) == 0);
  ENSURE(uv_udp_bind(udp, at(loopback_of(stage->family, 0)), 0) == 0);
  stop_after = 2;
  ENSURE(receive_with(udp, &inbox, alloc_for_three, recv_and_stop) == 0);
  for (int i = 0; i < 5; i++) raw_say(&sender, "x", local_of(udp));
  UNTIL(inbox.count == 2);
  settle(stage);
  ENSURE(inbox.count == 2 && inbox.lent == 0 && (inbox.flags & UV_UDP_MMSG_FREE) && (inbox.flags & UV_UDP_MMSG_CHUNK));
  stop_after = -1;
  ENSURE(uv_udp_recv_start(udp, alloc_for_three, recv_and_stop) == 0);
  UNTIL(inbox.count == 5);
  settle(stage);
  ENSURE(inbox.count == 5 && inbox.lent == 0);
}

/* After two bursts the kernel puts those that follow together. */
static void bursts_in_large(stage_t* stage) {
  inbox_t inbox = {0};
  outbox_t outbox = {0};
  uv_udp_t* udp = bound_udp_ex(stage, (unsigned) stage->family | UV_UDP_RECVMMSG);
  uv_udp_t* sender = connected_udp(stage, local_of(udp));
  stop_after = 4 * 40 + 7;
  ENSURE(receive_with(udp, &inbox, alloc_for_three, recv_and_stop) == 0);
  for (int burst = 0; burst < 6; burst++) {
    for (int i = 40 * burst; i < 40 * (burst + 1); i++) ENSURE(mail(&outbox, i, sender, numbered(i, 100), 100, NULL) == 0);
    UNTIL(outbox.count == 40 * (burst + 1) && inbox.count >= (burst < 4 ? outbox.count : stop_after));
  }
  settle(stage);
  ENSURE(inbox.count == stop_after && inbox.lent == 0);
  ENSURE(uv_udp_recv_start(udp, alloc_for_three, recv_and_stop) == 0);
  UNTIL(inbox.count == 240);
  settle(stage);
  ENSURE(all_well(&outbox, 240) && inbox.count == 240 && inbox.lent == 0 && inbox.errors == 0);
  ENSURE(inbox.flags == (UV_UDP_MMSG_CHUNK | UV_UDP_MMSG_FREE));
  for (int i = 0; i < 240; i++) {
    ENSURE(number_in(inbox.letters[i].text) == i && inbox.letters[i].len == 100);
    ENSURE(same_address(inbox.letters[i].from, local_of(sender)));
  }
}

static void small_with_recvmmsg(stage_t* stage) {
  raw_t sender = raw_socket(stage);
  for (int tiny = 0; tiny < 2; tiny++) {
    inbox_t inbox = {0};
    uv_udp_t* udp = bound_udp_ex(stage, (unsigned) stage->family | UV_UDP_RECVMMSG);
    ENSURE(receive_with(udp, &inbox, tiny ? alloc_two_bytes : inbox_alloc, inbox_recv) == 0);
    for (int i = 0; i < 5; i++) raw_say(&sender, "x", local_of(udp));
    UNTIL(inbox.count == 5);
    settle(stage);
    ENSURE(inbox.flags == (tiny ? 0 : UV_UDP_MMSG_CHUNK | UV_UDP_MMSG_FREE) && inbox.lent == 0);
    ENSURE(uv_udp_recv_stop(udp) == 0);
  }
}

/* As much as one call to the kernel can fill, so that what is said beyond it is all that is untrue. */
#define MOST_FILLED ((size_t) 1024 * 65536)

static char* mapped;

static void alloc_beyond_all_memory(uv_handle_t* handle, size_t suggested, uv_buf_t* buf) {
  (void) suggested;
  ((inbox_t*) handle->data)->lent++;
  buf->base = mapped;
  buf->len = SIZE_MAX;
}

static void recv_mapped(uv_udp_t* udp, ssize_t nread, const uv_buf_t* buf, const struct sockaddr* addr, unsigned flags) {
  inbox_t* inbox = (inbox_t*) udp->data;
  inbox_enter(inbox, nread, buf, addr);
  ENSURE(buf->base >= mapped && buf->base < mapped + MOST_FILLED);
  if (!(flags & UV_UDP_MMSG_CHUNK)) inbox->lent--;
}

static void beyond_all_memory(stage_t* stage) {
  raw_t sender = raw_socket(stage);
  mapped = (char*) mmap(NULL, MOST_FILLED, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  ENSURE(mapped != MAP_FAILED);
  for (int large = 0; large < 2; large++) {
    inbox_t inbox = {0};
    uv_udp_t* udp = bound_udp_ex(stage, (unsigned) stage->family | (large ? UV_UDP_RECVMMSG : 0));
    ENSURE(receive_with(udp, &inbox, alloc_beyond_all_memory, recv_mapped) == 0);
    for (int i = 0; i < 3; i++) raw_say(&sender, numbered(i, 10), local_of(udp));
    UNTIL(inbox.count == 3);
    settle(stage);
    for (int i = 0; i < 3; i++) ENSURE(number_in(inbox.letters[i].text) == i && inbox.letters[i].len == 10);
    ENSURE(inbox.errors == 0 && inbox.lent == 0 && uv_udp_recv_stop(udp) == 0);
  }
}

#define SEGMENT 1000

static void alloc_for_four_segments(uv_handle_t* handle, size_t suggested, uv_buf_t* buf) {
  (void) suggested;
  inbox_alloc(handle, 4 * SEGMENT, buf);
}

static void recv_and_end(uv_udp_t* udp, ssize_t nread, const uv_buf_t* buf, const struct sockaddr* addr, unsigned flags) {
  recv_and_stop(udp, nread, buf, addr, flags);
  if (stop_after == 1 && addr != NULL) ENSURE(uv_udp_recv_start(udp, alloc_for_four_segments, inbox_recv) == 0);
}

/* A socket whose owner asks the kernel to put datagrams together, and for what comes beside them. */
static void run_in_small(stage_t* stage) {
  int on = 1, segment = SEGMENT, v4 = stage->family == AF_INET;
  for (stop_after = -1; stop_after < 2; stop_after += 2) {
    raw_t sender = raw_socket(stage), receiver = raw_socket(stage);
    inbox_t inbox = {0};
    uv_udp_t* udp = new_udp_ex(stage, UV_UDP_RECVMMSG);
    if (setsockopt(sender.fd, IPPROTO_UDP, 103 /* UDP_SEGMENT */, &segment, sizeof segment) != 0) skip("no UDP_SEGMENT");
    ENSURE(setsockopt(receiver.fd, v4 ? IPPROTO_IP : IPPROTO_IPV6, v4 ? IP_RECVTOS : IPV6_RECVTCLASS, &on, sizeof on) == 0);
    ENSURE(uv_udp_open(udp, receiver.fd) == 0);
    if (setsockopt(receiver.fd, IPPROTO_UDP, 104 /* UDP_GRO */, &on, sizeof on) != 0) skip("no UDP_GRO");
    ENSURE(receive_with(udp, &inbox, alloc_for_four_segments, recv_and_end) == 0);
    for (int i = 0; i < 3; i++) {
      char three[3 * SEGMENT];
      for (int j = 0; j < 3; j++) memcpy(&three[j * SEGMENT], numbered(3 * i + j, SEGMENT), SEGMENT);
      raw_send(&sender, three, sizeof three, local_of(udp));
    }
    UNTIL(inbox.count >= 9);
    settle(stage);
    ENSURE(inbox.count == 9 && inbox.errors == 0 && inbox.lent == 0 && (inbox.flags & UV_UDP_MMSG_CHUNK) == 0);
    for (int i = 0; i < 9; i++) ENSURE(number_in(inbox.letters[i].text) == i && inbox.letters[i].len == SEGMENT);
    ENSURE(uv_udp_recv_stop(udp) == 0);
  }
}

static void bad_flags(stage_t* stage) {
  uv_udp_t udp;
  ENSURE(uv_udp_init_ex(&stage->loop, &udp, 77) == UV_EINVAL);
  ENSURE(uv_udp_init_ex(&stage->loop, &udp, AF_INET | 512) == UV_EINVAL);
  ENSURE(!uv_loop_alive(&stage->loop));
}

const rule_t memory_rules[] = {
    {"memory/a-buffer-comes-back-with-a-datagram", "Each buffer of alloc_cb comes back once: with a datagram and its source, or unused.",
     EACH_FAMILY, into_buffers},
    {"memory/a-round-ends-with-nothing", "When there is nothing more to read, the buffer comes back with 0 bytes and no address.",
     EACH_FAMILY, round_ends},
    {"memory/what-does-not-fit-is-partial", "A datagram that is longer than the buffer comes with UV_UDP_PARTIAL.", EACH_FAMILY, partial},
    EACH("memory/datagrams-are-not-coalesced", one_each),
    EACH("memory/without-a-buffer-it-is-enobufs", no_memory),
    EACH("memory/strangers-get-no-buffer", strangers),
    EACH("memory/stopping-half-way-loses-nothing", half_way),
    {"memory/an-alloc-that-stops-hears-nothing",
     "An alloc_cb that stops receiving and supplies no memory hears nothing; the datagram comes after the next start.", EACH_FAMILY,
     stopped_by_alloc},
    {"memory/a-large-buffer-comes-back-after-a-stop",
     "A buffer for several datagrams comes back with UV_UDP_MMSG_FREE also if receiving stops meanwhile.", EACH_FAMILY, stopped_in_large},
    {"memory/a-large-buffer-takes-bursts", "With UV_UDP_RECVMMSG every datagram of a burst comes in order, also after a stop in the middle of one.",
     EACH_FAMILY, bursts_in_large},
    {"memory/a-small-buffer-is-for-one-datagram", "With UV_UDP_RECVMMSG a buffer of 64 KiB comes back with UV_UDP_MMSG_FREE, a smaller one is for one datagram as without.",
     EACH_FAMILY, small_with_recvmmsg},
    {"memory/a-length-beyond-all-memory-does-no-harm",
     "A buffer whose length is beyond what any memory has takes datagrams as others do.", EACH_FAMILY, beyond_all_memory},
    {"memory/a-small-buffer-comes-back-once",
     "A buffer of less than 64 KiB comes back with one datagram, also from a socket whose owner switched UDP_GRO on.", EACH_FAMILY,
     run_in_small},
    {"input/bad-init-flags-are-einval", "uv_udp_init_ex knows its flags, and refuses others with UV_EINVAL.", NO_FAMILY, bad_flags},
    END,
};
