/* Bursts: what leaves together arrives one by one, in order, each as it was sent. */
#include "conform.h"

#define MOST 128

static int sizes[MOST];

/* Sends datagrams of these sizes in one iteration to a handle and to a plain socket, and compares what arrives. */
static void arrives_as_sent(stage_t* stage, int count) {
  raw_t raw = raw_socket(stage);
  inbox_t inbox = {0};
  uv_udp_t* handle = bound_udp(stage);
  ENSURE(count <= MOST && receive(handle, &inbox) == 0);
  for (int to_handle = 0; to_handle < 2; to_handle++) {
    outbox_t outbox = {0};
    uv_udp_t* udp = connected_udp(stage, to_handle ? local_of(handle) : raw.address);
    for (int i = 0; i < count; i++) ENSURE(mail(&outbox, i, udp, numbered(i, sizes[i]), sizes[i], NULL) == 0);
    UNTIL(outbox.count == count);
    ENSURE(all_well(&outbox, count));
    close_udp(udp);
  }
  UNTIL(inbox.count >= count);
  settle(stage);
  ENSURE(inbox.count == count && inbox.flags == 0 && inbox.lent == 0);
  for (int i = 0; i < count; i++) {
    letter_t letter = raw_recv(&raw);
    unsigned sum = sum_of(numbered(i, sizes[i]), sizes[i]);
    ENSURE(letter.len == sizes[i] && letter.sum == sum);
    ENSURE(inbox.letters[i].len == sizes[i] && inbox.letters[i].sum == sum);
  }
  ENSURE(raw_rest(&raw) == 0 && uv_udp_recv_stop(handle) == 0);
}

static void equal_sizes(stage_t* stage) {
  for (int i = 0; i < 71; i++) sizes[i] = i < 70 ? 100 : 37;
  arrives_as_sent(stage, 71);
  /* One byte; as much as one packet takes; and again and again a shorter one. */
  for (int i = 0; i < 100; i++) sizes[i] = 1;
  arrives_as_sent(stage, 100);
  for (int i = 0; i < 40; i++) sizes[i] = 1200;
  arrives_as_sent(stage, 40);
  for (int i = 0; i < 60; i++) sizes[i] = i % 3 == 2 ? 199 : 200;
  arrives_as_sent(stage, 60);
}

static void mixed_sizes(stage_t* stage) {
  static const int mixed[] = {0, 100, 100, 0, 0, 50, 100, 150, 200, 199, 198, 0, 1, 1, 1, 0, 2};
  for (int i = 0; i < 68; i++) sizes[i] = mixed[i % 17];
  arrives_as_sent(stage, 68);
}

static void large_datagrams(stage_t* stage) {
  static const int large[] = {9000, 9000, 9000, 20000, 20000, 100};
  memcpy(sizes, large, sizeof large);
  arrives_as_sent(stage, 6);
}

static int goes_first(int number) {
  return number < 40 ? number % 2 == 0 : number < 70;
}

static void two_destinations(stage_t* stage) {
  raw_t first = raw_socket(stage), second = raw_socket(stage);
  outbox_t outbox = {0};
  uv_udp_t* udp = bound_udp(stage);
  for (int i = 0; i < 100; i++) {
    ENSURE(mail(&outbox, i, udp, numbered(i, 60), 60, at(goes_first(i) ? first.address : second.address)) == 0);
  }
  UNTIL(outbox.count == 100);
  ENSURE(all_well(&outbox, 100));
  for (int i = 0; i < 100; i++) {
    letter_t letter = raw_recv(goes_first(i) ? &first : &second);
    ENSURE(number_in(letter.text) == i && letter.len == 60);
  }
  ENSURE(raw_rest(&first) == 0 && raw_rest(&second) == 0);
}

static void try_send_many(stage_t* stage) {
  static char data[100][128];
  raw_t peer = raw_socket(stage), other = raw_socket(stage);
  uv_buf_t buf[100][2], *bufs[100];
  unsigned nbufs[100];
  struct sockaddr* addrs[100];
  uv_udp_t* handles[] = {connected_udp(stage, peer.address), bound_udp(stage)};
  for (int i = 0; i < 100; i++) {
    int size = i < 50 ? 30 : i;
    memcpy(data[i], numbered(i, size), (size_t) size);
    /* Some in two buffers. */
    buf[i][0] = uv_buf_init(data[i], 10);
    buf[i][1] = uv_buf_init(data[i] + 10, (unsigned) size - 10);
    nbufs[i] = 2;
    if (i % 5 == 0) {
      buf[i][0] = uv_buf_init(data[i], (unsigned) size);
      nbufs[i] = 1;
    }
    bufs[i] = buf[i];
    addrs[i] = (struct sockaddr*) (i % 3 == 0 ? &other.address : &peer.address);
  }
  for (int to_addresses = 0; to_addresses < 2; to_addresses++) {
    int sent = 0;
    while (sent < 100) {
      int count = uv_udp_try_send2(handles[to_addresses], 100 - (unsigned) sent, bufs + sent, nbufs + sent,
                                   to_addresses ? addrs + sent : NULL, 0);
      ENSURE(count > 0 || count == UV_EAGAIN);
      if (count > 0) sent += count;
      settle(stage);
    }
    for (int i = 0; i < 100; i++) {
      letter_t letter = raw_recv(to_addresses && i % 3 == 0 ? &other : &peer);
      ENSURE(number_in(letter.text) == i && letter.len == (i < 50 ? 30 : i));
    }
    ENSURE(raw_rest(&peer) == 0 && raw_rest(&other) == 0);
  }
}

