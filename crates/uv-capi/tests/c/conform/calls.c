/* The results of every call in every state of a handle, with null pointers and with bad arguments. */
#include <fcntl.h>

#include "conform.h"

/* The handle and the address that the calls below use. */
static test_t* test_of;
static uv_udp_t* udp;
static address_t to;

static void free_request(uv_udp_send_t* req, int status) {
  (void) status;
  free(req);
}

static int with_request(int with_address) {
  uv_udp_send_t* req = (uv_udp_send_t*) malloc(sizeof *req);
  uv_buf_t buf = text("x");
  int result = with_address ? send_to(req, udp, &buf, 1, at(to), free_request) : send_to_peer(req, udp, &buf, 1, free_request);
  if (result != 0) free(req);
  return result;
}

static int batch(int with_address) {
  uv_buf_t buf = text("x"), *bufs[] = {&buf};
  unsigned nbufs[] = {1};
  struct sockaddr* addrs[] = {(struct sockaddr*) &to};
  return uv_udp_try_send2(udp, 1, bufs, nbufs, with_address ? addrs : NULL, 0);
}

static int name_with(int (*call)(const uv_udp_t*, struct sockaddr*, int*)) {
  address_t name;
  int len = sizeof name;
  return call(udp, (struct sockaddr*) &name, &len);
}

static int buffer_size(int (*call)(uv_handle_t*, int*)) {
  int size = 0;
  return call((uv_handle_t*) udp, &size);
}

static int call_open(void) {
  int fd = socket(test_of->family, SOCK_DGRAM, 0), result = uv_udp_open(udp, fd);
  if (result != 0) CHECK(close(fd) == 0);
  return result;
}

static int call_membership(void) {
  int v4 = test_of->family == AF_INET;
  return uv_udp_set_membership(udp, v4 ? "239.9.9.9" : "ff02::9", v4 ? "127.0.0.1" : "::1%lo", UV_JOIN_GROUP);
}

static int call_fileno(void) {
  int fd;
  return uv_fileno((uv_handle_t*) udp, &fd);
}

#define CALL(name, call)                                                                      \
  static int name(void) {                                                                     \
    return call;                                                                              \
  }
CALL(call_bind, uv_udp_bind(udp, at(loopback_of(test_of->family, 0)), 0))
CALL(call_connect, uv_udp_connect(udp, at(to)))
CALL(call_disconnect, disconnect(udp))
CALL(call_send, with_request(0))
CALL(call_send_to, with_request(1))
CALL(call_try_send, try_text(udp, "x"))
CALL(call_try_send_to, try_text_to(udp, "x", to))
CALL(call_batch, batch(0))
CALL(call_batch_to, batch(1))
CALL(call_recv_start, uv_udp_recv_start(udp, counting_alloc, recording_recv))
CALL(call_recv_stop, uv_udp_recv_stop(udp))
CALL(call_getsockname, name_with(uv_udp_getsockname))
CALL(call_getpeername, name_with(uv_udp_getpeername))
CALL(call_ttl, uv_udp_set_ttl(udp, 64))
CALL(call_broadcast, uv_udp_set_broadcast(udp, 1))
CALL(call_multicast_loop, uv_udp_set_multicast_loop(udp, 1))
CALL(call_multicast_ttl, uv_udp_set_multicast_ttl(udp, 1))
CALL(call_multicast_interface, uv_udp_set_multicast_interface(udp, NULL))
CALL(call_send_buffer, buffer_size(uv_send_buffer_size))
CALL(call_recv_buffer, buffer_size(uv_recv_buffer_size))

#ifdef UV_UDP_V1
#define CONNECT_AGAIN UV_EISCONN
#else
#define CONNECT_AGAIN 0
#endif

