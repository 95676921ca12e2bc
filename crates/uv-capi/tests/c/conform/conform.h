/*
 * The conformance suite in C: the promises that only the C face can break, as named rules.
 *
 * These are memory ownership, structures, both forms of the calls, error values, threads and fork. The Rust suite checks
 * everything else. Each rule runs on a loop and in a process of its own.
 *
 * The program is compiled twice: in the proposal's form and, with UV_UDP_V1, in libuv 1.x's form. Rules for both forms use
 * send_to_peer() and its siblings below. A rule without a promise has its promise in the Rust rule of the same id.
 */
#ifndef CONFORM_H
#define CONFORM_H

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uv_udp.h>

/* The parameters of a rule. */
typedef struct {
  uv_loop_t loop;
  /* AF_INET or AF_INET6. */
  int family;
} test_t;

enum scope {
  /* Runs for IPv4 and for IPv6. */
  EACH_FAMILY,
  /* Runs once: addresses make no difference. */
  NO_FAMILY,
  /* Runs for both families, each in a new network namespace. */
  IN_NAMESPACE
};

typedef struct {
  const char* id;
  /* NULL if the Rust suite has a rule of the same id, with the promise. */
  const char* promise;
  enum scope scope;
  void (*check)(test_t* test);
} rule_t;

/* Entries of a rule table for promises of the Rust suite. */
#define EACH(id, check) {id, NULL, EACH_FAMILY, check}
#define ONCE(id, check) {id, NULL, NO_FAMILY, check}
#define ISOLATED(id, check) {id, NULL, IN_NAMESPACE, check}
#define END {NULL, NULL, EACH_FAMILY, NULL}

/* The rule tables, one per file; END is the last entry. */
extern const rule_t call_rules[], payload_rules[], request_rules[], delivery_rules[], memory_rules[], option_rules[];
extern const rule_t socket_rules[], multicast_rules[], close_rules[], life_rules[], loop_rules[], timer_rules[];
extern const rule_t thread_rules[], fork_rules[], name_rules[];

/* ---- results ---- */

/* Ends the rule as failed. */
void fail(const char* file, int line, const char* what);
/* Ends the rule as skipped. */
void skip(const char* reason);
/* Adds a measurement to the report. */
void note(const char* format, ...);
/* Names the current wait for the report of a timeout. */
void waiting(const char* file, int line, const char* what);

