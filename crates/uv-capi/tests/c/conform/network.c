/*
 * Networks to order: a namespace for the rule's own process, and a second one behind a cable.
 *
 * The near side has `lo` and a device `near` with 192.0.2.1/24 and 2001:db8::1/64; the far side is .2 and ::2 there. Nobody
 * is at .99 and ::99: what is sent there waits in the neighbour table, charged to its socket, until wake() lets somebody
 * answer. That is how a send buffer is full for as long as a rule wants.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <sys/time.h>

#include "conform.h"

/* The hardware address of the far end of the cable. */
#define FAR_HARDWARE "02:00:00:00:00:02"

/* The two namespaces. A socket stays in the one it was made in. */
static int near_namespace = -1, far_namespace = -1;

static int current_namespace(void) {
  return open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
}

static int try_ip(const char* arguments) {
  char command[300];
  snprintf(command, sizeof command, "ip %s >/dev/null 2>&1", arguments);
  return system(command);
}

void ip(const char* arguments) {
  if (try_ip(arguments) != 0) FAIL(arguments);
}

static void go(int namespace) {
  ENSURE(setns(namespace, CLONE_NEWNET) == 0);
}

void far_ip(const char* arguments) {
  go(far_namespace);
  ip(arguments);
  go(near_namespace);
}

void enter_namespace(void) {
  if (unshare(CLONE_NEWNET) != 0) skip("no network namespace here: unshare(CLONE_NEWNET) is refused");
  if (try_ip("link set lo up") != 0) skip("no network namespace here: `ip` is missing or refused");
  near_namespace = current_namespace();
  ENSURE(near_namespace >= 0);
}

static address_t host(int family, int number, int port) {
  char name[40];
  snprintf(name, sizeof name, family == AF_INET ? "192.0.2.%d" : "2001:db8::%d", number);
  return address_of(family, name, port);
}

address_t near_of(int family, int port) {
  return host(family, 1, port);
}

address_t far_of(int family, int port) {
  return host(family, 2, port);
}

address_t silent_of(int family, int port) {
  return host(family, 99, port);
}

raw_t far_raw(address_t where) {
  raw_t raw;
  go(far_namespace);
  raw = raw_at(where);
  go(near_namespace);
  return raw;
}

unsigned far_index(void) {
  go(far_namespace);
  unsigned index = if_nametoindex("far");
  go(near_namespace);
  ENSURE(index != 0);
  return index;
}

/* Sends until something arrives. A network that was just made loses a datagram or two: the kernel is done with a cable, and
 * with an IPv6 address, a while after `ip` is. */
static void reaches(const raw_t* from, const raw_t* to) {
  struct timeval moment = {0, 20000}, deadline = {60, 0};
  char byte;
  waiting(__FILE__, __LINE__, "the network is there");
  ENSURE(setsockopt(to->fd, SOL_SOCKET, SO_RCVTIMEO, &moment, sizeof moment) == 0);
  do {
    raw_say(from, "hello", to->address);
  } while (recv(to->fd, &byte, 1, 0) < 0);
  ENSURE(setsockopt(to->fd, SOL_SOCKET, SO_RCVTIMEO, &deadline, sizeof deadline) == 0);
}

/* No looking for duplicates: an address is good at once. */
static void add_address(void (*ip_there)(const char*), int family, int number, const char* device) {
  char arguments[100];
  snprintf(arguments, sizeof arguments, family == AF_INET ? "addr add 192.0.2.%d/24 dev %s" : "addr add 2001:db8::%d/64 dev %s nodad",
           number, device);
  ip_there(arguments);
}

void cable(stage_t* stage) {
  char arguments[200];
  ENSURE(unshare(CLONE_NEWNET) == 0);
  far_namespace = current_namespace();
  ENSURE(far_namespace >= 0);
  ip("link set lo up");
  go(near_namespace);
  ip("link add near type veth peer name far address " FAR_HARDWARE);
  snprintf(arguments, sizeof arguments, "link set far netns /proc/%d/fd/%d", (int) getpid(), far_namespace);
  ip(arguments);
  ip("link set near up");
  far_ip("link set far up");
  add_address(ip, stage->family, 1, "near");
  add_address(far_ip, stage->family, 2, "far");
  /* So that a neighbour that does not answer is waited for as long as a rule takes. */
  ip("ntable change name arp_cache dev near mcast_probes 1000");
  if (has_family(AF_INET6)) ip("ntable change name ndisc_cache dev near mcast_probes 1000");
  raw_t here = raw_at(near_of(stage->family, 0)), there = far_raw(far_of(stage->family, 0));
  reaches(&here, &there);
  reaches(&there, &here);
}

