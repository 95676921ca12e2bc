/* Plain sockets as peers. They are closed when the process of the rule ends. */
#include <sys/time.h>

#include "conform.h"

/* Seconds to wait for a datagram; valgrind slows rules down by a factor of 50. */
#define DEADLINE 60

raw_t raw_at(address_t where) {
  raw_t raw = {.fd = socket(where.any.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
  struct timeval deadline = {DEADLINE, 0};
  /* In place of net.core.rmem_default; the kernel doubles it. */
  int size = 212992;
  socklen_t len = sizeof raw.address;
  CHECK(raw.fd >= 0 && bind(raw.fd, at(where), length_of(where)) == 0);
  CHECK(setsockopt(raw.fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size) == 0);
  CHECK(setsockopt(raw.fd, SOL_SOCKET, SO_RCVTIMEO, &deadline, sizeof deadline) == 0);
  CHECK(getsockname(raw.fd, (struct sockaddr*) &raw.address, &len) == 0);
  return raw;
}

raw_t raw_socket(test_t* test) {
  return raw_at(loopback_of(test->family, 0));
}

void raw_send(const raw_t* raw, const char* bytes, int len, address_t to) {
  CHECK(sendto(raw->fd, bytes, (size_t) len, 0, at(to), length_of(to)) == len);
}

void raw_send_text(const raw_t* raw, const char* words, address_t to) {
  raw_send(raw, words, (int) strlen(words), to);
}

/* The next datagram, or one of length -1 if a read that does not wait finds none. */
static datagram_t take(const raw_t* raw, int flags) {
  static char memory[66000];
  datagram_t datagram;
  socklen_t len = sizeof datagram.from;
  memset(&datagram, 0, sizeof datagram);
  datagram.len = (int) recvfrom(raw->fd, memory, sizeof memory, flags, (struct sockaddr*) &datagram.from, &len);
  if (datagram.len < 0) {
    if ((flags & MSG_DONTWAIT) == 0 || errno != EAGAIN) FAIL("a plain socket receives");
    return datagram;
  }
  datagram.sum = sum_of(memory, datagram.len);
  memcpy(datagram.text, memory, (size_t) (datagram.len < TEXT - 1 ? datagram.len : TEXT - 1));
  return datagram;
}

datagram_t raw_recv(const raw_t* raw) {
  return take(raw, 0);
}

int raw_drain(const raw_t* raw) {
  int count = 0;
  while (take(raw, MSG_DONTWAIT).len >= 0) count++;
  return count;
}

void expect_texts(const char* file, int line, const raw_t* raw, const char* const* texts) {
  for (; *texts != NULL; texts++) {
    datagram_t datagram = raw_recv(raw);
    char words[100];
    snprintf(words, sizeof words, "\"%s\" expected, \"%s\" arrived", *texts, datagram.text);
    if (strcmp(datagram.text, *texts) != 0) fail(file, line, words);
  }
}

address_t refusing_address(test_t* test) {
  int fd = socket(test->family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  address_t where = loopback_of(test->family, 0);
  socklen_t len = sizeof where;
  CHECK(fd >= 0 && bind(fd, at(where), length_of(where)) == 0 && getsockname(fd, (struct sockaddr*) &where, &len) == 0);
  CHECK(connect(fd, at(where), length_of(where)) == 0);
  return where;
}
