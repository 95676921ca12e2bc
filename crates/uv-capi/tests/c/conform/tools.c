/* What the rules work with: addresses, handles, and notebooks for callbacks. */
#include "conform.h"

const struct sockaddr* at(address_t address) {
  static address_t recent[8];
  static unsigned next;
  address_t* copy = &recent[next++ % 8];
  *copy = address;
  return (const struct sockaddr*) copy;
}

socklen_t length_of(address_t address) {
  return address.any.ss_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
}

address_t address_of(int family, const char* ip, int port) {
  address_t address;
  memset(&address, 0, sizeof address);
  ENSURE(family == AF_INET ? uv_ip4_addr(ip, port, (struct sockaddr_in*) &address) == 0
                           : uv_ip6_addr(ip, port, (struct sockaddr_in6*) &address) == 0);
  return address;
}

address_t loopback_of(int family, int port) {
  return address_of(family, family == AF_INET ? "127.0.0.1" : "::1", port);
}

address_t wildcard_of(int family, int port) {
  return address_of(family, family == AF_INET ? "0.0.0.0" : "::", port);
}

/* What a call tells, or nothing but zeros. */
static address_t told_by(int (*call)(const uv_udp_t*, struct sockaddr*, int*), const uv_udp_t* udp) {
  address_t address;
  int len = sizeof address.any;
  memset(&address, 0, sizeof address);
  if (call(udp, (struct sockaddr*) &address, &len) != 0) memset(&address, 0, sizeof address);
  return address;
}

address_t local_of(const uv_udp_t* udp) {
  return told_by(uv_udp_getsockname, udp);
}

address_t peer_of(const uv_udp_t* udp) {
  return told_by(uv_udp_getpeername, udp);
}

int port_of(address_t address) {
  return ntohs(((struct sockaddr_in*) &address)->sin_port);
}

address_t with_port(address_t address, int port) {
  ((struct sockaddr_in*) &address)->sin_port = htons((uint16_t) port);
  return address;
}

int same_ip(address_t a, address_t b) {
  char name_a[64] = "", name_b[64] = "";
  return uv_ip_name(at(a), name_a, sizeof name_a) == 0 && uv_ip_name(at(b), name_b, sizeof name_b) == 0 &&
         strcmp(name_a, name_b) == 0;
}

int same_address(address_t a, address_t b) {
  return same_ip(a, b) && port_of(a) == port_of(b);
}

int is_wildcard(address_t address) {
  return same_ip(address, wildcard_of(address.any.ss_family, 0));
}

int has_family(int family) {
  address_t address = loopback_of(family, 0);
  int fd = socket(family, SOCK_DGRAM, 0), bound = fd < 0 ? -1 : bind(fd, at(address), length_of(address));
  if (fd >= 0) close(fd);
  return bound == 0;
}

/* ---- handles ---- */

static void free_handle(uv_handle_t* handle) {
  free(handle);
}

void close_udp(uv_udp_t* udp) {
  uv_close((uv_handle_t*) udp, free_handle);
}

uv_udp_t* new_udp_ex(stage_t* stage, unsigned flags) {
  uv_udp_t* udp = (uv_udp_t*) malloc(sizeof *udp);
  udp->data = NULL;
  ENSURE(uv_udp_init_ex(&stage->loop, udp, flags) == 0);
  return udp;
}

uv_udp_t* new_udp(stage_t* stage) {
  return new_udp_ex(stage, 0);
}

/* The buffers that sockets have by default, whatever net.core.rmem_default and net.core.wmem_default are. The kernel doubles them. */
static void set_default_buffers(uv_udp_t* udp) {
  int recv_size = 106496, send_size = 106496;
  ENSURE(uv_recv_buffer_size((uv_handle_t*) udp, &recv_size) == 0);
  ENSURE(uv_send_buffer_size((uv_handle_t*) udp, &send_size) == 0);
}

uv_udp_t* bound_udp_ex(stage_t* stage, unsigned flags) {
  uv_udp_t* udp = new_udp_ex(stage, flags);
  ENSURE(uv_udp_bind(udp, at(loopback_of(stage->family, 0)), 0) == 0);
  set_default_buffers(udp);
  return udp;
}

