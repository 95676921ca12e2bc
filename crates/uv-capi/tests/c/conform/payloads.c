/* Payloads: buffers are gathered, sizes are limited, and bad ones are refused by every send. */
#include "conform.h"

static char large[65508];
static uv_buf_t many[1025];

static int completed;

static void count_success(uv_udp_send_t* req, int status) {
  (void) req;
  CHECK(status == 0);
  completed++;
}

/* Sends the payload with every call on handles with and without a peer. The second of two requests is always queued. */
static void sends_whole(test_t* test, uv_buf_t* bufs, unsigned count, const char* bytes, int len) {
  raw_t peer = raw_socket(test);
  const struct sockaddr* to = at(peer.address);
  uv_udp_t *connected = connected_udp(test, peer.address), *unconnected = bound_udp(test);
  struct sockaddr* addrs[] = {(struct sockaddr*) &peer.address};
  uv_udp_send_t reqs[4];
  uv_buf_t* batch[] = {bufs};
  unsigned counts[] = {count};
  completed = 0;
  CHECK(try_send_to_peer(connected, bufs, count) == len && try_send_to(unconnected, bufs, count, to) == len);
  CHECK(raw_recv(&peer).len == len && raw_recv(&peer).len == len);
  CHECK(uv_udp_try_send2(connected, 1, batch, counts, NULL, 0) == 1);
  CHECK(uv_udp_try_send2(unconnected, 1, batch, counts, addrs, 0) == 1);
  for (int i = 0; i < 2; i++) {
    datagram_t datagram = raw_recv(&peer);
    CHECK(datagram.len == len && datagram.sum == sum_of(bytes, len));
  }
  for (int round = 0; round < 2; round++) {
    for (int i = 2 * round; i < 2 * round + 2; i++) {
      CHECK((round == 0 ? send_to_peer(&reqs[i], connected, bufs, count, count_success)
                        : send_to(&reqs[i], unconnected, bufs, count, to, count_success)) == 0);
    }
    RUN_UNTIL(completed == 2 * round + 2);
    for (int i = 0; i < 2; i++) {
      datagram_t datagram = raw_recv(&peer);
      CHECK(datagram.len == len && datagram.sum == sum_of(bytes, len));
    }
  }
  CHECK(raw_drain(&peer) == 0);
}

static void gathered(test_t* test) {
  static char bytes[1024];
  /* Around the 16 buffers that need no allocation, and the most that a message takes. */
  static const unsigned counts[] = {1, 2, 16, 17, 1024};
  uv_buf_t with_empty[] = {text("the "), uv_buf_init(NULL, 0), text("whole "), text("datagram")};
  uv_buf_t empty[] = {uv_buf_init(NULL, 0), text("")}, whole = uv_buf_init(large, 65507);
  for (int i = 0; i < 1024; i++) {
    bytes[i] = (char) ('a' + i % 26);
    many[i] = uv_buf_init(&bytes[i], 1);
  }
  for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) sends_whole(test, many, counts[i], bytes, (int) counts[i]);
  sends_whole(test, with_empty, 4, "the whole datagram", 18);
  sends_whole(test, empty, 1, "", 0);
  sends_whole(test, empty, 2, "", 0);
  memset(large, 'x', sizeof large);
  sends_whole(test, &whole, 1, large, 65507);
}

/* Every send refuses the payload, and nothing is sent. */
static void is_refused(test_t* test, uv_buf_t* bufs, unsigned count, int error) {
  raw_t peer = raw_socket(test);
  const struct sockaddr* to = at(peer.address);
  uv_udp_t *connected = connected_udp(test, peer.address), *unconnected = bound_udp(test), *fresh = new_udp(test);
  struct sockaddr *addrs[] = {(struct sockaddr*) &peer.address, (struct sockaddr*) &peer.address};
  uv_udp_send_t req;
  uv_buf_t good = text("good"), *batch[] = {&good, bufs};
  unsigned counts[] = {1, count};
  CHECK(send_to_peer(&req, connected, bufs, count, NULL) == error && try_send_to_peer(connected, bufs, count) == error);
  CHECK(uv_udp_try_send2(connected, 2, batch, counts, NULL, 0) == error);
  CHECK(send_to(&req, unconnected, bufs, count, to, NULL) == error && try_send_to(unconnected, bufs, count, to) == error);
  CHECK(uv_udp_try_send2(unconnected, 2, batch, counts, addrs, 0) == error);
  CHECK(try_send_to(fresh, bufs, count, to) == error && !has_socket(fresh));
  run_iterations(test);
  CHECK(connected->send_queue_count == 0 && unconnected->send_queue_count == 0 && raw_drain(&peer) == 0);
}