/* The results on a handle without a socket, unconnected, connected, and closing or closed. */
static const struct {
  const char* name;
  int (*call)(void);
  int results[4];
} calls[] = {
    {"bind", call_bind, {0, UV_EINVAL, UV_EINVAL, UV_EBADF}},
    {"connect", call_connect, {0, 0, CONNECT_AGAIN, UV_EBADF}},
    {"disconnect", call_disconnect, {UV_ENOTCONN, UV_ENOTCONN, 0, UV_EBADF}},
    {"open", call_open, {0, UV_EBUSY, UV_EBUSY, UV_EBADF}},
    {"send", call_send, {UV_EDESTADDRREQ, UV_EDESTADDRREQ, 0, UV_EBADF}},
    {"send to an address", call_send_to, {0, 0, UV_EISCONN, UV_EBADF}},
    {"try_send", call_try_send, {UV_EDESTADDRREQ, UV_EDESTADDRREQ, 1, UV_EBADF}},
    {"try_send to an address", call_try_send_to, {1, 1, UV_EISCONN, UV_EBADF}},
    {"try_send2", call_batch, {UV_EDESTADDRREQ, UV_EDESTADDRREQ, 1, UV_EBADF}},
    {"try_send2 to an address", call_batch_to, {1, 1, UV_EISCONN, UV_EBADF}},
    {"recv_start", call_recv_start, {0, 0, 0, UV_EBADF}},
    {"recv_stop", call_recv_stop, {0, 0, 0, 0}},
    {"getsockname", call_getsockname, {UV_EBADF, 0, 0, UV_EBADF}},
    {"getpeername", call_getpeername, {UV_ENOTCONN, UV_ENOTCONN, 0, UV_EBADF}},
    {"fileno", call_fileno, {UV_EBADF, 0, 0, UV_EBADF}},
    {"set_ttl", call_ttl, {UV_EBADF, 0, 0, UV_EBADF}},
    {"set_broadcast", call_broadcast, {UV_EBADF, 0, 0, UV_EBADF}},
    {"set_multicast_loop", call_multicast_loop, {UV_EBADF, 0, 0, UV_EBADF}},
    {"set_multicast_ttl", call_multicast_ttl, {UV_EBADF, 0, 0, UV_EBADF}},
    {"set_multicast_interface", call_multicast_interface, {UV_EBADF, 0, 0, UV_EBADF}},
    {"set_membership", call_membership, {0, 0, 0, UV_EBADF}},
    {"send_buffer_size", call_send_buffer, {UV_EBADF, 0, 0, UV_EBADF}},
    {"recv_buffer_size", call_recv_buffer, {UV_EBADF, 0, 0, UV_EBADF}},
};

static void expect_result(size_t i, int state) {
  char words[100];
  int result = calls[i].call();
  snprintf(words, sizeof words, "%s in state %d returns %d", calls[i].name, state, result);
  if (result != calls[i].results[state]) FAIL(words);
}

static void results_by_state(test_t* test) {
  raw_t peer = raw_socket(test);
  received_t received = {0};
  test_of = test;
  to = peer.address;
  for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++) {
    for (int state = 0; state < 3; state++) {
      udp = state == 0 ? new_udp(test) : state == 1 ? bound_udp(test) : connected_udp(test, to);
      udp->data = &received;
      expect_result(i, state);
      uv_udp_recv_stop(udp);
      RUN_TO_END();
    }
  }
}

static int closed;

static void count_close(uv_handle_t* handle) {
  (void) handle;
  closed++;
}

static void closed_handles(test_t* test) {
  raw_t peer = raw_socket(test);
  uv_udp_t handles[3];
  test_of = test;
  to = peer.address;
  for (int i = 0; i < 3; i++) CHECK(uv_udp_init(&test->loop, &handles[i]) == 0);
  CHECK(uv_udp_bind(&handles[1], at(loopback_of(test->family, 0)), 0) == 0);
  CHECK(uv_udp_connect(&handles[2], at(to)) == 0);
  for (int i = 0; i < 3; i++) {
    udp = &handles[i];
    uv_close((uv_handle_t*) udp, count_close);
    for (int is_closed = 0; is_closed < 2; is_closed++) {
      CHECK(uv_is_closing((uv_handle_t*) udp) && !uv_is_active((uv_handle_t*) udp));
      for (size_t each = 0; each < sizeof calls / sizeof calls[0]; each++) expect_result(each, 3);
      uv_close((uv_handle_t*) udp, NULL);
      RUN_UNTIL(closed == i + 1);
    }
  }
  run_iterations(test);
  CHECK(closed == 3 && raw_drain(&peer) == 0);
}

