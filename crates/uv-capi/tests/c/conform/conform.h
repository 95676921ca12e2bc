/*
 * The conformance suite in C: what the project promises, as named rules, each with a loop of its own.
 *
 * It is compiled twice, in the proposal's form and (with UV_UDP_V1) in libuv 1.x's. Rules that are promises of both speak
 * through send_to_peer() and its like, which hide the difference.
 */
#ifndef CONFORM_H
#define CONFORM_H

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

/* What does not hold, or NULL. */
typedef const char* verdict_t;
#define HOLDS NULL

typedef struct {
  const char* id;
  const char* title;
  verdict_t (*check)(stage_t* stage);
} rule_t;

/* Ends a rule that does not hold. */
#define ENSURE(condition)                                                                     \
  do {                                                                                        \
    if (!(condition)) return #condition;                                                      \
  } while (0)

/* The rules of each file, up to one without an id. */
extern const rule_t policy_rules[];
extern const rule_t request_rules[];
extern const rule_t receive_rules[];
extern const rule_t connection_rules[];
extern const rule_t life_rules[];

/* ---- both forms ---- */

#ifdef UV_UDP_V1
static inline int send_to_peer(uv_udp_send_t* req, uv_udp_t* udp, const uv_buf_t* bufs, unsigned n, uv_udp_send_cb cb) {
  return uv_udp_send(req, udp, bufs, n, NULL, cb);
}
static inline int try_send_to_peer(uv_udp_t* udp, const uv_buf_t* bufs, unsigned n) {
  return uv_udp_try_send(udp, bufs, n, NULL);
}
static inline int send_to(uv_udp_send_t* req, uv_udp_t* udp, const uv_buf_t* bufs, unsigned n, const struct sockaddr* to, uv_udp_send_cb cb) {
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
static inline int send_to(uv_udp_send_t* req, uv_udp_t* udp, const uv_buf_t* bufs, unsigned n, const struct sockaddr* to, uv_udp_send_cb cb) {
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

/* The loopback or the wildcard address of a family. */
address_t loopback_of(int family, int port);
address_t wildcard_of(int family, int port);
address_t local_of(const uv_udp_t* udp);
int port_of(address_t address);
int is_wildcard(address_t address);
int same_address(address_t a, address_t b);

/* ---- handles ---- */

/* A handle in memory that is given back in its close callback. */
uv_udp_t* new_udp(stage_t* stage);
/* One that is bound to the loopback address. */
uv_udp_t* bound_udp(stage_t* stage);
/* Closes a handle of new_udp(). */
void close_udp(uv_udp_t* udp);
/* Runs the loop until *what reaches count, or nothing is left to do. */
void run_until(stage_t* stage, const int* what, int count);
/* Runs every iteration that has something to do without waiting, and a few more. */
void settle(stage_t* stage);

static inline uv_buf_t text(const char* bytes) {
  return uv_buf_init((char*) bytes, (unsigned) strlen(bytes));
}

/* ---- receiving ---- */

typedef struct {
  /* The first so many datagrams, as strings, and who sent them. */
  char data[128][16];
  address_t from[128];
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

/* Receives into an inbox, whose address goes into udp->data. */
int receive(uv_udp_t* udp, inbox_t* inbox);
void inbox_alloc(uv_handle_t* handle, size_t suggested, uv_buf_t* buf);
void inbox_recv(uv_udp_t* udp, ssize_t nread, const uv_buf_t* buf, const struct sockaddr* addr, unsigned flags);

/* ---- sending ---- */

/* Completions, in their order. */
typedef struct {
  int order[256];
  int status[256];
  int count;
} outbox_t;

typedef struct {
  uv_udp_send_t req;
  outbox_t* outbox;
  int number;
} mail_t;

/* Sends with a request that is given back in its callback; number is noted in the outbox. */
int mail_to_peer(outbox_t* outbox, int number, uv_udp_t* udp, const char* bytes);
int mail_to(outbox_t* outbox, int number, uv_udp_t* udp, const char* bytes, const struct sockaddr* to);

#endif /* CONFORM_H */
