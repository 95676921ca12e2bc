/* Options, flags and numbers. */

#include "input.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void on_alloc(uv_handle_t *handle, size_t size, uv_buf_t *buf) {
  static char memory[65536];
  (void)handle;
  *buf = uv_buf_init(memory, size < sizeof memory ? (unsigned int)size : (unsigned int)sizeof memory);
}

static void on_recv(uv_udp_t *handle, ssize_t count, const uv_buf_t *buf, const struct sockaddr *from, unsigned int flags) {
  (void)handle, (void)buf, (void)from, (void)flags;
  assert(count <= 65536);
}

static void check_numbers(struct input *input) {
  int number = next_int(input);
  size_t room = next_byte(input);
  char *text = malloc(room + 1);
  assert(text != NULL);
  text[room] = 'x';
  uv_strerror_r(number, text, room);
  assert(text[room] == 'x');
  uv_err_name_r(number, text, room);
  assert(text[room] == 'x');
  assert(uv_strerror(number) != NULL && uv_err_name(number) != NULL);
  free(text);
  uv_handle_type_name((uv_handle_type)number);
  uv_req_type_name((uv_req_type)number);
  uv_handle_size((uv_handle_type)number);
  uv_req_size((uv_req_type)number);
  uv_translate_sys_error(number);
}

static void check_membership(struct input *input, uv_udp_t *handle) {
  char *group = next_text(input), *on = next_text(input), *source = next_text(input);
  uv_membership membership = (uv_membership)(next_byte(input) % 4);
  int result;
  if (group == NULL || source == NULL)
    result = uv_udp_set_membership(handle, group, on, membership);
  else
    result = uv_udp_set_source_membership(handle, group, on, source, membership);
  assert(result <= 0);
  assert(group != NULL || result < 0);
  free(group);
  free(on);
  free(source);
}

static void check_send(struct input *input, uv_udp_t *handle) {
  unsigned int count = next_byte(input) % 8;
  uv_buf_t bufs[8];
  size_t sum = 0;
  char *memory[8];
  struct sockaddr_in to;
  int result;
  for (unsigned int i = 0; i < count; i++) {
    size_t length = (size_t)next_byte(input) * 64;
    memory[i] = malloc(length + 1);
    assert(memory[i] != NULL);
    memset(memory[i], (int)i, length);
    bufs[i] = uv_buf_init(memory[i], (unsigned int)length);
    sum += length;
  }
  assert(uv_ip4_addr("127.0.0.1", 9, &to) == 0);
  result = uv_udp_try_sendto(handle, bufs, count, (struct sockaddr *)&to);
  assert(result < 0 || (size_t)result == sum);
  assert(result < 0 || count > 0);
  for (unsigned int i = 0; i < count; i++)
    free(memory[i]);
}

static void check_size(int (*size)(uv_handle_t *, int *), struct input *input, uv_udp_t *handle) {
  int value = next_int(input), wanted = value;
  int result = size((uv_handle_t *)handle, &value);
  assert(result <= 0);
  assert(result < 0 || (wanted == 0 ? value > 0 : value == wanted));
  assert(wanted >= 0 || result < 0);
}

static void check_option(struct input *input, uv_udp_t *handle) {
  int number;
  char *text;
  switch (next_byte(input) % 12) {
  case 0:
    number = next_int(input);
    if (uv_udp_set_ttl(handle, number) == 0)
      assert(number >= 1 && number <= 255);
    break;
  case 1:
    number = next_int(input);
    if (uv_udp_set_multicast_ttl(handle, number) == 0)
      assert(number >= 0 && number <= 255);
    break;
  case 2:
    uv_udp_set_broadcast(handle, next_int(input));
    break;
  case 3:
    uv_udp_set_multicast_loop(handle, next_int(input));
    break;
  case 4:
    text = next_text(input);
    assert(uv_udp_set_multicast_interface(handle, text) <= 0);
    free(text);
    break;
  case 5:
    if (is_alone())
      check_membership(input, handle);
    break;
  case 6:
    check_size(uv_send_buffer_size, input, handle);
    break;
  case 7:
    check_size(uv_recv_buffer_size, input, handle);
    break;
  case 8: {
    struct sockaddr_in any;
    assert(uv_ip4_addr("127.0.0.1", 0, &any) == 0);
    assert(uv_udp_bind(handle, (struct sockaddr *)&any, (unsigned int)next_int(input)) <= 0);
    break;
  }
  case 9:
    check_send(input, handle);
    break;
  case 10: {
    /* What is refused stays the program's. */
    int number = next_byte(input), sock = socket(number % 2 ? AF_INET : AF_INET6, number % 4 ? SOCK_DGRAM : SOCK_STREAM, 0);
    if (sock >= 0 && uv_udp_open_ex(handle, sock, (unsigned int)(number / 4)) < 0)
      assert(close(sock) == 0);
    break;
  }
  default:
    assert(uv_udp_recv_start(handle, next_byte(input) % 4 ? on_alloc : NULL, on_recv) <= 0);
    break;
  }
}

void fuzz_options(const uint8_t *data, size_t length) {
  struct input input = {data, length};
  struct stage stage;
  is_alone();
  set_up(&stage, (unsigned int)next_int(&input));
  check_numbers(&input);
  while (input.left > 0)
    check_option(&input, &stage.handle);
  uv_run(&stage.loop, UV_RUN_NOWAIT);
  tear_down(&stage);
}