/* The forms differ in this call: libuv 1.x requires a disconnect, the proposal replaces the peer. */
static void connecting_again(test_t* test) {
  raw_t first = raw_socket(test), second = raw_socket(test);
  udp = connected_udp(test, first.address);
  address_t local = local_of(udp);
#ifdef UV_UDP_V1
  CHECK(uv_udp_connect(udp, at(second.address)) == UV_EISCONN && uv_udp_connect(udp, at(first.address)) == UV_EISCONN);
  CHECK(same_address(peer_of(udp), first.address) && try_text(udp, "first") == 5);
  CHECK(uv_udp_connect(udp, NULL) == 0 && !is_connected(udp));
#else
  CHECK(try_text(udp, "first") == 5);
#endif
  CHECK(uv_udp_connect(udp, at(second.address)) == 0 && same_address(peer_of(udp), second.address));
  CHECK(same_address(local_of(udp), local) && try_text(udp, "second") == 6);
  EXPECT_ONLY_TEXTS(&first, "first");
  EXPECT_ONLY_TEXTS(&second, "second");
}

static void no_address_means_the_peer(test_t* test) {
  raw_t peer = raw_socket(test);
  uv_buf_t buf = text("batch"), *bufs[] = {&buf};
  unsigned nbufs[] = {1};
  struct sockaddr *none[] = {NULL}, *addrs[] = {(struct sockaddr*) &peer.address};
  completions_t completions = {0};
  udp = bound_udp(test);
  CHECK(uv_udp_try_send2(udp, 1, bufs, nbufs, none, 0) == UV_EDESTADDRREQ);
  CHECK(uv_udp_connect(udp, at(peer.address)) == 0);
  CHECK(uv_udp_try_send2(udp, 1, bufs, nbufs, addrs, 0) == UV_EISCONN);
  CHECK(uv_udp_try_send2(udp, 1, bufs, nbufs, none, 0) == 1 && uv_udp_try_send2(udp, 1, bufs, nbufs, NULL, 0) == 1);
  CHECK(try_text(udp, "try_send") == 8 && queue_text(&completions, 0, udp, "send") == 0);
  RUN_UNTIL(completions.count == 1);
  CHECK(all_succeeded(&completions, 1));
  EXPECT_ONLY_TEXTS(&peer, "batch", "batch", "try_send", "send");
}

static void null_pointers(test_t* test) {
  uv_buf_t buf = text("x"), *bufs[] = {&buf};
  unsigned nbufs[] = {1};
  uv_udp_send_t req;
  uv_timer_t timer;
  uv_async_t async;
  udp = bound_udp(test);
  to = local_of(udp);
  int value = 0;
  struct sockaddr* name = (struct sockaddr*) &to;
  const int results[] = {
      uv_loop_init(NULL), uv_loop_close(NULL), uv_run(NULL, UV_RUN_ONCE), uv_loop_fork(NULL),
      uv_udp_init(&test->loop, NULL), uv_udp_init(NULL, udp), uv_timer_init(NULL, &timer), uv_timer_init(&test->loop, NULL),
      uv_async_init(NULL, &async, NULL), uv_async_init(&test->loop, NULL, NULL), uv_async_send(NULL), uv_timer_stop(NULL),
      uv_udp_bind(udp, NULL, 0), uv_udp_bind(NULL, name, 0), uv_udp_connect(NULL, name), uv_udp_open(NULL, 0),
      send_to(NULL, udp, &buf, 1, name, NULL), send_to(&req, NULL, &buf, 1, name, NULL), try_send_to(NULL, &buf, 1, name),
      send_to_peer(NULL, udp, &buf, 1, NULL), try_send_to_peer(NULL, &buf, 1), uv_udp_try_send2(NULL, 1, bufs, nbufs, NULL, 0),
      uv_udp_try_send2(udp, 1, NULL, nbufs, NULL, 0), uv_udp_try_send2(udp, 1, bufs, NULL, NULL, 0),
      uv_udp_recv_start(udp, NULL, recording_recv), uv_udp_recv_start(udp, counting_alloc, NULL), uv_udp_recv_stop(NULL),
      uv_udp_getsockname(udp, NULL, &value), uv_udp_getsockname(udp, name, NULL), uv_udp_getsockname(NULL, name, &value),
      uv_recv_buffer_size((uv_handle_t*) udp, NULL), uv_recv_buffer_size(NULL, &value), uv_fileno(NULL, &value),
      uv_fileno((uv_handle_t*) udp, NULL), uv_udp_set_membership(udp, NULL, NULL, UV_JOIN_GROUP), uv_udp_set_ttl(NULL, 1),
#ifndef UV_UDP_V1
      uv_udp_connect(udp, NULL),
#endif
  };
  for (size_t i = 0; i < sizeof results / sizeof results[0]; i++) {
    char words[60];
    snprintf(words, sizeof words, "call %d returns %d", (int) i, results[i]);
    if (results[i] != UV_EINVAL) FAIL(words);
  }
  uv_close(NULL, NULL), uv_ref(NULL), uv_unref(NULL), uv_stop(NULL), uv_walk(NULL, NULL, NULL);
  CHECK(!uv_is_active(NULL) && !uv_loop_alive(NULL) && uv_udp_get_send_queue_size(NULL) == 0);
  CHECK(uv_recv_buffer_size((uv_handle_t*) udp, &value) == 0 && value > 0);
}

