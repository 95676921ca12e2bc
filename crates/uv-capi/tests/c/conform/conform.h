/*
 * The conformance suite in C: what the project promises, as named rules, each with a loop and a process of its own.
 *
 * It is compiled twice, in the proposal's form and (with UV_UDP_V1) in libuv 1.x's. Rules that are promises of both speak
 * through send_to_peer() and its like, which hide the difference. A rule that has the same id as one of the Rust suite is
 * the same promise, whose sentence stands there; others have sentences of their own.
 */
#ifndef CONFORM_H
#define CONFORM_H

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uv_udp.h>

/* What a rule works with. */
typedef struct {
  uv_loop_t loop;
  /* AF_INET or AF_INET6. */
  int family;
} stage_t;

enum scope {
  /* A rule for IPv4 and for IPv6. */
  EACH_FAMILY,
  /* One that has nothing to do with the family. */
  NO_FAMILY,
  /* One that makes sense for IPv6 only. */
  ONLY_V6,
  /* One for both families, each in a network namespace of its own. */
  IN_NAMESPACE,
  /* The same for one that makes sense for IPv4 only. */
  V4_IN_NAMESPACE
};

typedef struct {
  const char* id;
  /* NULL if it is the one in the Rust suite. */
  const char* title;
  enum scope scope;
  void (*check)(stage_t* stage);
} rule_t;

/* What the tables of rules are made of. */
#define EACH(id, check) {id, NULL, EACH_FAMILY, check}
#define ONCE(id, check) {id, NULL, NO_FAMILY, check}
#define V6(id, check) {id, NULL, ONLY_V6, check}
#define ISOLATED(id, check) {id, NULL, IN_NAMESPACE, check}
#define ISOLATED_V4(id, check) {id, NULL, V4_IN_NAMESPACE, check}
#define END {NULL, NULL, EACH_FAMILY, NULL}

/* The rules of each file, up to one without an id. */
extern const rule_t proposal_rules[], policy_rules[], transfer_rules[], callback_rules[], request_rules[], order_rules[];
extern const rule_t peer_rules[], filter_rules[], local_rules[], error_rules[], report_rules[], option_rules[], socket_rules[];
extern const rule_t multicast_rules[], memory_rules[], fairness_rules[], input_rules[], life_rules[], close_rules[];
extern const rule_t fork_rules[], takeover_rules[], batch_rules[], route_rules[], pressure_rules[], loop_rules[], timer_rules[], thread_rules[], name_rules[];

/* ---- verdicts ---- */

/* Ends the rule: it does not hold. */
void broken(const char* file, int line, const char* what);
/* Ends the rule: it cannot be checked here. */
void skip(const char* reason);
/* Adds to what the report says beside the rule. */
void note(const char* format, ...);
/* What is being waited for, in case that it never comes. */
void waiting(const char* file, int line, const char* what);

