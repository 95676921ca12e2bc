/* Groups: who hears them, where they are sent, and what a reconnect leaves of that. */
#include <net/if.h>

#include "conform.h"

static const char* group_of(const stage_t* stage) {
  return stage->family == AF_INET ? "232.7.7.7" : "ff02::7:7";
}

/* The cable's near end as libuv's functions take an interface. */
static const char* interface_of(const stage_t* stage) {
  return stage->family == AF_INET ? "192.0.2.1" : "2001:db8::1%near";
}

static const char* sender_of(const stage_t* stage, int far) {
  if (stage->family == AF_INET) return far ? "192.0.2.2" : "192.0.2.1";
  return far ? "2001:db8::2" : "2001:db8::1";
}

static void reconnect(uv_udp_t* udp, address_t to) {
  ENSURE(uv_udp_connect(udp, at(to)) == 0 && connect_anew(udp, at(to)) == 0 && disconnect(udp) == 0);
}

/* Joins or leaves the group on the near end, for what one source sends or, without one, for everything. */
static int take_part(stage_t* stage, uv_udp_t* udp, const char* source, uv_membership membership) {
  const char *group = group_of(stage), *here = interface_of(stage);
  return source == NULL ? uv_udp_set_membership(udp, group, here, membership)
                        : uv_udp_set_source_membership(udp, group, here, source, membership);
}

static void membership(stage_t* stage, const char* source) {
  inbox_t inbox = {0};
  int off = 0, v4 = stage->family == AF_INET;
  cable(stage);
  int index = (int) if_nametoindex("near");
  uv_udp_t* udp = wildcard_udp(stage);
  /* Without this, Linux gives a socket every group that anybody on the host is a member of. */
  ENSURE(setsockopt(fd_of(udp), v4 ? IPPROTO_IP : IPPROTO_IPV6, v4 ? 49 /* IP_MULTICAST_ALL */ : 29 /* IPV6_MULTICAST_ALL */, &off, sizeof off) == 0);
  address_t to = address_of(stage->family, group_of(stage), port_of(local_of(udp)));
  raw_t sender = raw_at(near_of(stage->family, 0));
  struct in_addr own = ((struct sockaddr_in*) &sender.address)->sin_addr;
  ENSURE(v4 ? setsockopt(sender.fd, IPPROTO_IP, IP_MULTICAST_IF, &own, sizeof own) == 0
            : setsockopt(sender.fd, IPPROTO_IPV6, IPV6_MULTICAST_IF, &index, sizeof index) == 0);
  ENSURE(receive(udp, &inbox) == 0);
  /* A member for another source hears nothing either. */
  if (source != NULL) ENSURE(take_part(stage, udp, sender_of(stage, 1), UV_JOIN_GROUP) == 0);
  raw_say(&sender, "early", to);
  settle(stage);
  ENSURE(take_part(stage, udp, source, UV_JOIN_GROUP) == 0);
  ENSURE(take_part(stage, udp, source, UV_JOIN_GROUP) == (source == NULL ? UV_EADDRINUSE : UV_EADDRNOTAVAIL));
  raw_say(&sender, "one", to);
  UNTIL(ends_with(&inbox, "one"));
  reconnect(udp, sender.address);
  raw_say(&sender, "two", to);
  UNTIL(ends_with(&inbox, "two"));
  ENSURE(take_part(stage, udp, source, UV_LEAVE_GROUP) == 0);
  ENSURE(take_part(stage, udp, source, UV_LEAVE_GROUP) == UV_EADDRNOTAVAIL);
  raw_say(&sender, "late", to);
  settle(stage);
  reconnect(udp, sender.address);
  raw_say(&sender, "later", to);
  settle(stage);
  ENSURE(HAS(&inbox, "one", "two"));
}

static void members(stage_t* stage) {
  membership(stage, NULL);
}

static void members_for_a_source(stage_t* stage) {
  membership(stage, sender_of(stage, 0));
}