#define FAIL(what) fail(__FILE__, __LINE__, what)
#define CHECK(condition)                                                                      \
  do {                                                                                        \
    if (!(condition)) FAIL(#condition);                                                       \
  } while (0)
/* Runs the loop until the condition holds. */
#define RUN_UNTIL(condition)                                                                  \
  do {                                                                                        \
    waiting(__FILE__, __LINE__, #condition);                                                  \
    while (!(condition)) {                                                                    \
      if (uv_run(&test->loop, UV_RUN_ONCE) == 0 && !(condition)) FAIL("the loop ended before: " #condition); \
    }                                                                                         \
  } while (0)
/* Runs the loop until it is not alive, or is stopped. */
#define RUN_TO_END()                                                                          \
  do {                                                                                        \
    waiting(__FILE__, __LINE__, "the end of the loop");                                       \
    CHECK(uv_run(&test->loop, UV_RUN_DEFAULT) >= 0);                                          \
  } while (0)
/* Runs 50 iterations without waiting, to catch late callbacks. */
void run_iterations(test_t* test);

/* ---- both forms ---- */

#ifdef UV_UDP_V1
static inline int send_to_peer(uv_udp_send_t* req, uv_udp_t* udp, const uv_buf_t* bufs, unsigned n, uv_udp_send_cb cb) {
  return uv_udp_send(req, udp, bufs, n, NULL, cb);
}
static inline int try_send_to_peer(uv_udp_t* udp, const uv_buf_t* bufs, unsigned n) {
  return uv_udp_try_send(udp, bufs, n, NULL);
}
static inline int send_to(uv_udp_send_t* req, uv_udp_t* udp, const uv_buf_t* bufs, unsigned n, const struct sockaddr* to,
                          uv_udp_send_cb cb) {
  return uv_udp_send(req, udp, bufs, n, to, cb);
}
static inline int try_send_to(uv_udp_t* udp, const uv_buf_t* bufs, unsigned n, const struct sockaddr* to) {
  return uv_udp_try_send(udp, bufs, n, to);
}
static inline int disconnect(uv_udp_t* udp) {
  return uv_udp_connect(udp, NULL);
}
/* libuv 1.x requires a disconnect before the next connect. */
static inline int connect_anew(uv_udp_t* udp, const struct sockaddr* to) {
  int result = disconnect(udp);
  return result == 0 ? uv_udp_connect(udp, to) : result;
}
#else
static inline int send_to_peer(uv_udp_send_t* req, uv_udp_t* udp, const uv_buf_t* bufs, unsigned n, uv_udp_send_cb cb) {
  return uv_udp_send(req, udp, bufs, n, cb);
}
static inline int try_send_to_peer(uv_udp_t* udp, const uv_buf_t* bufs, unsigned n) {
  return uv_udp_try_send(udp, bufs, n);
}
static inline int send_to(uv_udp_send_t* req, uv_udp_t* udp, const uv_buf_t* bufs, unsigned n, const struct sockaddr* to,
                          uv_udp_send_cb cb) {
  return uv_udp_sendto(req, udp, bufs, n, to, cb);
}
static inline int try_send_to(uv_udp_t* udp, const uv_buf_t* bufs, unsigned n, const struct sockaddr* to) {
  return uv_udp_try_sendto(udp, bufs, n, to);
}
static inline int disconnect(uv_udp_t* udp) {
  return uv_udp_disconnect(udp);
}
static inline int connect_anew(uv_udp_t* udp, const struct sockaddr* to) {
  return uv_udp_connect(udp, to);
}
#endif

/* ---- addresses ---- */

typedef struct {
  struct sockaddr_storage any;
} address_t;

/* A pointer to a copy of the address, which the eighth call after this one overwrites. */
const struct sockaddr* at(address_t address);
socklen_t length_of(address_t address);

address_t address_of(int family, const char* ip, int port);
address_t loopback_of(int family, int port);
address_t wildcard_of(int family, int port);
/* The handle's local address and its peer; all zeros if it has none. */
address_t local_of(const uv_udp_t* udp);
address_t peer_of(const uv_udp_t* udp);
int port_of(address_t address);
int same_address(address_t a, address_t b);
static inline int other_family(const test_t* test) {
  return test->family == AF_INET ? AF_INET6 : AF_INET;
}
int has_family(int family);

/* ---- handles ---- */

/* A handle in allocated memory, which close_udp() or the end of the rule frees. */
uv_udp_t* new_udp(test_t* test);
uv_udp_t* new_udp_ex(test_t* test, unsigned flags);
/* Bound to the loopback address. */
uv_udp_t* bound_udp(test_t* test);
uv_udp_t* bound_udp_ex(test_t* test, unsigned flags);
uv_udp_t* connected_udp(test_t* test, address_t peer);
void close_udp(uv_udp_t* udp);
int is_connected(const uv_udp_t* udp);
/* The descriptor, or -1 without a socket. */
int fd_of(const uv_udp_t* udp);
static inline int has_socket(const uv_udp_t* udp) {
  return fd_of(udp) >= 0;
}
/* A socket option that is an integer. */
int option_of(const uv_udp_t* udp, int level, int name);

static inline uv_buf_t text(const char* bytes) {
  return uv_buf_init((char*) bytes, (unsigned) strlen(bytes));
}
/* Sends a text with a try_send call: its result. */
int try_text(uv_udp_t* udp, const char* words);
int try_text_to(uv_udp_t* udp, const char* words, address_t to);

/* A datagram of len bytes that begins with its number; the second call after this one overwrites it. */
const char* numbered(int number, int len);
int number_in(const char* bytes);

/* ---- receiving ---- */

#define MAX_RECORDED 256
#define TEXT 24

typedef struct {
  /* The first bytes, as a string. */
  char text[TEXT];
  int len;
  /* A checksum of all bytes (FNV-1a). */
  unsigned sum;
  address_t from;
} datagram_t;

/* The calls of a receive callback. */
typedef struct {
  datagram_t datagrams[MAX_RECORDED];
  int count;
  /* Calls with 0 bytes and no address. */
  int empty_reads;
  /* The last error, and the number of errors. */
  int error;
  int errors;
  /* Buffers that alloc_cb supplied and recv_cb has not returned. */
  int lent;
  /* All flags, combined. */
  unsigned flags;
} received_t;

unsigned sum_of(const char* bytes, int len);
/* Records into `received`, whose address goes into udp->data; optionally with other callbacks. */
int start_receiving(uv_udp_t* udp, received_t* received);
int start_receiving_with(uv_udp_t* udp, received_t* received, uv_alloc_cb alloc, uv_udp_recv_cb recv);
void counting_alloc(uv_handle_t* handle, size_t suggested, uv_buf_t* buf);
void recording_recv(uv_udp_t* udp, ssize_t nread, const uv_buf_t* buf, const struct sockaddr* addr, unsigned flags);
/* Buffers for callbacks that record nothing: from malloc(), or always the same one. */
void alloc_by_malloc(uv_handle_t* handle, size_t suggested, uv_buf_t* buf);
void alloc_static(uv_handle_t* handle, size_t suggested, uv_buf_t* buf);
/* Records one call. */
void record(received_t* received, ssize_t nread, const uv_buf_t* buf, const struct sockaddr* addr);
int has_texts(const received_t* received, const char* const* texts);
/* Whether these texts, and no others, were received in this order. */
#define RECEIVED(received, ...) has_texts(received, (const char* const[]){__VA_ARGS__, NULL})
/* Whether the last text is this one. */
int ends_with_text(const received_t* received, const char* last);

/* ---- sending ---- */

/* Completions, in the order of the callbacks. */
typedef struct {
  int order[MAX_RECORDED];
  int status[MAX_RECORDED];
  int count;
} completions_t;

/* Sends with an allocated request, whose callback records the number and frees the request. */
int queue_send(completions_t* completions, int number, uv_udp_t* udp, const char* bytes, int len, const struct sockaddr* to);
int queue_text(completions_t* completions, int number, uv_udp_t* udp, const char* words);
int queue_text_to(completions_t* completions, int number, uv_udp_t* udp, const char* words, const struct sockaddr* to);
/* Whether requests 0 to count - 1 completed in this order, each with success or UV_ECANCELED. */
int in_order(const completions_t* completions, int count);
int count_succeeded(const completions_t* completions);
/* The same, all with success. */
int all_succeeded(const completions_t* completions, int count);

/* ---- plain sockets ---- */

/* A blocking socket without the library, with a receive deadline. */
typedef struct {
  int fd;
  address_t address;
} raw_t;

raw_t raw_at(address_t where);
raw_t raw_socket(test_t* test);
void raw_send(const raw_t* raw, const char* bytes, int len, address_t to);
void raw_send_text(const raw_t* raw, const char* words, address_t to);
datagram_t raw_recv(const raw_t* raw);
/* Discards the datagrams in the receive buffer, and counts them. */
int raw_drain(const raw_t* raw);
void expect_texts(const char* file, int line, const raw_t* raw, const char* const* texts);
/* The next datagrams are these texts, and there are no others. */
#define EXPECT_ONLY_TEXTS(raw, ...)                                                           \
  do {                                                                                        \
    expect_texts(__FILE__, __LINE__, raw, (const char* const[]){__VA_ARGS__, NULL});          \
    if (raw_drain(raw) != 0) FAIL(#raw " receives nothing else");                             \
  } while (0)

/* A loopback address that answers with "port unreachable". A socket that is connected to itself holds the port. */
address_t refusing_address(test_t* test);

/* ---- networks ---- */

/* Moves this process into a network namespace that has only loopback, or skips the rule. */
void enter_namespace(void);
void ip(const char* arguments);
/* Adds a veth device `near` with the first of these addresses. The second one never answers. */
void add_cable(test_t* test);
address_t near_of(int family, int port);
address_t silent_of(int family, int port);

#endif /* CONFORM_H */