static int allocations;

static void alloc_for_sixteen(uv_handle_t* handle, size_t suggested, uv_buf_t* buf) {
  allocations++;
  inbox_alloc(handle, 16 * suggested, buf);
}

static void recv_large(stage_t* stage) {
  raw_t first = raw_socket(stage), second = raw_socket(stage);
  inbox_t inbox = {0};
  uv_udp_t* udp = bound_udp_ex(stage, UV_UDP_RECVMMSG);
  ENSURE(receive_with(udp, &inbox, alloc_for_sixteen, inbox_recv) == 0);
  for (int i = 0; i < 100; i++) raw_say(i % 7 == 0 ? &first : &second, numbered(i, 4), local_of(udp));
  UNTIL(inbox.count >= 100);
  settle(stage);
  ENSURE(inbox.count == 100 && inbox.lent == 0 && inbox.flags == (UV_UDP_MMSG_CHUNK | UV_UDP_MMSG_FREE));
  for (int i = 0; i < 100; i++) {
    ENSURE(number_in(inbox.letters[i].text) == i);
    ENSURE(same_address(inbox.letters[i].from, i % 7 == 0 ? first.address : second.address));
  }
  ENSURE(allocations < 50);
  note("100 in %d buffers", allocations);
}

static outbox_t answers;

static void echo_back(uv_udp_t* udp, ssize_t nread, const uv_buf_t* buf, const struct sockaddr* addr, unsigned flags) {
  (void) flags;
  if (addr != NULL) ENSURE(mail(&answers, answers.count, udp, buf->base, (int) nread, addr) == 0);
  free(buf->base);
}

static void echo(stage_t* stage) {
  inbox_t inbox = {0};
  outbox_t outbox = {0};
  uv_udp_t *server = bound_udp(stage), *client = connected_udp(stage, local_of(server));
  ENSURE(uv_udp_recv_start(server, alloc_some, echo_back) == 0 && receive(client, &inbox) == 0);
  for (int i = 0; i < 100; i++) ENSURE(mail(&outbox, i, client, numbered(i, 20 + i % 3), 20 + i % 3, NULL) == 0);
  UNTIL(inbox.count == 100 && answers.count == 100);
  ENSURE(count_well(&answers) == 100 && all_well(&outbox, 100));
  for (int i = 0; i < 100; i++) ENSURE(number_in(inbox.letters[i].text) == i && inbox.letters[i].len == 20 + i % 3);
}

/* Numbers that look random and are the same each time (Numerical Recipes, "quick and dirty"). */
static unsigned next_number(void) {
  static uint32_t state = 1;
  state = state * 1664525u + 1013904223u;
  return state >> 16;
}

static void whatever_arrives(stage_t* stage) {
  static char data[65536];
  raw_t peer = raw_socket(stage);
  inbox_t inbox = {0};
  uv_udp_t* udp = bound_udp(stage);
  ENSURE(receive(udp, &inbox) == 0);
  for (int round = 0; round < 200; round++) {
    static const unsigned most[] = {10, 1500, 9000, 65508};
    int len = (int) (next_number() % most[round % 4]);
    for (int i = 0; i < len; i++) data[i] = (char) next_number();
    raw_send(&peer, data, len, local_of(udp));
    UNTIL(inbox.count == round + 1);
    ENSURE(inbox.letters[round].len == len && inbox.letters[round].sum == sum_of(data, len));
  }
}

const rule_t batch_rules[] = {
    EACH("batch/equal-sizes-keep-their-boundaries", equal_sizes),
    EACH("batch/mixed-sizes-keep-their-boundaries", mixed_sizes),
    EACH("batch/large-datagrams-go-in-a-burst", large_datagrams),
    EACH("batch/a-burst-by-send-to-reaches-everybody", two_destinations),
    {"batch/try-send-batch-says-how-many-went", "uv_udp_try_send2 sends the first so many of a batch, in order, and says how many.", EACH_FAMILY,
     try_send_many},
    {"batch/recv-batch-start-delivers-in-order", "UV_UDP_RECVMMSG delivers the same datagrams with the same sources, many in one buffer.",
     EACH_FAMILY, recv_large},
    EACH("batch/a-handle-may-answer-from-its-callback", echo),
    EACH("batch/whatever-arrives-is-delivered", whatever_arrives),
    END,
};
