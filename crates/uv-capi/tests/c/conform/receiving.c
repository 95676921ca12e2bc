/* Receiving: into whose memory, what comes back with it, and when it is over. */
#include "conform.h"

static verdict_t round_ends(stage_t* stage) {
  uv_udp_t *udp = bound_udp(stage), *sender = new_udp(stage);
  inbox_t inbox = {0};
  address_t to = local_of(udp);
  uv_buf_t buf = text("one");
  ENSURE(receive(udp, &inbox) == 0 && uv_is_active((uv_handle_t*) udp));
  for (int i = 0; i < 5; i++) ENSURE(try_send_to(sender, &buf, 1, at(to)) == 3);
  run_until(stage, &inbox.ends, 1);
  ENSURE(inbox.count == 5 && inbox.ends == 1 && inbox.errors == 0);
  ENSURE(inbox.lent == 0 && inbox.flags == 0);
  ENSURE(port_of(inbox.from[0]) == port_of(local_of(sender)));
  return HOLDS;
}

static int refuse;

static void alloc_at_times(uv_handle_t* handle, size_t suggested, uv_buf_t* buf) {
  if (refuse > 0) {
    refuse--;
    return;
  }
  inbox_alloc(handle, suggested, buf);
}

static verdict_t no_memory(stage_t* stage) {
  uv_udp_t *udp = bound_udp(stage), *sender = new_udp(stage);
  inbox_t inbox = {0};
  address_t to = local_of(udp);
  uv_buf_t bufs[3] = {text("one"), text("two"), text("three")};
  refuse = 3;
  udp->data = &inbox;
  ENSURE(uv_udp_recv_start(udp, alloc_at_times, inbox_recv) == 0);
  for (int i = 0; i < 3; i++) ENSURE(try_send_to(sender, &bufs[i], 1, at(to)) > 0);
  run_until(stage, &inbox.count, 3);
  ENSURE(inbox.error == UV_ENOBUFS && inbox.errors == 3);
  ENSURE(strcmp(inbox.data[0], "one") == 0 && strcmp(inbox.data[1], "two") == 0 && strcmp(inbox.data[2], "three") == 0);
  ENSURE(inbox.lent == 0);
  return HOLDS;
}

static void alloc_two_bytes(uv_handle_t* handle, size_t suggested, uv_buf_t* buf) {
  (void) suggested;
  inbox_alloc(handle, 16, buf);
  buf->len = 2;
}

static verdict_t partial(stage_t* stage) {
  uv_udp_t *udp = bound_udp(stage), *sender = new_udp(stage);
  inbox_t inbox = {0};
  address_t to = local_of(udp);
  uv_buf_t fits = text("ab"), does_not = text("abc");
  udp->data = &inbox;
  ENSURE(uv_udp_recv_start(udp, alloc_two_bytes, inbox_recv) == 0);
  ENSURE(try_send_to(sender, &fits, 1, at(to)) == 2);
  run_until(stage, &inbox.count, 1);
  ENSURE(inbox.flags == 0);
  ENSURE(try_send_to(sender, &does_not, 1, at(to)) == 3);
  run_until(stage, &inbox.count, 2);
  ENSURE(inbox.flags == UV_UDP_PARTIAL && strcmp(inbox.data[1], "ab") == 0);
  return HOLDS;
}

static int stop_after;

static void recv_and_stop(uv_udp_t* udp, ssize_t nread, const uv_buf_t* buf, const struct sockaddr* addr, unsigned flags) {
  inbox_t* inbox = (inbox_t*) udp->data;
  if (flags & UV_UDP_MMSG_CHUNK) {
    inbox->count++;
  } else {
    if (flags & UV_UDP_MMSG_FREE) inbox->flags |= flags;
    inbox_recv(udp, nread, buf, addr, flags);
  }
  if (inbox->count == stop_after && addr != NULL) uv_udp_recv_stop(udp);
}

static verdict_t stopped(stage_t* stage) {
  uv_udp_t *udp = bound_udp(stage), *sender = new_udp(stage);
  inbox_t inbox = {0};
  address_t to = local_of(udp);
  char word[16];
  stop_after = 2;
  udp->data = &inbox;
  ENSURE(uv_udp_recv_start(udp, inbox_alloc, recv_and_stop) == 0);
  for (int i = 0; i < 5; i++) {
    snprintf(word, sizeof word, "%d", i);
    uv_buf_t buf = text(word);
    ENSURE(try_send_to(sender, &buf, 1, at(to)) == 1);
  }
  settle(stage);
  ENSURE(inbox.count == 2 && inbox.lent == 0 && !uv_is_active((uv_handle_t*) udp));
  ENSURE(receive(udp, &inbox) == 0);
  run_until(stage, &inbox.count, 5);
  for (int i = 0; i < 5; i++) {
    snprintf(word, sizeof word, "%d", i);
    ENSURE(strcmp(inbox.data[i], word) == 0);
  }
  return HOLDS;
}