uv_udp_t* bound_udp(stage_t* stage) {
  return bound_udp_ex(stage, 0);
}

uv_udp_t* wildcard_udp(stage_t* stage) {
  uv_udp_t* udp = new_udp(stage);
  ENSURE(uv_udp_bind(udp, at(wildcard_of(stage->family, 0)), 0) == 0);
  set_default_buffers(udp);
  return udp;
}

uv_udp_t* connected_udp(stage_t* stage, address_t peer) {
  uv_udp_t* udp = new_udp(stage);
  ENSURE(uv_udp_connect(udp, at(peer)) == 0);
  set_default_buffers(udp);
  return udp;
}

int is_connected(const uv_udp_t* udp) {
  return peer_of(udp).any.ss_family != 0;
}

int fd_of(const uv_udp_t* udp) {
  int fd;
  return uv_fileno((const uv_handle_t*) udp, &fd) == 0 ? fd : -1;
}

int has_socket(const uv_udp_t* udp) {
  return fd_of(udp) >= 0;
}

int say(uv_udp_t* udp, const char* words) {
  uv_buf_t buf = text(words);
  return try_send_to_peer(udp, &buf, 1);
}

int say_to(uv_udp_t* udp, const char* words, address_t to) {
  uv_buf_t buf = text(words);
  return try_send_to(udp, &buf, 1, at(to));
}

void settle(stage_t* stage) {
  for (int i = 0; i < 50; i++) ENSURE(uv_run(&stage->loop, UV_RUN_NOWAIT) >= 0);
}

static void count_turn(uv_prepare_t* prepare) {
  ++*(int*) prepare->data;
}

static void stop_loop(uv_timer_t* timer) {
  uv_stop(timer->loop);
}

int turns_in(stage_t* stage, unsigned ms) {
  int turns = 0;
  uv_prepare_t* prepare = (uv_prepare_t*) malloc(sizeof *prepare);
  uv_timer_t* timer = (uv_timer_t*) malloc(sizeof *timer);
  ENSURE(uv_prepare_init(&stage->loop, prepare) == 0 && uv_prepare_start(prepare, count_turn) == 0);
  prepare->data = &turns;
  ENSURE(uv_timer_init(&stage->loop, timer) == 0 && uv_timer_start(timer, stop_loop, ms, 0) == 0);
  TO_THE_END();
  ENSURE(!uv_is_active((uv_handle_t*) timer));
  uv_close((uv_handle_t*) prepare, free_handle);
  uv_close((uv_handle_t*) timer, free_handle);
  return turns;
}

const char* numbered(int number, int len) {
  static char recent[2][66000];
  static unsigned next;
  char* copy = recent[next++ % 2];
  memset(copy, '.', (size_t) len);
  snprintf(copy, 5, "%04d", number);
  if (len > 4) copy[4] = '.';
  copy[len > 4 ? len : 4] = '\0';
  return copy;
}

int number_in(const char* bytes) {
  char digits[5] = "";
  memcpy(digits, bytes, 4);
  return digits[0] >= '0' && digits[0] <= '9' ? atoi(digits) : -1;
}

/* ---- receiving ---- */

unsigned sum_of(const char* bytes, int len) {
  unsigned sum = 2166136261u;
  for (int i = 0; i < len; i++) sum = (sum ^ (unsigned char) bytes[i]) * 16777619u;
  return sum;
}

void inbox_alloc(uv_handle_t* handle, size_t suggested, uv_buf_t* buf) {
  ((inbox_t*) handle->data)->lent++;
  buf->base = (char*) malloc(suggested);
  buf->len = suggested;
}

void inbox_enter(inbox_t* inbox, ssize_t nread, const uv_buf_t* buf, const struct sockaddr* addr) {
  if (nread < 0) {
    ENSURE(addr == NULL);
    inbox->error = (int) nread;
    inbox->errors++;
  } else if (addr == NULL) {
    ENSURE(nread == 0);
    inbox->ends++;
  } else {
    if (inbox->count < ROOM) {
      letter_t* letter = &inbox->letters[inbox->count];
      memset(letter, 0, sizeof *letter);
      letter->len = (int) nread;
      letter->sum = sum_of(buf->base, letter->len);
      memcpy(letter->text, buf->base, (size_t) (nread < TEXT - 1 ? nread : TEXT - 1));
      memcpy(&letter->from, addr, addr->sa_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6));
    }
    inbox->count++;
  }
}

