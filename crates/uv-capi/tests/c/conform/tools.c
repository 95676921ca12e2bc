/* Addresses, handles, and records of callbacks for the rules. */
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
  CHECK(family == AF_INET ? uv_ip4_addr(ip, port, (struct sockaddr_in*) &address) == 0
                           : uv_ip6_addr(ip, port, (struct sockaddr_in6*) &address) == 0);
  return address;
}

address_t loopback_of(int family, int port) {
  return address_of(family, family == AF_INET ? "127.0.0.1" : "::1", port);
}

address_t wildcard_of(int family, int port) {
  return address_of(family, family == AF_INET ? "0.0.0.0" : "::", port);
}

/* The address that the call stores, or all zeros. */
static address_t stored_by(int (*call)(const uv_udp_t*, struct sockaddr*, int*), const uv_udp_t* udp) {
  address_t address;
  int len = sizeof address.any;
  memset(&address, 0, sizeof address);
  if (call(udp, (struct sockaddr*) &address, &len) != 0) memset(&address, 0, sizeof address);
  return address;
}

address_t local_of(const uv_udp_t* udp) {
  return stored_by(uv_udp_getsockname, udp);
}

address_t peer_of(const uv_udp_t* udp) {
  return stored_by(uv_udp_getpeername, udp);
}

int port_of(address_t address) {
  return ntohs(((struct sockaddr_in*) &address)->sin_port);
}