static void bad_arguments(test_t* test) {
  int v4 = test->family == AF_INET, negative = -5;
  const char *group = v4 ? "239.1.2.3" : "ff05::3", *host = v4 ? "127.0.0.1" : "::1";
  address_t any = loopback_of(test->family, 0), local = any;
  uv_buf_t buf = text("x"), *bufs[] = {&buf};
  unsigned nbufs[] = {1};
  uv_udp_t unused, *fresh = new_udp(test);
  local.any.ss_family = AF_UNIX;
  udp = bound_udp(test);
  address_t before = local_of(udp);
  const int results[] = {
      uv_udp_init_ex(&test->loop, &unused, 77), uv_udp_init_ex(&test->loop, &unused, AF_INET | 512),
      uv_udp_bind(fresh, at(any), 1u << 20), uv_udp_bind(fresh, at(any), UV_UDP_PARTIAL),
      uv_udp_bind(fresh, at(any), UV_UDP_RECVMMSG), uv_udp_bind(fresh, at(local), 0),
      uv_udp_bind(fresh, at(loopback_of(AF_INET, 0)), UV_UDP_IPV6ONLY), uv_udp_connect(fresh, at(local)),
      uv_udp_connect(fresh, at(any)), uv_udp_open_ex(fresh, 0, 1u << 20), try_text_to(fresh, "x", local),
      try_text_to(fresh, "x", any), uv_udp_try_send2(udp, 1, bufs, nbufs, NULL, 1), uv_udp_try_send2(udp, 0, bufs, nbufs, NULL, 0),
      uv_udp_set_ttl(udp, 0), uv_udp_set_ttl(udp, 256), uv_udp_set_ttl(udp, -1), uv_udp_set_multicast_ttl(udp, 256),
      uv_udp_set_multicast_ttl(udp, -1), uv_send_buffer_size((uv_handle_t*) udp, &negative),
      uv_udp_set_membership(udp, host, NULL, UV_JOIN_GROUP), uv_udp_set_membership(fresh, "no address", NULL, UV_JOIN_GROUP),
      uv_udp_set_membership(fresh, group, NULL, (uv_membership) 7), uv_udp_set_multicast_interface(udp, "no address"),
      uv_run(&test->loop, (uv_run_mode) 7), uv_timer_again(&(uv_timer_t){0}),
  };
  for (size_t i = 0; i < sizeof results / sizeof results[0]; i++) {
    char words[60];
    snprintf(words, sizeof words, "call %d returns %d", (int) i, results[i]);
    if (results[i] != UV_EINVAL) FAIL(words);
  }
  CHECK(!has_socket(fresh) && uv_udp_bind(fresh, at(before), 0) == UV_EADDRINUSE && !has_socket(fresh));
  CHECK(uv_udp_connect(udp, at(loopback_of(other_family(test), 9))) == UV_EAFNOSUPPORT);
  CHECK(try_text_to(udp, "x", loopback_of(other_family(test), 9)) == UV_EAFNOSUPPORT);
  CHECK(same_address(local_of(udp), before) && !is_connected(udp));
  CHECK((v4 ? option_of(udp, IPPROTO_IP, IP_TTL) : option_of(udp, IPPROTO_IPV6, IPV6_UNICAST_HOPS)) == 64);
}