static void alloc_for_three(uv_handle_t* handle, size_t suggested, uv_buf_t* buf) {
  inbox_alloc(handle, 3 * suggested, buf);
}

static verdict_t stopped_in_large(stage_t* stage) {
  uv_udp_t *udp = (uv_udp_t*) malloc(sizeof *udp), *sender = new_udp(stage);
  inbox_t inbox = {0};
  uv_buf_t buf = text("x");
  ENSURE(uv_udp_init_ex(&stage->loop, udp, (unsigned) stage->family | UV_UDP_RECVMMSG) == 0);
  ENSURE(uv_udp_using_recvmmsg(udp) == 1 && uv_udp_using_recvmmsg(sender) == 0);
  ENSURE(uv_udp_bind(udp, at(loopback_of(stage->family, 0)), 0) == 0);
  address_t to = local_of(udp);
  stop_after = 2;
  udp->data = &inbox;
  ENSURE(uv_udp_recv_start(udp, alloc_for_three, recv_and_stop) == 0);
  for (int i = 0; i < 5; i++) ENSURE(try_send_to(sender, &buf, 1, at(to)) == 1);
  settle(stage);
  ENSURE(inbox.count == 2 && inbox.lent == 0 && (inbox.flags & UV_UDP_MMSG_FREE));
  stop_after = -1;
  ENSURE(uv_udp_recv_start(udp, alloc_for_three, recv_and_stop) == 0);
  run_until(stage, &inbox.count, 5);
  settle(stage);
  ENSURE(inbox.count == 5 && inbox.lent == 0);
  return HOLDS;
}

static verdict_t bad_flags(stage_t* stage) {
  uv_udp_t udp;
  ENSURE(uv_udp_init_ex(&stage->loop, &udp, 77) == UV_EINVAL);
  ENSURE(uv_udp_init_ex(&stage->loop, &udp, AF_INET | 512) == UV_EINVAL);
  ENSURE(!uv_loop_alive(&stage->loop));
  return HOLDS;
}

static verdict_t adopted(stage_t* stage) {
  uv_udp_t *udp = new_udp(stage), *other = new_udp(stage);
  inbox_t inbox = {0};
  outbox_t outbox = {0};
  address_t any = loopback_of(stage->family, 0);
  int pipes[2], sock = socket(stage->family, SOCK_DGRAM, 0);
  socklen_t len = stage->family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
  ENSURE(sock >= 0 && bind(sock, at(any), len) == 0);
  ENSURE(pipe(pipes) == 0 && uv_udp_open(udp, pipes[0]) < 0);
  ENSURE(close(pipes[0]) == 0 && close(pipes[1]) == 0);
  ENSURE(uv_udp_open(udp, -1) == UV_EBADF && uv_udp_open_ex(udp, sock, 1u << 20) == UV_EINVAL);
  ENSURE(uv_udp_open_ex(udp, sock, UV_UDP_REUSEADDR) == 0);
  ENSURE(uv_udp_open(udp, sock) == UV_EBUSY && uv_udp_open(other, sock) == UV_EEXIST);
  int fd;
  ENSURE(uv_fileno((uv_handle_t*) udp, &fd) == 0 && fd == sock);
  address_t to = local_of(udp);
  ENSURE(port_of(to) != 0 && receive(udp, &inbox) == 0 && mail_to(&outbox, 1, other, "in", at(to)) == 0);
  run_until(stage, &inbox.count, 1);
  ENSURE(inbox.count == 1 && strcmp(inbox.data[0], "in") == 0);
  return HOLDS;
}

const rule_t receive_rules[] = {
    {"receiving/a-round-ends-with-nothing", "When there is nothing more to read, the buffer comes back with 0 bytes and no address.", round_ends},
    {"receiving/no-memory-is-enobufs-and-loses-nothing", "Without memory the callback is told UV_ENOBUFS, and the datagram is offered again.", no_memory},
    {"receiving/what-does-not-fit-is-partial", "A datagram that is longer than the buffer comes with UV_UDP_PARTIAL.", partial},
    {"receiving/what-arrives-while-stopped-waits", "A callback may stop receiving; what arrived waits for the next start.", stopped},
    {"receiving/a-large-buffer-comes-back-after-a-stop", "A buffer for several datagrams comes back with UV_UDP_MMSG_FREE also if receiving stops meanwhile.", stopped_in_large},
    {"input/bad-init-flags-are-einval", "uv_udp_init_ex knows its flags, and refuses others with UV_EINVAL.", bad_flags},
    {"open/adopts-a-socket", "uv_udp_open adopts a socket, and leaves it alone if it cannot.", adopted},
    {NULL, NULL, NULL},
};