#define FAIL(what) broken(__FILE__, __LINE__, what)
#define ENSURE(condition)                                                                     \
  do {                                                                                        \
    if (!(condition)) FAIL(#condition);                                                       \
  } while (0)
/* Runs the loop until the condition holds. */
#define UNTIL(condition)                                                                      \
  do {                                                                                        \
    waiting(__FILE__, __LINE__, #condition);                                                  \
    while (!(condition)) {                                                                    \
      if (uv_run(&stage->loop, UV_RUN_ONCE) == 0 && !(condition)) FAIL("nothing is left to do, but not: " #condition); \
    }                                                                                         \
  } while (0)
/* Runs the loop in one go until nothing keeps it alive, or something stops it. */
#define TO_THE_END()                                                                          \
  do {                                                                                        \
    waiting(__FILE__, __LINE__, "the loop comes to its end");                                 \
    ENSURE(uv_run(&stage->loop, UV_RUN_DEFAULT) >= 0);                                        \
  } while (0)
/* Some more iterations, in which nothing of note should happen. */
void settle(stage_t* stage);
/* How often the loop turns in so many milliseconds. */
int turns_in(stage_t* stage, unsigned ms);

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
/* libuv 1.x wants a handle to be disconnected before it is connected anew. */
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

/* An address as calls take it, good for the next few of these. */
const struct sockaddr* at(address_t address);
socklen_t length_of(address_t address);

address_t address_of(int family, const char* ip, int port);
/* The loopback or the wildcard address of a family. */
address_t loopback_of(int family, int port);
address_t wildcard_of(int family, int port);
address_t local_of(const uv_udp_t* udp);
address_t peer_of(const uv_udp_t* udp);
int port_of(address_t address);
address_t with_port(address_t address, int port);
int is_wildcard(address_t address);
int same_ip(address_t a, address_t b);
int same_address(address_t a, address_t b);
static inline int other_family(const stage_t* stage) {
  return stage->family == AF_INET ? AF_INET6 : AF_INET;
}
int has_family(int family);

/* ---- handles ---- */

/* A handle in memory that is given back in its close callback. */
uv_udp_t* new_udp(stage_t* stage);
uv_udp_t* new_udp_ex(stage_t* stage, unsigned flags);
/* One that is bound to the loopback or to the wildcard address. */
uv_udp_t* bound_udp(stage_t* stage);
uv_udp_t* bound_udp_ex(stage_t* stage, unsigned flags);
uv_udp_t* wildcard_udp(stage_t* stage);
/* One that has a peer. */
uv_udp_t* connected_udp(stage_t* stage, address_t peer);
/* Closes a handle of new_udp(). */
void close_udp(uv_udp_t* udp);
int is_connected(const uv_udp_t* udp);
int has_socket(const uv_udp_t* udp);
int fd_of(const uv_udp_t* udp);

static inline uv_buf_t text(const char* bytes) {
  return uv_buf_init((char*) bytes, (unsigned) strlen(bytes));
}
/* Tries to send a text: the number of bytes, or the error. */
int say(uv_udp_t* udp, const char* words);
int say_to(uv_udp_t* udp, const char* words, address_t to);

/* A datagram of so many bytes that begins with its number, good for the next few of these. */
const char* numbered(int number, int len);
int number_in(const char* bytes);

/* ---- receiving ---- */

#define ROOM 256
#define TEXT 24

typedef struct {
  /* The beginning of each, as a string. */
  char text[TEXT];
  int len;
  /* Of all of it, so that two are known to be the same. */
  unsigned sum;
  address_t from;
} letter_t;

typedef struct {
  /* The first so many datagrams. */
  letter_t letters[ROOM];
  int count;
  /* Calls with nothing. */
  int ends;
  /* The last error, and how many there were. */
  int error;
  int errors;
  /* Buffers that are with the program's callbacks. */
  int lent;
  unsigned flags;
} inbox_t;

unsigned sum_of(const char* bytes, int len);
/* Receives into an inbox, whose address goes into udp->data; also with callbacks of the rule's own. */
int receive(uv_udp_t* udp, inbox_t* inbox);
int receive_with(uv_udp_t* udp, inbox_t* inbox, uv_alloc_cb alloc, uv_udp_recv_cb recv);
void inbox_alloc(uv_handle_t* handle, size_t suggested, uv_buf_t* buf);
void inbox_recv(uv_udp_t* udp, ssize_t nread, const uv_buf_t* buf, const struct sockaddr* addr, unsigned flags);
/* For receive callbacks without an inbox: memory that they free, and memory that is the same each time. */
void alloc_some(uv_handle_t* handle, size_t suggested, uv_buf_t* buf);
void alloc_the_same(uv_handle_t* handle, size_t suggested, uv_buf_t* buf);
/* Enters what a callback of the rule's own got. */
void inbox_enter(inbox_t* inbox, ssize_t nread, const uv_buf_t* buf, const struct sockaddr* addr);
/* Whether an inbox has these texts, and no more. */
int has_texts(const inbox_t* inbox, const char* const* texts);
#define HAS(inbox, ...) has_texts(inbox, (const char* const[]){__VA_ARGS__, NULL})
/* Whether its last text is this one. */
int ends_with(const inbox_t* inbox, const char* last);

/* ---- sending ---- */

/* Completions, in their order. */
typedef struct {
  int order[ROOM];
  int status[ROOM];
  int count;
} outbox_t;

typedef struct {
  uv_udp_send_t req;
  outbox_t* outbox;
  int number;
} mail_t;

/* Sends with a request that is given back in its callback; number is noted in the outbox. */
int mail(outbox_t* outbox, int number, uv_udp_t* udp, const char* bytes, int len, const struct sockaddr* to);
int mail_to_peer(outbox_t* outbox, int number, uv_udp_t* udp, const char* words);
int mail_to(outbox_t* outbox, int number, uv_udp_t* udp, const char* words, const struct sockaddr* to);
/* Whether the completions are those of 0, 1, 2 and so on, so many, and all of them well. */
int all_well(const outbox_t* outbox, int count);
/* Whether they are in order, and each well or canceled; and how many were well. */
int in_order(const outbox_t* outbox, int count);
int count_well(const outbox_t* outbox);

/* ---- plain sockets ---- */

/* A plain socket, as the other side. It waits, up to a deadline. */
typedef struct {
  int fd;
  address_t address;
} raw_t;

raw_t raw_at(address_t where);
raw_t raw_socket(stage_t* stage);
void raw_send(const raw_t* raw, const char* bytes, int len, address_t to);
void raw_say(const raw_t* raw, const char* words, address_t to);
/* The next datagram: its length, its beginning, and who sent it. */
letter_t raw_recv(const raw_t* raw);
/* The numbers of what is there now. */
int raw_numbers(const raw_t* raw, int* numbers, int room);
/* How many datagrams are there now, which are lost with that. */
int raw_rest(const raw_t* raw);
void raw_gets(const char* file, int line, const raw_t* raw, const char* const* texts);
/* The next texts are these. */
#define GETS(raw, ...) raw_gets(__FILE__, __LINE__, raw, (const char* const[]){__VA_ARGS__, NULL})
/* And there are no others. */
#define GETS_ONLY(raw, ...)                                                                   \
  do {                                                                                        \
    GETS(raw, __VA_ARGS__);                                                                   \
    if (raw_rest(raw) != 0) FAIL(#raw " gets nothing else");                                  \
  } while (0)
/* What went well is what arrived: each datagram went where it was to go, or nowhere. */
void there_or_nowhere(const char* file, int line, const outbox_t* outbox, int count, const raw_t* raw);
#define THERE_OR_NOWHERE(outbox, count, raw) there_or_nowhere(__FILE__, __LINE__, outbox, count, raw)

/* An address on loopback where nobody listens, and nobody else can come to listen by chance: a socket has the port, but is
 * connected to itself. */
address_t dead_address(stage_t* stage);
/* From now on somebody listens there. */
raw_t revive(address_t dead);

/* ---- networks ---- */

/* Moves this process into a network namespace with nothing but loopback, or skips the rule. */
void enter_namespace(void);
/* Runs `ip` here, or at the far end of the cable. */
void ip(const char* arguments);
void far_ip(const char* arguments);
/* Gives this machine an address beside the loopback address, and waits until it is reached; that address. */
void add_second_address(const stage_t* stage);
address_t second_address(const stage_t* stage, int port);
/* Lays a cable to a second namespace. */
void cable(stage_t* stage);
/* Makes a router of the far end, and sends everything there that has no other way. */
void router(stage_t* stage);
/* The near and the far end, and an address beyond the cable where nobody answers until wake(). */
address_t near_of(int family, int port);
address_t far_of(int family, int port);
address_t silent_of(int family, int port);
raw_t far_raw(address_t where);
/* The number of the far end, there. */
unsigned far_index(void);
void wake(stage_t* stage);
/* Sends of this namespace that found no buffer space so far. */
long sends_without_buffers(int family);

#endif /* CONFORM_H */
