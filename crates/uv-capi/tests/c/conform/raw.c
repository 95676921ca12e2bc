/* Plain sockets, as the other side of the rules. They are closed when the process of the rule ends. */
#include <fcntl.h>
#include <sys/time.h>

#include "conform.h"

/* Seconds within which what is to arrive arrives. Generous: under valgrind everything takes a hundred times as long. */
#define DEADLINE 60

static raw_t raw_of(int fd) {
  /* Whatever net.core.rmem_default is; the kernel doubles it. */
  int size = 212992;
  ENSURE(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size) == 0);
  raw_t raw;
  struct timeval deadline = {DEADLINE, 0};
  socklen_t len = sizeof raw.address;
  memset(&raw, 0, sizeof raw);
  raw.fd = fd;
  ENSURE(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &deadline, sizeof deadline) == 0);
  ENSURE(getsockname(fd, (struct sockaddr*) &raw.address, &len) == 0);
  return raw;
}

raw_t raw_at(address_t where) {
  int fd = socket(where.any.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  ENSURE(fd >= 0 && bind(fd, at(where), length_of(where)) == 0);
  return raw_of(fd);
}

raw_t raw_socket(stage_t* stage) {
  return raw_at(loopback_of(stage->family, 0));
}

void raw_send(const raw_t* raw, const char* bytes, int len, address_t to) {
  ENSURE(sendto(raw->fd, bytes, (size_t) len, 0, at(to), length_of(to)) == len);
}

void raw_say(const raw_t* raw, const char* words, address_t to) {
  raw_send(raw, words, (int) strlen(words), to);
}

/* The next datagram, or one of length -1 if there is none. */
static letter_t take(const raw_t* raw, int flags) {
  static char memory[66000];
  letter_t letter;
  socklen_t len = sizeof letter.from;
  memset(&letter, 0, sizeof letter);
  letter.len = (int) recvfrom(raw->fd, memory, sizeof memory, flags, (struct sockaddr*) &letter.from, &len);
  if (letter.len < 0) {
    if ((flags & MSG_DONTWAIT) == 0 || errno != EAGAIN) FAIL("a plain socket receives");
    return letter;
  }
  letter.sum = sum_of(memory, letter.len);
  memcpy(letter.text, memory, (size_t) (letter.len < TEXT - 1 ? letter.len : TEXT - 1));
  return letter;
}

letter_t raw_recv(const raw_t* raw) {
  return take(raw, 0);
}

int raw_numbers(const raw_t* raw, int* numbers, int room) {
  int count = 0;
  for (letter_t letter; (letter = take(raw, MSG_DONTWAIT)).len >= 0; count++) {
    if (count < room) numbers[count] = number_in(letter.text);
  }
  return count;
}

int raw_rest(const raw_t* raw) {
  return raw_numbers(raw, NULL, 0);
}

void raw_gets(const char* file, int line, const raw_t* raw, const char* const* texts) {
  for (; *texts != NULL; texts++) {
    letter_t letter = raw_recv(raw);
    char said[100];
    snprintf(said, sizeof said, "\"%s\" expected, \"%s\" arrived", *texts, letter.text);
    if (strcmp(letter.text, *texts) != 0) broken(file, line, said);
  }
}

void there_or_nowhere(const char* file, int line, const outbox_t* outbox, int count, const raw_t* raw) {
  int numbers[ROOM], arrived = raw_numbers(raw, numbers, ROOM), next = 0;
  if (!in_order(outbox, count)) broken(file, line, "each completes once and in order, sent or canceled");
  for (int i = 0; i < count; i++) {
    if (outbox->status[i] != 0) continue;
    if (next >= arrived || numbers[next++] != i) broken(file, line, "what is said to be sent arrives, in order");
  }
  if (next != arrived) broken(file, line, "nothing arrives that is said to be canceled");
}

address_t dead_address(stage_t* stage) {
  int yes = 1, fd = socket(stage->family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  address_t where = loopback_of(stage->family, 0);
  socklen_t len = sizeof where;
  ENSURE(fd >= 0 && bind(fd, at(where), length_of(where)) == 0 && getsockname(fd, (struct sockaddr*) &where, &len) == 0);
  /* Not before: the kernel might choose the port of another one that may be reused. */
  ENSURE(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) == 0);
  ENSURE(connect(fd, at(where), length_of(where)) == 0);
  return where;
}

raw_t revive(address_t dead) {
  int yes = 1, fd = socket(dead.any.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  ENSURE(fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) == 0);
  ENSURE(bind(fd, at(dead), length_of(dead)) == 0);
  return raw_of(fd);
}
