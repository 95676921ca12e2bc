/* Addresses as text, as structures, and on sockets. */

#include "input.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

/* Memory that is as long as it is said to be. */
static void check_room(const struct sockaddr *address, size_t room) {
  char *name = malloc(room + 1);
  assert(name != NULL);
  name[room] = 'x';
  if (uv_ip_name(address, name, room) == 0)
    assert(strlen(name) < room);
  assert(name[room] == 'x');
  free(name);
}

/* What is written as text reads the same. */
static void check_text(struct input *input) {
  char *text = next_text(input);
  int port = next_int(input);
  struct sockaddr_in v4, again4;
  struct sockaddr_in6 v6, again6;
  char name[INET6_ADDRSTRLEN];
  unsigned char octets[sizeof(struct in6_addr)], theirs[sizeof octets];

  if (uv_ip4_addr(text, port, &v4) == 0) {
    assert(uv_ip4_name(&v4, name, sizeof name) == 0);
    assert(uv_ip4_addr(name, port, &again4) == 0);
    assert(memcmp(&v4, &again4, sizeof v4) == 0);
    assert(inet_pton(AF_INET, text, theirs) == 1);
    assert(memcmp(&v4.sin_addr, theirs, sizeof v4.sin_addr) == 0);
  }
  if (uv_ip6_addr(text, port, &v6) == 0) {
    assert(uv_ip6_name(&v6, name, sizeof name) == 0);
    assert(uv_ip6_addr(name, port, &again6) == 0);
    assert(memcmp(&v6.sin6_addr, &again6.sin6_addr, sizeof v6.sin6_addr) == 0);
    assert(inet_ntop(AF_INET6, &v6.sin6_addr, (char[INET6_ADDRSTRLEN]){0}, INET6_ADDRSTRLEN) != NULL);
  }
  if (uv_inet_pton(next_byte(input) % 2 ? AF_INET : AF_INET6, text, octets) == 0)
    assert(text != NULL);
  assert(uv_inet_pton(AF_UNIX, text, octets) != 0);
  free(text);
}

/* What the kernel took for an address is the one that was given. */
static void check_socket(struct input *input, const struct sockaddr *address) {
  struct stage stage;
  struct sockaddr_storage name;
  unsigned char flags = next_byte(input);
  int length = sizeof name, result, room;
  unsigned char *exact;

  set_up(&stage, 0);
  if (flags & 1)
    result = uv_udp_connect(&stage.handle, address);
  else
    result = uv_udp_bind(&stage.handle, address, next_byte(input));
  memset(&name, 0, sizeof name);
  if (result == 0) {
    if (flags & 1)
      assert(uv_udp_getpeername(&stage.handle, (struct sockaddr *)&name, &length) == 0);
    else
      assert(uv_udp_getsockname(&stage.handle, (struct sockaddr *)&name, &length) == 0);
    assert(name.ss_family == address->sa_family);
    assert((size_t)length == (name.ss_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6)));
    /* As much as there is room for, and not a byte more. */
    room = flags % 32;
    exact = malloc((size_t)room + 1);
    assert(exact != NULL);
    exact[room] = 0x5a;
    length = room;
    assert(uv_udp_getsockname(&stage.handle, (struct sockaddr *)exact, &length) == 0);
    assert(exact[room] == 0x5a && length >= (int)sizeof(struct sockaddr_in));
    free(exact);
    if (flags & 1)
      assert(uv_udp_disconnect(&stage.handle) == 0);
  } else {
    assert(result < 0);
    assert(uv_udp_getpeername(&stage.handle, (struct sockaddr *)&name, &length) < 0);
  }
  tear_down(&stage);
}

void fuzz_addresses(const uint8_t *data, size_t length) {
  struct input input = {data, length};
  is_alone();
  while (input.left > 0) {
    switch (next_byte(&input) % 3) {
    case 0:
      check_text(&input);
      break;
    case 1: {
      struct sockaddr *address = next_address(&input);
      check_room(address, next_byte(&input) % 64);
      free(address);
      break;
    }
    default: {
      struct sockaddr *address = next_address(&input);
      check_socket(&input, address);
      free(address);
    }
    }
  }
}
