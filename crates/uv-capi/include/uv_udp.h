/*
 * Connected UDP sockets on an event loop, for C (C99 and later) and C++.
 *
 * Names, constants and the structures' public members are libuv's (https://docs.libuv.org). A program written for
 * libuv's loop, timers and UDP handle compiles against this header. The calls that send and connect have two forms:
 *
 *  - by default that of the enhancement proposal "Connected UDP sockets": uv_udp_send() for connected handles,
 *    uv_udp_sendto() for unconnected ones, and uv_udp_disconnect();
 *  - with UV_UDP_V1 defined before the include (compat/uv.h does) that of libuv 1.x: uv_udp_send() takes an address, and
 *    NULL means the peer.
 *
 * Both forms keep these rules:
 *
 *  - Callbacks run from uv_run() only, never inside another call.
 *  - An error is a negative errno (UV_EAGAIN is -EAGAIN). A call that returns an error accepts nothing, and no callback
 *    follows.
 *  - The program owns the structures. It may free a handle in its close callback, and a request in its callback, not
 *    earlier. The buffers of uv_udp_send() need not outlive the call.
 *  - One thread at a time uses a loop and its handles. Only uv_async_send() may be called from other threads, and from
 *    signal handlers.
 */
#ifndef UV_UDP_H
#define UV_UDP_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>
#include <sys/socket.h>
#include <netinet/in.h>

#include "uv_udp/errors.h" /* UV_EAGAIN and all others, UV_ERRNO_MAP */

