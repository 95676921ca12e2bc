/* Multicast groups: interfaces and sources as strings. */
#include <net/if.h>

#include "conform.h"

static const char* group_of(const test_t* test) {
  return test->family == AF_INET ? "232.7.7.7" : "ff02::7:7";
}

/* The device `near` as libuv's functions take an interface: by an address. */
static const char* interface_of(const test_t* test) {
  return test->family == AF_INET ? "192.0.2.1" : "2001:db8::1%near";
}

static const char* sender_of(const test_t* test, int far) {
  if (test->family == AF_INET) return far ? "192.0.2.2" : "192.0.2.1";
  return far ? "2001:db8::2" : "2001:db8::1";
}

static uv_udp_t* bound_to_wildcard(test_t* test) {
  uv_udp_t* udp = new_udp(test);
  CHECK(uv_udp_bind(udp, at(wildcard_of(test->family, 0)), 0) == 0);
  return udp;
}

static void reconnect(uv_udp_t* udp, address_t to) {
  CHECK(uv_udp_connect(udp, at(to)) == 0 && connect_anew(udp, at(to)) == 0 && disconnect(udp) == 0);
}

/* Joins or leaves the group on `near`, for one source, or for all sources if it is NULL. */
static int take_part(test_t* test, uv_udp_t* udp, const char* source, uv_membership membership) {
  const char *group = group_of(test), *here = interface_of(test);
  return source == NULL ? uv_udp_set_membership(udp, group, here, membership)
                        : uv_udp_set_source_membership(udp, group, here, source, membership);
}

static void membership(test_t* test, const char* source) {
  received_t received = {0};
  int off = 0, v4 = test->family == AF_INET;
  add_cable(test);
  int index = (int) if_nametoindex("near");
  uv_udp_t* udp = bound_to_wildcard(test);
  /* Without this, Linux delivers the groups of all members on the host. */
  CHECK(setsockopt(fd_of(udp), v4 ? IPPROTO_IP : IPPROTO_IPV6, v4 ? 49 /* IP_MULTICAST_ALL */ : 29 /* IPV6_MULTICAST_ALL */, &off, sizeof off) == 0);
  address_t to = address_of(test->family, group_of(test), port_of(local_of(udp)));
  raw_t sender = raw_at(near_of(test->family, 0));
  struct in_addr own = ((struct sockaddr_in*) &sender.address)->sin_addr;
  CHECK(v4 ? setsockopt(sender.fd, IPPROTO_IP, IP_MULTICAST_IF, &own, sizeof own) == 0
            : setsockopt(sender.fd, IPPROTO_IPV6, IPV6_MULTICAST_IF, &index, sizeof index) == 0);
  CHECK(start_receiving(udp, &received) == 0);
  /* Membership for another source delivers nothing. */
  if (source != NULL) CHECK(take_part(test, udp, sender_of(test, 1), UV_JOIN_GROUP) == 0);
  raw_send_text(&sender, "early", to);
  run_iterations(test);
  CHECK(take_part(test, udp, source, UV_JOIN_GROUP) == 0);
  CHECK(take_part(test, udp, source, UV_JOIN_GROUP) == (source == NULL ? UV_EADDRINUSE : UV_EADDRNOTAVAIL));
  raw_send_text(&sender, "one", to);
  RUN_UNTIL(ends_with_text(&received, "one"));
  reconnect(udp, sender.address);
  raw_send_text(&sender, "two", to);
  RUN_UNTIL(ends_with_text(&received, "two"));
  /* The membership is on `near`, and not on the loopback device. */
  const char *group = group_of(test), *lo = v4 ? "127.0.0.1" : "::1%lo";
  CHECK(source == NULL ? uv_udp_set_membership(udp, group, lo, UV_LEAVE_GROUP) == UV_EADDRNOTAVAIL
                       : uv_udp_set_source_membership(udp, group, lo, source, UV_LEAVE_GROUP) == UV_EINVAL);
  CHECK(take_part(test, udp, source, UV_LEAVE_GROUP) == 0);
  CHECK(take_part(test, udp, source, UV_LEAVE_GROUP) == UV_EADDRNOTAVAIL);
  raw_send_text(&sender, "late", to);
  run_iterations(test);
  reconnect(udp, sender.address);
  raw_send_text(&sender, "later", to);
  run_iterations(test);
  CHECK(RECEIVED(&received, "one", "two"));
}

static void members(test_t* test) {
  membership(test, NULL);
}

static void members_for_a_source(test_t* test) {
  membership(test, sender_of(test, 0));
}

/* Interfaces and sources of the other family, and strings that are no address. */
static void bad_addresses(test_t* test) {
  int v4 = test->family == AF_INET;
  const char *group = group_of(test), *own = v4 ? "127.0.0.1" : "::1%lo", *foreign = v4 ? "::1" : "127.0.0.1";
  uv_udp_t *fresh = new_udp(test), *udp = new_udp_ex(test, (unsigned) test->family);
  CHECK(uv_udp_set_membership(fresh, group, foreign, UV_JOIN_GROUP) == UV_EINVAL);
  CHECK(uv_udp_set_membership(fresh, group, "", UV_JOIN_GROUP) == UV_EINVAL);
  CHECK(uv_udp_set_membership(fresh, "", own, UV_JOIN_GROUP) == UV_EINVAL);
  CHECK(uv_udp_set_membership(fresh, group, own, (uv_membership) 7) == UV_EINVAL);
  CHECK(uv_udp_set_source_membership(fresh, group, foreign, own, UV_JOIN_GROUP) == UV_EINVAL);
  CHECK(uv_udp_set_source_membership(fresh, group, own, foreign, UV_JOIN_GROUP) == UV_EINVAL);
  CHECK(uv_udp_set_source_membership(fresh, group, own, NULL, UV_JOIN_GROUP) == UV_EINVAL);
  CHECK(!has_socket(fresh));
  CHECK(uv_udp_set_multicast_interface(udp, "") == UV_EINVAL && uv_udp_set_multicast_interface(udp, "lo") == UV_EINVAL);
  CHECK(uv_udp_set_multicast_interface(udp, foreign) < 0);
  CHECK(uv_udp_set_multicast_interface(udp, own) == 0 && uv_udp_set_multicast_interface(udp, NULL) == 0);
}

const rule_t multicast_rules[] = {
    ISOLATED("multicast/members-hear-their-groups", members),
    ISOLATED("multicast/members-for-a-source-hear-it-alone", members_for_a_source),
    {"multicast/bad-addresses-are-refused",
     "A bad interface or source, or one of the other family, is refused and changes nothing.",
     EACH_FAMILY, bad_addresses},
    END,
};