static void loops(stage_t* stage) {
  inbox_t inbox = {0};
  int v4 = stage->family == AF_INET;
  cable(stage);
  uv_udp_t *member = wildcard_udp(stage), *udp = wildcard_udp(stage);
  ENSURE(take_part(stage, member, NULL, UV_JOIN_GROUP) == 0 && receive(member, &inbox) == 0);
  address_t to = address_of(stage->family, group_of(stage), port_of(local_of(member)));
  raw_t there = far_raw(wildcard_of(stage->family, port_of(to)));
  /* A membership is of the socket's namespace, whichever the process is in. */
  struct ip_mreq four = {((struct sockaddr_in*) &to)->sin_addr, ((struct sockaddr_in*) at(far_of(stage->family, 0)))->sin_addr};
  struct ipv6_mreq six = {((struct sockaddr_in6*) &to)->sin6_addr, far_index()};
  ENSURE(v4 ? setsockopt(there.fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &four, sizeof four) == 0
            : setsockopt(there.fd, IPPROTO_IPV6, IPV6_ADD_MEMBERSHIP, &six, sizeof six) == 0);
  ENSURE(uv_udp_set_multicast_interface(udp, interface_of(stage)) == 0);
  ENSURE(say_to(udp, "to all", to) == 6);
  ENSURE(uv_udp_set_multicast_loop(udp, 0) == 0 && say_to(udp, "not here", to) == 8);
  GETS_ONLY(&there, "to all", "not here");
  UNTIL(inbox.count > 0);
  settle(stage);
  ENSURE(HAS(&inbox, "to all"));
}

/* The next datagram that a raw socket gets, which has this text, source and number of hops. */
static void comes_with_hops(const raw_t* raw, const char* words, int port, int hops) {
  char bytes[TEXT] = "";
  union {
    struct cmsghdr aligned;
    char bytes[CMSG_SPACE(sizeof(int))];
  } control;
  address_t from;
  struct iovec part = {bytes, sizeof bytes - 1};
  struct msghdr message;
  int told = -1;
  memset(&from, 0, sizeof from);
  memset(&message, 0, sizeof message);
  message.msg_name = &from;
  message.msg_namelen = sizeof from;
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = &control;
  message.msg_controllen = sizeof control;
  ENSURE(recvmsg(raw->fd, &message, 0) == (ssize_t) strlen(words) && strcmp(bytes, words) == 0);
  struct cmsghdr* beside = CMSG_FIRSTHDR(&message);
  ENSURE(beside != NULL && (beside->cmsg_level == IPPROTO_IP ? beside->cmsg_type == IP_TTL : beside->cmsg_type == IPV6_HOPLIMIT));
  memcpy(&told, CMSG_DATA(beside), sizeof told);
  ENSURE(told == hops && port_of(from) == port);
}

/* A second cable, with nobody at its other end. */
static const char* another_cable(const stage_t* stage, address_t to_all) {
  int v4 = stage->family == AF_INET;
  ip("link add other type veth peer name end");
  ip("link set other up");
  ip("link set end up");
  ip(v4 ? "addr add 198.51.100.1/24 dev other" : "addr add 2001:db8:7::1/64 dev other nodad");
  /* The kernel is done with it a while after `ip` is. */
  raw_t raw = raw_at(wildcard_of(stage->family, 0));
  struct ip_mreqn out = {.imr_ifindex = (int) if_nametoindex("other")};
  ENSURE(v4 ? setsockopt(raw.fd, IPPROTO_IP, IP_MULTICAST_IF, &out, sizeof out) == 0
            : setsockopt(raw.fd, IPPROTO_IPV6, IPV6_MULTICAST_IF, &out.imr_ifindex, sizeof out.imr_ifindex) == 0);
  waiting(__FILE__, __LINE__, "the other cable is there");
  while (sendto(raw.fd, "hello", 5, 0, at(to_all), length_of(to_all)) < 0) ENSURE(errno == ENETUNREACH || errno == EADDRNOTAVAIL);
  return v4 ? "198.51.100.1" : "2001:db8:7::1%other";
}