/* Refused calls leave a handle alone that has a peer, queued requests and a receive callback. */
static void refused_calls_change_nothing(test_t* test) {
  static char large[65508];
  raw_t peer = raw_socket(test);
  received_t received = {0};
  completions_t completions = {0};
  uv_buf_t buf = text("x");
  uv_udp_send_t req;
  udp = connected_udp(test, peer.address);
  CHECK(start_receiving(udp, &received) == 0 && queue_text(&completions, 0, udp, "1") == 0 && queue_text(&completions, 1, udp, "2") == 0);
  address_t local = local_of(udp);
  int fd = fd_of(udp);
  CHECK(uv_udp_bind(udp, at(loopback_of(test->family, 0)), 0) < 0);
  CHECK(uv_udp_connect(udp, at(loopback_of(test->family, 0))) < 0);
  CHECK(uv_udp_connect(udp, at(loopback_of(other_family(test), 9))) < 0);
  CHECK(queue_text_to(&completions, 9, udp, "x", at(peer.address)) < 0 && queue_send(&completions, 9, udp, large, 65508, NULL) < 0);
  CHECK(send_to_peer(&req, udp, &buf, 0, NULL) < 0 && try_text(udp, "x") == UV_EAGAIN);
  CHECK(start_receiving(udp, &received) == UV_EALREADY && uv_udp_open(udp, 0) < 0 && uv_udp_set_ttl(udp, 0) < 0);
  CHECK(same_address(local_of(udp), local) && same_address(peer_of(udp), peer.address) && fd_of(udp) == fd);
  CHECK(udp->send_queue_count == 2 && udp->send_queue_size == 2 && uv_is_active((uv_handle_t*) udp));
  RUN_UNTIL(completions.count == 2);
  CHECK(all_succeeded(&completions, 2));
  EXPECT_ONLY_TEXTS(&peer, "1", "2");
  raw_send_text(&peer, "answer", local);
  RUN_UNTIL(received.count == 1);
}

static void name_lengths(test_t* test) {
  raw_t peer = raw_socket(test);
  address_t name, untouched;
  int whole = (int) length_of(peer.address), len = sizeof name, small = 2, negative = -1;
  udp = connected_udp(test, peer.address);
  CHECK(uv_udp_getpeername(udp, (struct sockaddr*) &name, &len) == 0 && len == whole && same_address(name, peer.address));
  memset(&name, '#', sizeof name);
  memset(&untouched, '#', sizeof untouched);
  CHECK(uv_udp_getpeername(udp, (struct sockaddr*) &name, &small) == 0 && small == whole);
  CHECK(memcmp((char*) &name + 2, (char*) &untouched + 2, sizeof name - 2) == 0);
  CHECK(uv_udp_getsockname(udp, (struct sockaddr*) &name, &negative) == UV_EINVAL);
}

const rule_t call_rules[] = {
    {"calls/have-their-results-in-every-state",
     "Every UDP call returns its own error or success without a socket, unconnected and connected.",
     EACH_FAMILY, results_by_state},
    EACH("closed/every-call-is-ebadf", closed_handles),
    EACH("connect/connected-connects-anew", connecting_again),
    EACH("proposal/no-address-means-the-peer", no_address_means_the_peer),
    {"input/null-pointers-are-einval",
     "A null pointer is UV_EINVAL, or has no effect in a call without a result.", EACH_FAMILY, null_pointers},
    {"input/bad-arguments-have-named-errors",
     "Unknown flags, numbers out of range and bad addresses are refused, each with its error.",
     EACH_FAMILY, bad_arguments},
    EACH("input/refused-calls-change-nothing", refused_calls_change_nothing),
    {"addresses/are-cut-to-the-callers-length",
     "uv_udp_getpeername stores the bytes that fit, and returns the whole length.", EACH_FAMILY, name_lengths},
    END,
};
