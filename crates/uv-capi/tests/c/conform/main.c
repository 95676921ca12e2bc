/*
 *     conform [TEXT]
 *
 * Checks every rule with TEXT in its name, for both families of addresses, and prints a line for each:
 * passed|failed|skipped, name, v4|v6, microseconds, promise, detail; with a tab between them. Fails if a rule does not hold.
 */
#include "conform.h"

/* Seconds after which a rule that hangs ends the program; valgrind is slow. */
#define PATIENCE 60

const struct sockaddr* at(address_t address) {
  static address_t recent[8];
  static unsigned next;
  address_t* copy = &recent[next++ % 8];
  *copy = address;
  return (const struct sockaddr*) copy;
}

address_t loopback_of(int family, int port) {
  address_t address;
  memset(&address, 0, sizeof address);
  if (family == AF_INET) {
    uv_ip4_addr("127.0.0.1", port, (struct sockaddr_in*) &address);
  } else {
    uv_ip6_addr("::1", port, (struct sockaddr_in6*) &address);
  }
  return address;
}

address_t wildcard_of(int family, int port) {
  address_t address;
  memset(&address, 0, sizeof address);
  if (family == AF_INET) {
    uv_ip4_addr("0.0.0.0", port, (struct sockaddr_in*) &address);
  } else {
    uv_ip6_addr("::", port, (struct sockaddr_in6*) &address);
  }
  return address;
}

address_t local_of(const uv_udp_t* udp) {
  address_t address;
  int len = sizeof address.any;
  memset(&address, 0, sizeof address);
  if (uv_udp_getsockname(udp, (struct sockaddr*) &address, &len) != 0) memset(&address, 0, sizeof address);
  return address;
}

int port_of(address_t address) {
  return ntohs(((struct sockaddr_in*) &address)->sin_port);
}

int same_address(address_t a, address_t b) {
  char name_a[64] = "", name_b[64] = "";
  uv_ip_name(at(a), name_a, sizeof name_a);
  uv_ip_name(at(b), name_b, sizeof name_b);
  return strcmp(name_a, name_b) == 0 && port_of(a) == port_of(b);
}

int is_wildcard(address_t address) {
  return same_address(address, wildcard_of(address.any.ss_family, port_of(address)));
}

static void free_handle(uv_handle_t* handle) {
  free(handle);
}

void close_udp(uv_udp_t* udp) {
  uv_close((uv_handle_t*) udp, free_handle);
}

uv_udp_t* new_udp(stage_t* stage) {
  uv_udp_t* udp = (uv_udp_t*) malloc(sizeof *udp);
  udp->data = NULL;
  if (uv_udp_init(&stage->loop, udp) != 0) abort();
  return udp;
}

uv_udp_t* bound_udp(stage_t* stage) {
  uv_udp_t* udp = new_udp(stage);
  if (uv_udp_bind(udp, at(loopback_of(stage->family, 0)), 0) != 0) abort();
  return udp;
}

void run_until(stage_t* stage, const int* what, int count) {
  while (*what < count && uv_run(&stage->loop, UV_RUN_ONCE) != 0) {
  }
}

void settle(stage_t* stage) {
  for (int i = 0; i < 50; i++) uv_run(&stage->loop, UV_RUN_NOWAIT);
}

void inbox_alloc(uv_handle_t* handle, size_t suggested, uv_buf_t* buf) {
  ((inbox_t*) handle->data)->lent++;
  buf->base = (char*) malloc(suggested);
  buf->len = suggested;
}

void inbox_recv(uv_udp_t* udp, ssize_t nread, const uv_buf_t* buf, const struct sockaddr* addr, unsigned flags) {
  inbox_t* inbox = (inbox_t*) udp->data;
  inbox->flags |= flags;
  if (nread < 0) {
    inbox->error = (int) nread;
    inbox->errors++;
  } else if (addr == NULL) {
    inbox->ends++;
  } else if (inbox->count < 128) {
    memcpy(inbox->data[inbox->count], buf->base, (size_t) (nread < 15 ? nread : 15));
    memcpy(&inbox->from[inbox->count], addr, addr->sa_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6));
    inbox->count++;
  }
  if (buf->base != NULL) inbox->lent--;
  free(buf->base);
}

