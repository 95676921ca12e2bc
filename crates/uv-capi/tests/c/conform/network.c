/* A network namespace for a rule's process, and a device with a neighbour that never answers. */
#define _GNU_SOURCE
#include <sched.h>

#include "conform.h"

static int try_ip(const char* arguments) {
  char command[300];
  snprintf(command, sizeof command, "ip %s >/dev/null 2>&1", arguments);
  return system(command);
}

void ip(const char* arguments) {
  if (try_ip(arguments) != 0) FAIL(arguments);
}

void enter_namespace(void) {
  if (unshare(CLONE_NEWNET) != 0) skip("unshare(CLONE_NEWNET) is refused");
  if (try_ip("link set lo up") != 0) skip("`ip` is missing or refused");
}

address_t near_of(int family, int port) {
  return address_of(family, family == AF_INET ? "192.0.2.1" : "2001:db8::1", port);
}

address_t silent_of(int family, int port) {
  return address_of(family, family == AF_INET ? "192.0.2.99" : "2001:db8::99", port);
}

void add_cable(test_t* test) {
  ip("link add near type veth peer name far");
  ip("link set near up");
  ip("link set far up");
  /* Without duplicate address detection the IPv6 address is usable at once. */
  ip(test->family == AF_INET ? "addr add 192.0.2.1/24 dev near" : "addr add 2001:db8::1/64 dev near nodad");
  /* Datagrams to the silent neighbour wait in the neighbour table, charged to their socket, for longer than a rule runs. */
  ip("ntable change name arp_cache dev near mcast_probes 1000");
  if (has_family(AF_INET6)) ip("ntable change name ndisc_cache dev near mcast_probes 1000");
}