void wake(stage_t* stage) {
  char arguments[200], name[64];
  add_address(far_ip, stage->family, 99, "far");
  raw_t there = far_raw(silent_of(stage->family, 0));
  reaches(&there, &there);
  uv_ip_name(at(there.address), name, sizeof name);
  snprintf(arguments, sizeof arguments, "neigh replace %s lladdr " FAR_HARDWARE " dev near", name);
  ip(arguments);
}

address_t second_address(const stage_t* stage, int port) {
  return address_of(stage->family, stage->family == AF_INET ? "127.0.0.2" : "fd00::2", port);
}

void add_second_address(const stage_t* stage) {
  /* All of 127.0.0.0/8 is there already. */
  if (stage->family == AF_INET6) ip("addr add fd00::2/128 dev lo nodad");
  raw_t own = raw_at(second_address(stage, 0));
  reaches(&own, &own);
  close(own.fd);
}

static void set_there(const char* name, const char* value) {
  char path[100];
  snprintf(path, sizeof path, "/proc/sys/net/%s", name);
  go(far_namespace);
  FILE* file = fopen(path, "w");
  ENSURE(file != NULL && fputs(value, file) >= 0 && fclose(file) == 0);
  go(near_namespace);
}

void router(stage_t* stage) {
  static const char* const devices[] = {
      "link add empty type veth peer name end", "link set empty up", "link set end up",
      "ntable change name arp_cache dev empty mcast_probes 1 retrans 20",
  };
  cable(stage);
  for (size_t i = 0; i < sizeof devices / sizeof devices[0]; i++) far_ip(devices[i]);
  /* The router says what it has to say as often as it happens. */
  if (stage->family == AF_INET) {
    far_ip("addr add 198.51.100.1/24 dev empty");
    far_ip("route add prohibit 10.1.1.0/24");
    set_there("ipv4/ip_forward", "1");
    set_there("ipv4/icmp_ratelimit", "0");
    ip("route add default via 192.0.2.2");
  } else {
    far_ip("ntable change name ndisc_cache dev empty mcast_probes 1 retrans 20");
    far_ip("addr add 2001:db8:1::1/64 dev empty nodad");
    far_ip("-6 route add prohibit 2001:db8:3::/48");
    set_there("ipv6/conf/all/forwarding", "1");
    set_there("ipv6/icmp/ratelimit", "0");
    ip("-6 route add default via 2001:db8::2");
  }
}

/* The number under a name in a table of two lines, names and values. */
static long in_columns(FILE* file, const char* wanted) {
  char names[2000], values[2000], *rest_of_names = NULL, *rest_of_values = NULL;
  while (fgets(names, sizeof names, file) != NULL) {
    if (strncmp(names, "Udp:", 4) != 0 || fgets(values, sizeof values, file) == NULL) continue;
    char *name = strtok_r(names, " \n", &rest_of_names), *value = strtok_r(values, " \n", &rest_of_values);
    for (; name != NULL && value != NULL; name = strtok_r(NULL, " \n", &rest_of_names), value = strtok_r(NULL, " \n", &rest_of_values)) {
      if (strcmp(name, wanted) == 0) return atol(value);
    }
  }
  return -1;
}

long sends_without_buffers(int family) {
  FILE* file = fopen(family == AF_INET ? "/proc/self/net/snmp" : "/proc/self/net/snmp6", "r");
  char name[100];
  long value, count = -1;
  ENSURE(file != NULL);
  if (family == AF_INET) {
    count = in_columns(file, "SndbufErrors");
  } else {
    while (fscanf(file, "%99s %ld", name, &value) == 2) {
      if (strcmp(name, "Udp6SndbufErrors") == 0) count = value;
    }
  }
  fclose(file);
  ENSURE(count >= 0);
  return count;
}