void inbox_recv(uv_udp_t* udp, ssize_t nread, const uv_buf_t* buf, const struct sockaddr* addr, unsigned flags) {
  inbox_t* inbox = (inbox_t*) udp->data;
  inbox->flags |= flags;
  inbox_enter(inbox, nread, buf, addr);
  if (buf->base != NULL && !(flags & UV_UDP_MMSG_CHUNK)) {
    inbox->lent--;
    free(buf->base);
  }
}

int receive_with(uv_udp_t* udp, inbox_t* inbox, uv_alloc_cb alloc, uv_udp_recv_cb recv) {
  udp->data = inbox;
  return uv_udp_recv_start(udp, alloc, recv);
}

int receive(uv_udp_t* udp, inbox_t* inbox) {
  return receive_with(udp, inbox, inbox_alloc, inbox_recv);
}

void alloc_some(uv_handle_t* handle, size_t suggested, uv_buf_t* buf) {
  (void) handle;
  *buf = uv_buf_init((char*) malloc(suggested), (unsigned) suggested);
}

void alloc_the_same(uv_handle_t* handle, size_t suggested, uv_buf_t* buf) {
  static char memory[65536];
  (void) handle, (void) suggested;
  *buf = uv_buf_init(memory, sizeof memory);
}

int has_texts(const inbox_t* inbox, const char* const* texts) {
  int count = 0;
  for (; texts[count] != NULL; count++) {
    if (count >= inbox->count || strcmp(inbox->letters[count].text, texts[count]) != 0) return 0;
  }
  return inbox->count == count;
}

int ends_with(const inbox_t* inbox, const char* last) {
  return inbox->count > 0 && inbox->count <= ROOM && strcmp(inbox->letters[inbox->count - 1].text, last) == 0;
}

/* ---- sending ---- */

static void on_mailed(uv_udp_send_t* req, int status) {
  mail_t* mail = (mail_t*) req;
  outbox_t* outbox = mail->outbox;
  if (outbox->count < ROOM) {
    outbox->order[outbox->count] = mail->number;
    outbox->status[outbox->count] = status;
  }
  outbox->count++;
  free(mail);
}

int mail(outbox_t* outbox, int number, uv_udp_t* udp, const char* bytes, int len, const struct sockaddr* to) {
  mail_t* mail = (mail_t*) malloc(sizeof *mail);
  /* The bytes are gone when the call returns. */
  char* copy = (char*) malloc((size_t) len + 1);
  uv_buf_t buf = uv_buf_init(copy, (unsigned) len);
  memcpy(copy, bytes, (size_t) len);
  mail->outbox = outbox;
  mail->number = number;
  int result = to == NULL ? send_to_peer(&mail->req, udp, &buf, 1, on_mailed)
                          : send_to(&mail->req, udp, &buf, 1, to, on_mailed);
  memset(copy, '#', (size_t) len);
  free(copy);
  if (result != 0) free(mail);
  return result;
}

int mail_to_peer(outbox_t* outbox, int number, uv_udp_t* udp, const char* words) {
  return mail(outbox, number, udp, words, (int) strlen(words), NULL);
}

int mail_to(outbox_t* outbox, int number, uv_udp_t* udp, const char* words, const struct sockaddr* to) {
  return mail(outbox, number, udp, words, (int) strlen(words), to);
}

int in_order(const outbox_t* outbox, int count) {
  if (outbox->count != count || count > ROOM) return 0;
  for (int i = 0; i < count; i++) {
    if (outbox->order[i] != i || (outbox->status[i] != 0 && outbox->status[i] != UV_ECANCELED)) return 0;
  }
  return 1;
}

int count_well(const outbox_t* outbox) {
  int well = 0;
  for (int i = 0; i < outbox->count && i < ROOM; i++) well += outbox->status[i] == 0;
  return well;
}

int all_well(const outbox_t* outbox, int count) {
  return in_order(outbox, count) && count_well(outbox) == count;
}