#ifdef __cplusplus
extern "C" {
#endif

#define UV_EXTERN

/*
 * The symbol of a function in the library: uvudp_run for uv_run(), so that a process may load libuv as well. An
 * assembler label renames the symbol only. A macro would also rename members, variables and methods of the same name,
 * and only in files that include this header.
 */
#ifndef UV_UDP_SYMBOL
#define UV_UDP_QUOTE_(text) #text
#define UV_UDP_QUOTE(text) UV_UDP_QUOTE_(text)
#define UV_UDP_SYMBOL(name) __asm__(UV_UDP_QUOTE(__USER_LABEL_PREFIX__) "uvudp_" #name)
#endif

/* The version of libuv that the declarations follow, and the version of this library. */
#define UV_VERSION_MAJOR 1
#define UV_VERSION_MINOR 52
#define UV_VERSION_PATCH 0
#define UV_VERSION_IS_RELEASE 1
#define UV_VERSION_SUFFIX ""
#define UV_VERSION_HEX ((UV_VERSION_MAJOR << 16) | (UV_VERSION_MINOR << 8) | UV_VERSION_PATCH)
#define UV_UDP_LIBRARY_VERSION "0.1.0"

UV_EXTERN unsigned int uv_version(void) UV_UDP_SYMBOL(version);
UV_EXTERN const char* uv_version_string(void) UV_UDP_SYMBOL(version_string);

/* ------------------------------------------------------------------------------------------------------- errors -- */

UV_EXTERN const char* uv_strerror(int err) UV_UDP_SYMBOL(strerror);
UV_EXTERN char* uv_strerror_r(int err, char* buf, size_t buflen) UV_UDP_SYMBOL(strerror_r);
UV_EXTERN const char* uv_err_name(int err) UV_UDP_SYMBOL(err_name);
UV_EXTERN char* uv_err_name_r(int err, char* buf, size_t buflen) UV_UDP_SYMBOL(err_name_r);
UV_EXTERN int uv_translate_sys_error(int sys_errno) UV_UDP_SYMBOL(translate_sys_error);

/* -------------------------------------------------------------------------------------------------------- types -- */

/* All types of libuv, with libuv's numbers. This library implements the types that have a structure below. */
typedef enum {
  UV_UNKNOWN_HANDLE = 0,
  UV_ASYNC,
  UV_CHECK,
  UV_FS_EVENT,
  UV_FS_POLL,
  UV_HANDLE,
  UV_IDLE,
  UV_NAMED_PIPE,
  UV_POLL,
  UV_PREPARE,
  UV_PROCESS,
  UV_STREAM,
  UV_TCP,
  UV_TIMER,
  UV_TTY,
  UV_UDP,
  UV_SIGNAL,
  UV_FILE,
  UV_HANDLE_TYPE_MAX
} uv_handle_type;

typedef enum {
  UV_UNKNOWN_REQ = 0,
  UV_REQ,
  UV_CONNECT,
  UV_WRITE,
  UV_SHUTDOWN,
  UV_UDP_SEND,
  UV_FS,
  UV_WORK,
  UV_GETADDRINFO,
  UV_GETNAMEINFO,
  UV_RANDOM,
  UV_REQ_TYPE_MAX
} uv_req_type;

typedef enum { UV_RUN_DEFAULT = 0, UV_RUN_ONCE, UV_RUN_NOWAIT } uv_run_mode;

typedef enum { UV_LEAVE_GROUP = 0, UV_JOIN_GROUP } uv_membership;

typedef int uv_file;
typedef int uv_os_sock_t;
typedef int uv_os_fd_t;
typedef pid_t uv_pid_t;

/* Has the layout of struct iovec. */
typedef struct uv_buf_t {
  char* base;
  size_t len;
} uv_buf_t;

typedef struct uv_loop_s uv_loop_t;
typedef struct uv_handle_s uv_handle_t;
typedef struct uv_timer_s uv_timer_t;
typedef struct uv_idle_s uv_idle_t;
typedef struct uv_prepare_s uv_prepare_t;
typedef struct uv_check_s uv_check_t;
typedef struct uv_async_s uv_async_t;
typedef struct uv_udp_s uv_udp_t;
typedef struct uv_req_s uv_req_t;
typedef struct uv_udp_send_s uv_udp_send_t;
typedef struct uv_interface_address_s uv_interface_address_t;

typedef void (*uv_close_cb)(uv_handle_t* handle);
typedef void (*uv_walk_cb)(uv_handle_t* handle, void* arg);
typedef void (*uv_alloc_cb)(uv_handle_t* handle, size_t suggested_size, uv_buf_t* buf);
typedef void (*uv_timer_cb)(uv_timer_t* handle);
typedef void (*uv_idle_cb)(uv_idle_t* handle);
typedef void (*uv_prepare_cb)(uv_prepare_t* handle);
typedef void (*uv_check_cb)(uv_check_t* handle);
typedef void (*uv_async_cb)(uv_async_t* handle);
typedef void (*uv_udp_send_cb)(uv_udp_send_t* req, int status);
typedef void (*uv_udp_recv_cb)(uv_udp_t* handle,
                               ssize_t nread,
                               const uv_buf_t* buf,
                               const struct sockaddr* addr,
                               unsigned flags);

struct uv_loop_s {
  /* public */
  void* data;
  /* private */
  void* inner;
  void* reserved[6];
};

#define UV_HANDLE_FIELDS                                                      \
  /* public */                                                                \
  void* data;                                                                 \
  /* read-only */                                                             \
  uv_loop_t* loop;                                                            \
  uv_handle_type type;                                                        \
  /* private */                                                               \
  uv_close_cb close_cb;                                                       \
  void* inner;                                                                \
  void* reserved[3];

struct uv_handle_s {
  UV_HANDLE_FIELDS
};

struct uv_timer_s {
  UV_HANDLE_FIELDS
};

struct uv_idle_s {
  UV_HANDLE_FIELDS
};

struct uv_prepare_s {
  UV_HANDLE_FIELDS
};

struct uv_check_s {
  UV_HANDLE_FIELDS
};

struct uv_async_s {
  UV_HANDLE_FIELDS
  uv_async_cb async_cb;
  int wakeup;
  unsigned int pending;
  unsigned int busy;
};

struct uv_udp_s {
  UV_HANDLE_FIELDS
  /* read-only: bytes and requests that are accepted and have not completed */
  size_t send_queue_size;
  size_t send_queue_count;
  /* private */
  void* more[2];
};

#define UV_REQ_FIELDS                                                         \
  /* public */                                                                \
  void* data;                                                                 \
  /* read-only */                                                             \
  uv_req_type type;                                                           \
  /* private */                                                               \
  void* reserved[2];

struct uv_req_s {
  UV_REQ_FIELDS
};

struct uv_udp_send_s {
  UV_REQ_FIELDS
  uv_udp_t* handle;
  uv_udp_send_cb cb;
  /* private */
  size_t bytes;
};

union uv_any_handle {
  uv_async_t async;
  uv_check_t check;
  uv_handle_t handle;
  uv_idle_t idle;
  uv_prepare_t prepare;
  uv_timer_t timer;
  uv_udp_t udp;
};

union uv_any_req {
  uv_req_t req;
  uv_udp_send_t udp_send;
};

struct uv_interface_address_s {
  char* name;
  char phys_addr[6];
  int is_internal;
  union {
    struct sockaddr_in address4;
    struct sockaddr_in6 address6;
  } address;
  union {
    struct sockaddr_in netmask4;
    struct sockaddr_in6 netmask6;
  } netmask;
};

/* --------------------------------------------------------------------------------------------------------- loop -- */

UV_EXTERN uv_loop_t* uv_default_loop(void) UV_UDP_SYMBOL(default_loop);
UV_EXTERN int uv_loop_init(uv_loop_t* loop) UV_UDP_SYMBOL(loop_init);
/* UV_EBUSY while a handle is not closed. */
UV_EXTERN int uv_loop_close(uv_loop_t* loop) UV_UDP_SYMBOL(loop_close);
/*
 * Gives the loop its own poller in a child after fork(). In any other process it has no effect. Before this call the
 * child may close its handles and its loop, without an effect on the parent. uv_run() and calls that start to wait for
 * events are -ESTALE.
 */
UV_EXTERN int uv_loop_fork(uv_loop_t* loop) UV_UDP_SYMBOL(loop_fork);
UV_EXTERN size_t uv_loop_size(void) UV_UDP_SYMBOL(loop_size);
UV_EXTERN int uv_loop_alive(const uv_loop_t* loop) UV_UDP_SYMBOL(loop_alive);
UV_EXTERN void* uv_loop_get_data(const uv_loop_t* loop) UV_UDP_SYMBOL(loop_get_data);
UV_EXTERN void uv_loop_set_data(uv_loop_t* loop, void* data) UV_UDP_SYMBOL(loop_set_data);
/*
 * Not zero if the loop is still alive. Negative if it could not run: -EDEADLK inside one of its own callbacks, -ESTALE in
 * a child before uv_loop_fork().
 */
UV_EXTERN int uv_run(uv_loop_t* loop, uv_run_mode mode) UV_UDP_SYMBOL(run);
UV_EXTERN void uv_stop(uv_loop_t* loop) UV_UDP_SYMBOL(stop);
/* Milliseconds. In uv_run() it is constant for an iteration, or until uv_update_time(). */
UV_EXTERN uint64_t uv_now(const uv_loop_t* loop) UV_UDP_SYMBOL(now);
UV_EXTERN void uv_update_time(uv_loop_t* loop) UV_UDP_SYMBOL(update_time);
/* Nanoseconds. */
UV_EXTERN uint64_t uv_hrtime(void) UV_UDP_SYMBOL(hrtime);
UV_EXTERN int uv_backend_fd(const uv_loop_t* loop) UV_UDP_SYMBOL(backend_fd);
/* Milliseconds, or -1 without a limit. It changes with every call and iteration: read it before each wait. */
UV_EXTERN int uv_backend_timeout(const uv_loop_t* loop) UV_UDP_SYMBOL(backend_timeout);
UV_EXTERN void uv_walk(uv_loop_t* loop, uv_walk_cb walk_cb, void* arg) UV_UDP_SYMBOL(walk);

/* ------------------------------------------------------------------------------------------------------ handles -- */

UV_EXTERN void uv_close(uv_handle_t* handle, uv_close_cb close_cb) UV_UDP_SYMBOL(close);
UV_EXTERN int uv_is_closing(const uv_handle_t* handle) UV_UDP_SYMBOL(is_closing);
UV_EXTERN int uv_is_active(const uv_handle_t* handle) UV_UDP_SYMBOL(is_active);
UV_EXTERN void uv_ref(uv_handle_t* handle) UV_UDP_SYMBOL(ref);
UV_EXTERN void uv_unref(uv_handle_t* handle) UV_UDP_SYMBOL(unref);
UV_EXTERN int uv_has_ref(const uv_handle_t* handle) UV_UDP_SYMBOL(has_ref);
UV_EXTERN int uv_fileno(const uv_handle_t* handle, uv_os_fd_t* fd) UV_UDP_SYMBOL(fileno);
UV_EXTERN int uv_send_buffer_size(uv_handle_t* handle, int* value) UV_UDP_SYMBOL(send_buffer_size);
UV_EXTERN int uv_recv_buffer_size(uv_handle_t* handle, int* value) UV_UDP_SYMBOL(recv_buffer_size);
UV_EXTERN size_t uv_handle_size(uv_handle_type type) UV_UDP_SYMBOL(handle_size);
UV_EXTERN uv_handle_type uv_handle_get_type(const uv_handle_t* handle) UV_UDP_SYMBOL(handle_get_type);
UV_EXTERN const char* uv_handle_type_name(uv_handle_type type) UV_UDP_SYMBOL(handle_type_name);
UV_EXTERN void* uv_handle_get_data(const uv_handle_t* handle) UV_UDP_SYMBOL(handle_get_data);
UV_EXTERN void uv_handle_set_data(uv_handle_t* handle, void* data) UV_UDP_SYMBOL(handle_set_data);
UV_EXTERN uv_loop_t* uv_handle_get_loop(const uv_handle_t* handle) UV_UDP_SYMBOL(handle_get_loop);
UV_EXTERN size_t uv_req_size(uv_req_type type) UV_UDP_SYMBOL(req_size);
UV_EXTERN uv_req_type uv_req_get_type(const uv_req_t* req) UV_UDP_SYMBOL(req_get_type);
UV_EXTERN const char* uv_req_type_name(uv_req_type type) UV_UDP_SYMBOL(req_type_name);
UV_EXTERN void* uv_req_get_data(const uv_req_t* req) UV_UDP_SYMBOL(req_get_data);
UV_EXTERN void uv_req_set_data(uv_req_t* req, void* data) UV_UDP_SYMBOL(req_set_data);

UV_EXTERN int uv_timer_init(uv_loop_t* loop, uv_timer_t* handle) UV_UDP_SYMBOL(timer_init);
/* Counts from this call, and not from uv_now(): a timer never fires early, even after long work in a callback. */
UV_EXTERN int uv_timer_start(uv_timer_t* handle, uv_timer_cb cb, uint64_t timeout, uint64_t repeat)
    UV_UDP_SYMBOL(timer_start);
UV_EXTERN int uv_timer_stop(uv_timer_t* handle) UV_UDP_SYMBOL(timer_stop);
UV_EXTERN int uv_timer_again(uv_timer_t* handle) UV_UDP_SYMBOL(timer_again);
UV_EXTERN void uv_timer_set_repeat(uv_timer_t* handle, uint64_t repeat) UV_UDP_SYMBOL(timer_set_repeat);
UV_EXTERN uint64_t uv_timer_get_repeat(const uv_timer_t* handle) UV_UDP_SYMBOL(timer_get_repeat);
UV_EXTERN uint64_t uv_timer_get_due_in(const uv_timer_t* handle) UV_UDP_SYMBOL(timer_get_due_in);

UV_EXTERN int uv_idle_init(uv_loop_t* loop, uv_idle_t* handle) UV_UDP_SYMBOL(idle_init);
UV_EXTERN int uv_idle_start(uv_idle_t* handle, uv_idle_cb cb) UV_UDP_SYMBOL(idle_start);
UV_EXTERN int uv_idle_stop(uv_idle_t* handle) UV_UDP_SYMBOL(idle_stop);
UV_EXTERN int uv_prepare_init(uv_loop_t* loop, uv_prepare_t* handle) UV_UDP_SYMBOL(prepare_init);
UV_EXTERN int uv_prepare_start(uv_prepare_t* handle, uv_prepare_cb cb) UV_UDP_SYMBOL(prepare_start);
UV_EXTERN int uv_prepare_stop(uv_prepare_t* handle) UV_UDP_SYMBOL(prepare_stop);
UV_EXTERN int uv_check_init(uv_loop_t* loop, uv_check_t* handle) UV_UDP_SYMBOL(check_init);
UV_EXTERN int uv_check_start(uv_check_t* handle, uv_check_cb cb) UV_UDP_SYMBOL(check_start);
UV_EXTERN int uv_check_stop(uv_check_t* handle) UV_UDP_SYMBOL(check_stop);

UV_EXTERN int uv_async_init(uv_loop_t* loop, uv_async_t* handle, uv_async_cb cb) UV_UDP_SYMBOL(async_init);
UV_EXTERN int uv_async_send(uv_async_t* handle) UV_UDP_SYMBOL(async_send);

/* ---------------------------------------------------------------------------------------------------------- UDP -- */

enum uv_udp_flags {
  /* For uv_udp_bind(): ipv6_only (IPV6_V6ONLY). */
  UV_UDP_IPV6ONLY = 1,
  /* To recv_cb: the datagram was longer than the buffer. */
  UV_UDP_PARTIAL = 2,
  /* For uv_udp_bind() and uv_udp_open_ex(): reuse_address (SO_REUSEADDR). */
  UV_UDP_REUSEADDR = 4,
  /* To recv_cb: the buffer is a part of a larger one, and must not be freed. */
  UV_UDP_MMSG_CHUNK = 8,
  /* To recv_cb: no datagram; this is the larger buffer, which may be freed now. */
  UV_UDP_MMSG_FREE = 16,
  /* For uv_udp_bind(): recv_errors (IP_RECVERR, IPV6_RECVERR). */
  UV_UDP_LINUX_RECVERR = 32,
  /* For uv_udp_bind() and uv_udp_open_ex(): reuse_port (SO_REUSEPORT). */
  UV_UDP_REUSEPORT = 64,
  /*
   * For uv_udp_init_ex(): receive several datagrams per call into buffers of 64 KiB and more. Each datagram, or several
   * coalesced by gro (UDP_GRO), takes a slot of 64 KiB. A callback may use the bytes of the uv_buf_t it receives.
   */
  UV_UDP_RECVMMSG = 256
};

UV_EXTERN int uv_udp_init(uv_loop_t* loop, uv_udp_t* handle) UV_UDP_SYMBOL(udp_init);
UV_EXTERN int uv_udp_init_ex(uv_loop_t* loop, uv_udp_t* handle, unsigned int flags) UV_UDP_SYMBOL(udp_init_ex);
/* The handle owns the descriptor, and makes it non-blocking. After an error the program owns it, open and unchanged. */
UV_EXTERN int uv_udp_open(uv_udp_t* handle, uv_os_sock_t sock) UV_UDP_SYMBOL(udp_open);
UV_EXTERN int uv_udp_open_ex(uv_udp_t* handle, uv_os_sock_t sock, unsigned int flags) UV_UDP_SYMBOL(udp_open_ex);
UV_EXTERN int uv_udp_bind(uv_udp_t* handle, const struct sockaddr* addr, unsigned int flags) UV_UDP_SYMBOL(udp_bind);
UV_EXTERN int uv_udp_getpeername(const uv_udp_t* handle, struct sockaddr* name, int* namelen)
    UV_UDP_SYMBOL(udp_getpeername);
UV_EXTERN int uv_udp_getsockname(const uv_udp_t* handle, struct sockaddr* name, int* namelen)
    UV_UDP_SYMBOL(udp_getsockname);
UV_EXTERN int uv_udp_set_membership(uv_udp_t* handle,
                                    const char* multicast_addr,
                                    const char* interface_addr,
                                    uv_membership membership) UV_UDP_SYMBOL(udp_set_membership);
UV_EXTERN int uv_udp_set_source_membership(uv_udp_t* handle,
                                           const char* multicast_addr,
                                           const char* interface_addr,
                                           const char* source_addr,
                                           uv_membership membership) UV_UDP_SYMBOL(udp_set_source_membership);
UV_EXTERN int uv_udp_set_multicast_loop(uv_udp_t* handle, int on) UV_UDP_SYMBOL(udp_set_multicast_loop);
UV_EXTERN int uv_udp_set_multicast_ttl(uv_udp_t* handle, int ttl) UV_UDP_SYMBOL(udp_set_multicast_ttl);
UV_EXTERN int uv_udp_set_multicast_interface(uv_udp_t* handle, const char* interface_addr)
    UV_UDP_SYMBOL(udp_set_multicast_interface);
UV_EXTERN int uv_udp_set_broadcast(uv_udp_t* handle, int on) UV_UDP_SYMBOL(udp_set_broadcast);
UV_EXTERN int uv_udp_set_ttl(uv_udp_t* handle, int ttl) UV_UDP_SYMBOL(udp_set_ttl);
UV_EXTERN int uv_udp_recv_start(uv_udp_t* handle, uv_alloc_cb alloc_cb, uv_udp_recv_cb recv_cb)
    UV_UDP_SYMBOL(udp_recv_start);
UV_EXTERN int uv_udp_recv_stop(uv_udp_t* handle) UV_UDP_SYMBOL(udp_recv_stop);
UV_EXTERN int uv_udp_using_recvmmsg(const uv_udp_t* handle) UV_UDP_SYMBOL(udp_using_recvmmsg);
UV_EXTERN size_t uv_udp_get_send_queue_size(const uv_udp_t* handle) UV_UDP_SYMBOL(udp_get_send_queue_size);
UV_EXTERN size_t uv_udp_get_send_queue_count(const uv_udp_t* handle) UV_UDP_SYMBOL(udp_get_send_queue_count);
/*
 * Sends the first of count datagrams that the socket accepts at once, and returns their number. An address or addrs of
 * NULL means the peer. flags must be 0.
 */
UV_EXTERN int uv_udp_try_send2(uv_udp_t* handle,
                               unsigned int count,
                               uv_buf_t* bufs[/*count*/],
                               unsigned int nbufs[/*count*/],
                               struct sockaddr* addrs[/*count*/],
                               unsigned int flags) UV_UDP_SYMBOL(udp_try_send2);

#ifndef UV_UDP_V1

/* The proposal's form. On a connected handle uv_udp_connect() replaces the peer, and keeps the local port. */
UV_EXTERN int uv_udp_connect(uv_udp_t* handle, const struct sockaddr* addr) UV_UDP_SYMBOL(udp_connect);
/* UV_ENOTCONN without a peer. */
UV_EXTERN int uv_udp_disconnect(uv_udp_t* handle) UV_UDP_SYMBOL(udp_disconnect);
/* To the peer: UV_EDESTADDRREQ without one. */
UV_EXTERN int uv_udp_send(uv_udp_send_t* req,
                          uv_udp_t* handle,
                          const uv_buf_t bufs[],
                          unsigned int nbufs,
                          uv_udp_send_cb send_cb) UV_UDP_SYMBOL(udp_send);
UV_EXTERN int uv_udp_try_send(uv_udp_t* handle, const uv_buf_t bufs[], unsigned int nbufs) UV_UDP_SYMBOL(udp_try_send);
/* To an address: UV_EISCONN on a connected handle. */
UV_EXTERN int uv_udp_sendto(uv_udp_send_t* req,
                            uv_udp_t* handle,
                            const uv_buf_t bufs[],
                            unsigned int nbufs,
                            const struct sockaddr* addr,
                            uv_udp_send_cb send_cb) UV_UDP_SYMBOL(udp_sendto);
UV_EXTERN int uv_udp_try_sendto(uv_udp_t* handle,
                                const uv_buf_t bufs[],
                                unsigned int nbufs,
                                const struct sockaddr* addr) UV_UDP_SYMBOL(udp_try_sendto);

#else

/* libuv 1.x's form. It has other symbols, so that one program may link both forms. */

/* UV_EISCONN on a connected handle. NULL disconnects: UV_ENOTCONN without a peer. */
UV_EXTERN int uv_udp_connect(uv_udp_t* handle, const struct sockaddr* addr) UV_UDP_SYMBOL(v1_udp_connect);
/* NULL is the peer: UV_EDESTADDRREQ without one. An address is UV_EISCONN on a connected handle. */
UV_EXTERN int uv_udp_send(uv_udp_send_t* req,
                          uv_udp_t* handle,
                          const uv_buf_t bufs[],
                          unsigned int nbufs,
                          const struct sockaddr* addr,
                          uv_udp_send_cb send_cb) UV_UDP_SYMBOL(v1_udp_send);
UV_EXTERN int uv_udp_try_send(uv_udp_t* handle,
                              const uv_buf_t bufs[],
                              unsigned int nbufs,
                              const struct sockaddr* addr) UV_UDP_SYMBOL(v1_udp_try_send);

#endif

/* ------------------------------------------------------------------------------------------------------ helpers -- */

UV_EXTERN uv_buf_t uv_buf_init(char* base, unsigned int len) UV_UDP_SYMBOL(buf_init);
UV_EXTERN int uv_ip4_addr(const char* ip, int port, struct sockaddr_in* addr) UV_UDP_SYMBOL(ip4_addr);
/* Reads "address%scope", where scope is the name or the number of an interface. */
UV_EXTERN int uv_ip6_addr(const char* ip, int port, struct sockaddr_in6* addr) UV_UDP_SYMBOL(ip6_addr);
UV_EXTERN int uv_ip4_name(const struct sockaddr_in* src, char* dst, size_t size) UV_UDP_SYMBOL(ip4_name);
UV_EXTERN int uv_ip6_name(const struct sockaddr_in6* src, char* dst, size_t size) UV_UDP_SYMBOL(ip6_name);
UV_EXTERN int uv_ip_name(const struct sockaddr* src, char* dst, size_t size) UV_UDP_SYMBOL(ip_name);
UV_EXTERN int uv_inet_ntop(int af, const void* src, char* dst, size_t size) UV_UDP_SYMBOL(inet_ntop);
UV_EXTERN int uv_inet_pton(int af, const char* src, void* dst) UV_UDP_SYMBOL(inet_pton);
UV_EXTERN int uv_interface_addresses(uv_interface_address_t** addresses, int* count) UV_UDP_SYMBOL(interface_addresses);
UV_EXTERN void uv_free_interface_addresses(uv_interface_address_t* addresses, int count)
    UV_UDP_SYMBOL(free_interface_addresses);
UV_EXTERN unsigned int uv_available_parallelism(void) UV_UDP_SYMBOL(available_parallelism);
UV_EXTERN uv_pid_t uv_os_getpid(void) UV_UDP_SYMBOL(os_getpid);
UV_EXTERN void uv_sleep(unsigned int msec) UV_UDP_SYMBOL(sleep);

#ifdef __cplusplus
}
#endif

#endif /* UV_UDP_H */