static void refused(test_t* test) {
  uv_buf_t buf = text("x"), whole = uv_buf_init(large, 65508), halves[] = {uv_buf_init(large, 65507), text("x")};
  uv_buf_t nowhere[] = {text("x"), uv_buf_init(NULL, 1)};
  for (int i = 0; i < 1025; i++) many[i] = text("x");
  is_refused(test, &buf, 0, UV_EINVAL);
  is_refused(test, NULL, 1, UV_EINVAL);
  is_refused(test, many, 1025, UV_EMSGSIZE);
  is_refused(test, &whole, 1, UV_EMSGSIZE);
  is_refused(test, halves, 2, UV_EMSGSIZE);
  is_refused(test, &nowhere[1], 1, UV_EFAULT);
  is_refused(test, nowhere, 2, UV_EFAULT);
}

/* A bad destination in a batch, beside good ones. */
static void bad_destinations(test_t* test) {
  raw_t peer = raw_socket(test);
  uv_udp_t *connected = connected_udp(test, peer.address), *unconnected = bound_udp(test);
  address_t port_0 = loopback_of(test->family, 0), foreign = loopback_of(other_family(test), 9);
  uv_buf_t good = text("good"), *bufs[] = {&good, &good, &good};
  unsigned ones[] = {1, 1, 1};
  struct sockaddr *to = (struct sockaddr*) &peer.address, *only_third[] = {NULL, NULL, to}, *none[] = {to, NULL, to};
  struct sockaddr *bad_port[] = {to, (struct sockaddr*) &port_0, to}, *bad_family[] = {to, to, (struct sockaddr*) &foreign};
  CHECK(uv_udp_try_send2(connected, 3, bufs, ones, only_third, 0) == UV_EISCONN);
  CHECK(uv_udp_try_send2(unconnected, 3, bufs, ones, none, 0) == UV_EDESTADDRREQ);
  CHECK(uv_udp_try_send2(unconnected, 3, bufs, ones, bad_port, 0) == UV_EINVAL);
  CHECK(uv_udp_try_send2(unconnected, 3, bufs, ones, bad_family, 0) == UV_EAFNOSUPPORT);
  CHECK(raw_drain(&peer) == 0);
}

/* Each datagram of a batch has its own buffers and its own address. */
static void whole_batch(test_t* test) {
  static char data[100][128];
  raw_t peer = raw_socket(test), other = raw_socket(test);
  uv_buf_t buf[100][2], *bufs[100];
  unsigned nbufs[100];
  struct sockaddr* addrs[100];
  uv_udp_t* handles[] = {connected_udp(test, peer.address), bound_udp(test)};
  for (int i = 0; i < 100; i++) {
    int size = i < 50 ? 30 : i, split = i % 5 == 0 ? size : 10;
    memcpy(data[i], numbered(i, size), (size_t) size);
    buf[i][0] = uv_buf_init(data[i], (unsigned) split);
    buf[i][1] = uv_buf_init(data[i] + split, (unsigned) (size - split));
    nbufs[i] = i % 5 == 0 ? 1 : 2;
    bufs[i] = buf[i];
    addrs[i] = (struct sockaddr*) (i % 3 == 0 ? &other.address : &peer.address);
  }
  for (int with_addresses = 0; with_addresses < 2; with_addresses++) {
    int sent = 0;
    while (sent < 100) {
      int count = uv_udp_try_send2(handles[with_addresses], 100 - (unsigned) sent, bufs + sent, nbufs + sent,
                                   with_addresses ? addrs + sent : NULL, 0);
      CHECK(count > 0 || count == UV_EAGAIN);
      if (count > 0) sent += count;
      run_iterations(test);
    }
    for (int i = 0; i < 100; i++) {
      datagram_t datagram = raw_recv(with_addresses && i % 3 == 0 ? &other : &peer);
      CHECK(number_in(datagram.text) == i && datagram.len == (i < 50 ? 30 : i));
    }
    CHECK(raw_drain(&peer) == 0 && raw_drain(&other) == 0);
  }
}

const rule_t payload_rules[] = {
    EACH("proposal/buffers-leave-as-one-datagram", gathered),
    {"input/bad-payloads-are-refused-by-every-send",
     "No buffers are UV_EINVAL, more than 1,024 or 65,507 bytes UV_EMSGSIZE, bytes at NULL UV_EFAULT, and nothing is sent.",
     EACH_FAMILY, refused},
    EACH("input/bad-input-in-a-batch-sends-nothing-of-it", bad_destinations),
    {"batch/try-send-batch-says-how-many-went",
     "uv_udp_try_send2 sends the first datagrams of a batch, in order, and returns their number.",
     EACH_FAMILY, whole_batch},
    END,
};
