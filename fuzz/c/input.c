#define _GNU_SOURCE
#include "input.h"

#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

uint8_t next_byte(struct input *input) {
  if (input->left == 0)
    return 0;
  input->left--;
  return *input->bytes++;
}

static void next_bytes(struct input *input, void *to, size_t length) {
  size_t most = length < input->left ? length : input->left;
  memset(to, 0, length);
  if (most > 0)
    memcpy(to, input->bytes, most);
  input->bytes += most;
  input->left -= most;
}

int next_int(struct input *input) {
  int number;
  next_bytes(input, &number, sizeof number);
  return number;
}

char *next_text(struct input *input) {
  size_t length = next_byte(input);
  char *text;
  if (length == 0xff)
    return NULL;
  if (length > input->left)
    length = input->left;
  text = malloc(length + 1);
  assert(text != NULL);
  next_bytes(input, text, length);
  text[length] = '\0';
  return text;
}

struct sockaddr *next_address(struct input *input) {
  sa_family_t family;
  size_t length;
  struct sockaddr *address;
  next_bytes(input, &family, sizeof family);
  if (family == AF_INET)
    length = sizeof(struct sockaddr_in);
  else if (family == AF_INET6)
    length = sizeof(struct sockaddr_in6);
  else
    length = sizeof family;
  address = malloc(length);
  assert(address != NULL);
  next_bytes(input, (char *)address + sizeof family, length - sizeof family);
  memcpy(address, &family, sizeof family);
  return address;
}

int is_alone(void) {
  static int known = -1;
  struct ifreq request;
  int sock;
  if (known >= 0)
    return known;
  known = 0;
  if (unshare(CLONE_NEWNET) != 0)
    return 0;
  sock = socket(AF_INET, SOCK_DGRAM, 0);
  memset(&request, 0, sizeof request);
  strcpy(request.ifr_name, "lo");
  if (sock >= 0 && ioctl(sock, SIOCGIFFLAGS, &request) == 0) {
    request.ifr_flags |= IFF_UP;
    known = ioctl(sock, SIOCSIFFLAGS, &request) == 0;
  }
  if (sock >= 0)
    close(sock);
  return known;
}

void set_up(struct stage *stage, unsigned int flags) {
  assert(uv_loop_init(&stage->loop) == 0);
  if (uv_udp_init_ex(&stage->loop, &stage->handle, flags) != 0)
    assert(uv_udp_init(&stage->loop, &stage->handle) == 0);
}

static void on_close(uv_handle_t *handle) {
  uv_handle_set_data(handle, handle);
}

void tear_down(struct stage *stage) {
  uv_handle_t *handle = (uv_handle_t *)&stage->handle;
  uv_close(handle, on_close);
  assert(uv_run(&stage->loop, UV_RUN_DEFAULT) == 0);
  assert(uv_handle_get_data(handle) == handle);
  assert(uv_loop_close(&stage->loop) == 0);
}