int receive(uv_udp_t* udp, inbox_t* inbox) {
  udp->data = inbox;
  return uv_udp_recv_start(udp, inbox_alloc, inbox_recv);
}

static void on_mailed(uv_udp_send_t* req, int status) {
  mail_t* mail = (mail_t*) req;
  outbox_t* outbox = mail->outbox;
  if (outbox->count < 256) {
    outbox->order[outbox->count] = mail->number;
    outbox->status[outbox->count] = status;
  }
  outbox->count++;
  free(mail);
}

static int mail(outbox_t* outbox, int number, uv_udp_t* udp, const char* bytes, const struct sockaddr* to) {
  mail_t* mail = (mail_t*) malloc(sizeof *mail);
  /* The bytes are gone when the call returns. */
  char* copy = strdup(bytes);
  uv_buf_t buf = text(copy);
  mail->outbox = outbox;
  mail->number = number;
  int result = to == NULL ? send_to_peer(&mail->req, udp, &buf, 1, on_mailed) : send_to(&mail->req, udp, &buf, 1, to, on_mailed);
  memset(copy, '#', strlen(copy));
  free(copy);
  if (result != 0) free(mail);
  return result;
}

int mail_to_peer(outbox_t* outbox, int number, uv_udp_t* udp, const char* bytes) {
  return mail(outbox, number, udp, bytes, NULL);
}

int mail_to(outbox_t* outbox, int number, uv_udp_t* udp, const char* bytes, const struct sockaddr* to) {
  return mail(outbox, number, udp, bytes, to);
}

static void close_left_over(uv_handle_t* handle, void* arg) {
  (void) arg;
  if (!uv_is_closing(handle)) uv_close(handle, handle->type == UV_UDP ? free_handle : NULL);
}

static int has_family(int family) {
  address_t address = loopback_of(family, 0);
  uv_loop_t loop;
  uv_udp_t udp;
  int result;
  uv_loop_init(&loop);
  uv_udp_init(&loop, &udp);
  result = uv_udp_bind(&udp, at(address), 0);
  uv_close((uv_handle_t*) &udp, NULL);
  uv_run(&loop, UV_RUN_DEFAULT);
  uv_loop_close(&loop);
  return result == 0;
}

/* Checks one rule for one family. */
static int check(const rule_t* rule, int family) {
  const char* family_name = family == AF_INET ? "v4" : "v6";
  if (!has_family(family)) {
    printf("skipped\t%s\t%s\t0\t%s\tthis host has no loopback address of the family\n", rule->id, family_name, rule->title);
    return 1;
  }
  stage_t stage;
  uint64_t began = uv_hrtime();
  alarm(PATIENCE);
  if (uv_loop_init(&stage.loop) != 0) abort();
  stage.family = family;
  verdict_t verdict = rule->check(&stage);
  uv_walk(&stage.loop, close_left_over, NULL);
  uv_run(&stage.loop, UV_RUN_DEFAULT);
  if (uv_loop_close(&stage.loop) != 0 && verdict == HOLDS) verdict = "the loop closes";
  printf("%s\t%s\t%s\t%llu\t%s\t%s\n", verdict == HOLDS ? "passed" : "failed", rule->id, family_name,
         (unsigned long long) (uv_hrtime() - began) / 1000, rule->title, verdict == HOLDS ? "" : verdict);
  fflush(stdout);
  return verdict == HOLDS;
}

int main(int argc, char** argv) {
  const rule_t* all[] = {policy_rules, request_rules, receive_rules, connection_rules, life_rules};
  int held = 1;
  for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
    for (const rule_t* rule = all[i]; rule->id != NULL; rule++) {
      if (argc > 1 && strstr(rule->id, argv[1]) == NULL) continue;
      held &= check(rule, AF_INET);
      held &= check(rule, AF_INET6);
    }
  }
  return held ? 0 : 1;
}