int same_address(address_t a, address_t b) {
  char name_a[64] = "", name_b[64] = "";
  return uv_ip_name(at(a), name_a, sizeof name_a) == 0 && uv_ip_name(at(b), name_b, sizeof name_b) == 0 &&
         strcmp(name_a, name_b) == 0 && port_of(a) == port_of(b);
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

uv_udp_t* new_udp_ex(test_t* test, unsigned flags) {
  uv_udp_t* udp = (uv_udp_t*) malloc(sizeof *udp);
  udp->data = NULL;
  CHECK(uv_udp_init_ex(&test->loop, udp, flags) == 0);
  return udp;
}

uv_udp_t* new_udp(test_t* test) {
  return new_udp_ex(test, 0);
}

/* Sets the kernel's built-in default, in place of net.core.rmem_default and net.core.wmem_default. The kernel doubles it. */
static void set_default_buffers(uv_udp_t* udp) {
  int recv_size = 106496, send_size = 106496;
  CHECK(uv_recv_buffer_size((uv_handle_t*) udp, &recv_size) == 0);
  CHECK(uv_send_buffer_size((uv_handle_t*) udp, &send_size) == 0);
}

uv_udp_t* bound_udp_ex(test_t* test, unsigned flags) {
  uv_udp_t* udp = new_udp_ex(test, flags);
  CHECK(uv_udp_bind(udp, at(loopback_of(test->family, 0)), 0) == 0);
  set_default_buffers(udp);
  return udp;
}

uv_udp_t* bound_udp(test_t* test) {
  return bound_udp_ex(test, 0);
}

uv_udp_t* connected_udp(test_t* test, address_t peer) {
  uv_udp_t* udp = new_udp(test);
  CHECK(uv_udp_connect(udp, at(peer)) == 0);
  set_default_buffers(udp);
  return udp;
}

int is_connected(const uv_udp_t* udp) {
  return peer_of(udp).any.ss_family != 0;
}

int option_of(const uv_udp_t* udp, int level, int name) {
  int value = -1;
  socklen_t len = sizeof value;
  CHECK(getsockopt(fd_of(udp), level, name, &value, &len) == 0);
  return value;
}

int fd_of(const uv_udp_t* udp) {
  int fd;
  return uv_fileno((const uv_handle_t*) udp, &fd) == 0 ? fd : -1;
}

int try_text(uv_udp_t* udp, const char* words) {
  uv_buf_t buf = text(words);
  return try_send_to_peer(udp, &buf, 1);
}

int try_text_to(uv_udp_t* udp, const char* words, address_t to) {
  uv_buf_t buf = text(words);
  return try_send_to(udp, &buf, 1, at(to));
}

void run_iterations(test_t* test) {
  for (int i = 0; i < 50; i++) CHECK(uv_run(&test->loop, UV_RUN_NOWAIT) >= 0);
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

void counting_alloc(uv_handle_t* handle, size_t suggested, uv_buf_t* buf) {
  ((received_t*) handle->data)->lent++;
  buf->base = (char*) malloc(suggested);
  buf->len = suggested;
}

void record(received_t* received, ssize_t nread, const uv_buf_t* buf, const struct sockaddr* addr) {
  if (nread < 0) {
    CHECK(addr == NULL);
    received->error = (int) nread;
    received->errors++;
  } else if (addr == NULL) {
    CHECK(nread == 0);
    received->empty_reads++;
  } else {
    if (received->count < MAX_RECORDED) {
      datagram_t* datagram = &received->datagrams[received->count];
      memset(datagram, 0, sizeof *datagram);
      datagram->len = (int) nread;
      datagram->sum = sum_of(buf->base, datagram->len);
      memcpy(datagram->text, buf->base, (size_t) (nread < TEXT - 1 ? nread : TEXT - 1));
      memcpy(&datagram->from, addr, addr->sa_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6));
    }
    received->count++;
  }
}

void recording_recv(uv_udp_t* udp, ssize_t nread, const uv_buf_t* buf, const struct sockaddr* addr, unsigned flags) {
  received_t* received = (received_t*) udp->data;
  received->flags |= flags;
  record(received, nread, buf, addr);
  if (buf->base != NULL && !(flags & UV_UDP_MMSG_CHUNK)) {
    received->lent--;
    free(buf->base);
  }
}

int start_receiving_with(uv_udp_t* udp, received_t* received, uv_alloc_cb alloc, uv_udp_recv_cb recv) {
  udp->data = received;
  return uv_udp_recv_start(udp, alloc, recv);
}

int start_receiving(uv_udp_t* udp, received_t* received) {
  return start_receiving_with(udp, received, counting_alloc, recording_recv);
}

void alloc_by_malloc(uv_handle_t* handle, size_t suggested, uv_buf_t* buf) {
  (void) handle;
  *buf = uv_buf_init((char*) malloc(suggested), (unsigned) suggested);
}

void alloc_static(uv_handle_t* handle, size_t suggested, uv_buf_t* buf) {
  static char memory[65536];
  (void) handle, (void) suggested;
  *buf = uv_buf_init(memory, sizeof memory);
}

int has_texts(const received_t* received, const char* const* texts) {
  int count = 0;
  for (; texts[count] != NULL; count++) {
    if (count >= received->count || strcmp(received->datagrams[count].text, texts[count]) != 0) return 0;
  }
  return received->count == count;
}

int ends_with_text(const received_t* received, const char* last) {
  return received->count > 0 && received->count <= MAX_RECORDED && strcmp(received->datagrams[received->count - 1].text, last) == 0;
}

/* ---- sending ---- */

typedef struct {
  uv_udp_send_t req;
  completions_t* completions;
  int number;
} queued_t;

static void on_queued_sent(uv_udp_send_t* req, int status) {
  queued_t* queued = (queued_t*) req;
  completions_t* completions = queued->completions;
  if (completions->count < MAX_RECORDED) {
    completions->order[completions->count] = queued->number;
    completions->status[completions->count] = status;
  }
  completions->count++;
  free(queued);
}

int queue_send(completions_t* completions, int number, uv_udp_t* udp, const char* bytes, int len, const struct sockaddr* to) {
  queued_t* queued = (queued_t*) malloc(sizeof *queued);
  /* The copy is freed right after the call: payloads need not outlive it. */
  char* copy = (char*) malloc((size_t) len + 1);
  uv_buf_t buf = uv_buf_init(copy, (unsigned) len);
  memcpy(copy, bytes, (size_t) len);
  queued->completions = completions;
  queued->number = number;
  int result = to == NULL ? send_to_peer(&queued->req, udp, &buf, 1, on_queued_sent)
                          : send_to(&queued->req, udp, &buf, 1, to, on_queued_sent);
  memset(copy, '#', (size_t) len);
  free(copy);
  if (result != 0) free(queued);
  return result;
}

int queue_text(completions_t* completions, int number, uv_udp_t* udp, const char* words) {
  return queue_send(completions, number, udp, words, (int) strlen(words), NULL);
}

int queue_text_to(completions_t* completions, int number, uv_udp_t* udp, const char* words, const struct sockaddr* to) {
  return queue_send(completions, number, udp, words, (int) strlen(words), to);
}

int in_order(const completions_t* completions, int count) {
  if (completions->count != count || count > MAX_RECORDED) return 0;
  for (int i = 0; i < count; i++) {
    if (completions->order[i] != i || (completions->status[i] != 0 && completions->status[i] != UV_ECANCELED)) return 0;
  }
  return 1;
}

int count_succeeded(const completions_t* completions) {
  int succeeded = 0;
  for (int i = 0; i < completions->count && i < MAX_RECORDED; i++) succeeded += completions->status[i] == 0;
  return succeeded;
}

int all_succeeded(const completions_t* completions, int count) {
  return in_order(completions, count) && count_succeeded(completions) == count;
}