static void hops_and_interfaces(stage_t* stage) {
  /* What was set for groups before each is sent; at first nothing was. */
  static const int set[] = {0, 5, 255, 1};
  inbox_t inbox = {0};
  int on = 1, v4 = stage->family == AF_INET;
  cable(stage);
  /* A port that is not one of the kernel's choice, so that nobody on this side has it too. */
  raw_t there = far_raw(wildcard_of(stage->family, 4242));
  ENSURE(v4 ? setsockopt(there.fd, IPPROTO_IP, IP_RECVTTL, &on, sizeof on) == 0
            : setsockopt(there.fd, IPPROTO_IPV6, IPV6_RECVHOPLIMIT, &on, sizeof on) == 0);
  /* Every host on a network is a member, so that nobody need join. */
  address_t to_all = address_of(stage->family, v4 ? "224.0.0.1" : "ff02::1", port_of(there.address));
  const char *near = interface_of(stage), *other = another_cable(stage, to_all), *group = v4 ? "239.9.9.9" : "ff02::9:9";
  uv_udp_t* udp = wildcard_udp(stage);
  int port = port_of(local_of(udp));
  for (size_t i = 0; i < sizeof set / sizeof set[0]; i++) {
    if (set[i] != 0) ENSURE(uv_udp_set_multicast_ttl(udp, set[i]) == 0);
    /* What is for single hosts is another matter. */
    ENSURE(uv_udp_set_ttl(udp, 77) == 0);
    ENSURE(uv_udp_set_multicast_interface(udp, other) == 0 && say_to(udp, "elsewhere", to_all) == 9);
    ENSURE(uv_udp_set_multicast_interface(udp, near) == 0 && say_to(udp, "to all", to_all) == 6);
    ENSURE(say_to(udp, "to one", far_of(stage->family, port_of(there.address))) == 6);
    comes_with_hops(&there, "to all", port, set[i] == 0 ? 1 : set[i]);
    comes_with_hops(&there, "to one", port, 77);
  }
  /* A member by address hears what comes over that cable, for as long as it is one. */
  unsigned index = far_index();
  struct ip_mreqn out = {.imr_ifindex = (int) index};
  ENSURE(v4 ? setsockopt(there.fd, IPPROTO_IP, IP_MULTICAST_IF, &out, sizeof out) == 0
            : setsockopt(there.fd, IPPROTO_IPV6, IPV6_MULTICAST_IF, &index, sizeof index) == 0);
  address_t to = address_of(stage->family, group, port);
  ENSURE(receive(udp, &inbox) == 0);
  for (int round = 0; round < 3; round++) {
    static const char* const ends[] = {"before", "while it is", "after"};
    if (round == 1) ENSURE(uv_udp_set_membership(udp, group, near, UV_JOIN_GROUP) == 0);
    if (round == 2) ENSURE(uv_udp_set_membership(udp, group, near, UV_LEAVE_GROUP) == 0);
    /* To be a member on the other cable is of no use. */
    ENSURE(uv_udp_set_membership(udp, group, other, UV_JOIN_GROUP) == 0);
    raw_say(&there, "to members", to);
    /* The cable keeps the order. */
    raw_say(&there, ends[round], near_of(stage->family, port));
    UNTIL(ends_with(&inbox, ends[round]));
    ENSURE(uv_udp_set_membership(udp, group, other, UV_LEAVE_GROUP) == 0);
  }
  ENSURE(HAS(&inbox, "before", "to members", "while it is", "after"));
}

/* An interface or a source of the other family, or no address at all. */
static void bad_addresses(stage_t* stage) {
  int v4 = stage->family == AF_INET;
  const char *group = group_of(stage), *own = v4 ? "127.0.0.1" : "::1%lo", *foreign = v4 ? "::1" : "127.0.0.1";
  uv_udp_t *fresh = new_udp(stage), *udp = new_udp_ex(stage, (unsigned) stage->family);
  ENSURE(uv_udp_set_membership(fresh, group, foreign, UV_JOIN_GROUP) == UV_EINVAL);
  ENSURE(uv_udp_set_membership(fresh, group, "", UV_JOIN_GROUP) == UV_EINVAL);
  ENSURE(uv_udp_set_membership(fresh, "", own, UV_JOIN_GROUP) == UV_EINVAL);
  ENSURE(uv_udp_set_membership(fresh, group, own, (uv_membership) 7) == UV_EINVAL);
  ENSURE(uv_udp_set_source_membership(fresh, group, foreign, own, UV_JOIN_GROUP) == UV_EINVAL);
  ENSURE(uv_udp_set_source_membership(fresh, group, own, foreign, UV_JOIN_GROUP) == UV_EINVAL);
  ENSURE(uv_udp_set_source_membership(fresh, group, own, NULL, UV_JOIN_GROUP) == UV_EINVAL);
  ENSURE(!has_socket(fresh));
  ENSURE(uv_udp_set_multicast_interface(udp, "") == UV_EINVAL && uv_udp_set_multicast_interface(udp, "lo") == UV_EINVAL);
  ENSURE(uv_udp_set_multicast_interface(udp, foreign) < 0);
  ENSURE(uv_udp_set_multicast_interface(udp, own) == 0 && uv_udp_set_multicast_interface(udp, NULL) == 0);
}

const rule_t multicast_rules[] = {
    ISOLATED("multicast/members-hear-their-groups", members),
    ISOLATED("multicast/members-for-a-source-hear-it-alone", members_for_a_source),
    ISOLATED("multicast/loop-and-interface", loops),
    ISOLATED("multicast/hops-and-interfaces-by-address", hops_and_interfaces),
    {"multicast/bad-addresses-are-refused", "An interface or a source that is no address, or one of the other family, is refused and changes nothing.",
     EACH_FAMILY, bad_addresses},
    END,
};
