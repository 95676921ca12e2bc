/* Addresses as text, errors as text, interfaces, names and sizes. */
#include <uv.h>
#include "check.h"

static void ip4(const char* ip) {
  struct sockaddr_in addr;
  char name[32] = "";
  int result = uv_ip4_addr(ip, 53, &addr);
  if (result == 0) CHECK(uv_ip4_name(&addr, name, sizeof name) == 0);
  printf("ip4 \"%s\": %s %s %d\n", ip, result == 0 ? "fine" : uv_err_name(result), name, ntohs(addr.sin_port));
}

static void ip6(const char* ip) {
  struct sockaddr_in6 addr;
  char name[64] = "";
  int result = uv_ip6_addr(ip, 53, &addr);
  if (result == 0) CHECK(uv_ip6_name(&addr, name, sizeof name) == 0);
  printf("ip6 \"%s\": %s %s %d scope %s\n", ip, result == 0 ? "fine" : uv_err_name(result), name, ntohs(addr.sin6_port),
         addr.sin6_scope_id == 0 ? "none" : "some");
}

static void pton(int af, const char* text) {
  unsigned char raw[16];
  char back[64] = "";
  int result = uv_inet_pton(af, text, raw);
  if (result == 0) CHECK(uv_inet_ntop(af, raw, back, sizeof back) == 0);
  printf("pton %s \"%s\": %s %s\n", af == AF_INET ? "4" : af == AF_INET6 ? "6" : "?", text,
         result == 0 ? "fine" : uv_err_name(result), back);
}

int main(void) {
  static const int errors[] = {UV_E2BIG, UV_EACCES, UV_EADDRINUSE, UV_EAGAIN, UV_EAI_NONAME, UV_EBADF, UV_EBUSY, UV_ECANCELED,
                               UV_ECHARSET, UV_ECONNREFUSED, UV_EDESTADDRREQ, UV_EINVAL, UV_EISCONN, UV_EMSGSIZE, UV_ENOBUFS,
                               UV_ENOTCONN, UV_ENOTSUP, UV_EOF, UV_UNKNOWN, UV_EFTYPE, UV_EILSEQ, UV_ENODEV, UV_ETIMEDOUT};
  char text[64], small[4];
  begin();
  for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++) {
    printf("%s: %s\n", uv_err_name(errors[i]), uv_strerror(errors[i]));
    CHECK(strcmp(uv_strerror_r(errors[i], text, sizeof text), uv_strerror(errors[i])) == 0);
    CHECK(strcmp(uv_err_name_r(errors[i], text, sizeof text), uv_err_name(errors[i])) == 0);
  }
  printf("%s, %s\n", uv_strerror_r(-3999, text, sizeof text), uv_err_name_r(UV_EINVAL, small, sizeof small));
  CHECK(uv_translate_sys_error(EAGAIN) == UV_EAGAIN && uv_translate_sys_error(UV_EAGAIN) == UV_EAGAIN);
  CHECK(uv_translate_sys_error(0) == 0);

  ip4("192.0.2.1"), ip4("255.255.255.255"), ip4("256.0.0.1"), ip4("1.2.3"), ip4("1.2.3.4.5"), ip4("01.2.3.4"), ip4("");
  ip6("::"), ip6("::1"), ip6("2001:db8::8:800:200c:417a"), ip6("fe80::1%lo"), ip6("::ffff:192.0.2.1"), ip6("::192.0.2.1");
  ip6("1:2:3:4:5:6:7:8"), ip6("1:2:3:4:5:6:7"), ip6("1:0:0:2:0:0:0:3"), ip6("::2:0:0:3:0:0"), ip6("g::"), ip6("");
  pton(AF_INET, "10.0.0.1"), pton(AF_INET6, "::1"), pton(AF_INET6, "fe80::1%eth0"), pton(AF_INET, "::1"), pton(AF_UNIX, "::1");
  unsigned char loopback4[4] = {127, 0, 0, 1};
  CHECK(uv_inet_ntop(AF_INET, loopback4, small, sizeof small) == UV_ENOSPC);
  CHECK(uv_inet_ntop(AF_UNIX, loopback4, small, sizeof small) == UV_EAFNOSUPPORT);
  CHECK(uv_inet_ntop(AF_INET, loopback4, text, 10) == 0 && strcmp(text, "127.0.0.1") == 0);
  CHECK(uv_inet_ntop(AF_INET, loopback4, text, 9) == UV_ENOSPC);

  for (int type = 0; type < UV_HANDLE_TYPE_MAX; type++) {
    const char* name = uv_handle_type_name((uv_handle_type) type);
    printf("handle %d: %s\n", type, name == NULL ? "none" : name);
  }
  for (int type = 0; type < UV_REQ_TYPE_MAX; type++) {
    const char* name = uv_req_type_name((uv_req_type) type);
    printf("request %d: %s\n", type, name == NULL ? "none" : name);
  }
  CHECK(uv_handle_size(UV_UDP) == sizeof(uv_udp_t) && uv_handle_size(UV_TIMER) == sizeof(uv_timer_t));
  CHECK(uv_handle_size(UV_ASYNC) == sizeof(uv_async_t) && uv_handle_size(UV_IDLE) == sizeof(uv_idle_t));
  CHECK(uv_handle_size(UV_UNKNOWN_HANDLE) == (size_t) -1);
  CHECK(uv_req_size(UV_UDP_SEND) == sizeof(uv_udp_send_t) && uv_req_size(UV_UNKNOWN_REQ) == (size_t) -1);
  CHECK(uv_loop_size() == sizeof(uv_loop_t));
  uv_udp_send_t req;
  uv_req_set_data((uv_req_t*) &req, text);
  CHECK(uv_req_get_data((uv_req_t*) &req) == text && req.data == text);

  uv_interface_address_t* addresses;
  int count, found = 0;
  CHECK(uv_interface_addresses(&addresses, &count) == 0);
  for (int i = 0; i < count; i++) {
    CHECK(uv_ip_name((struct sockaddr*) &addresses[i].address.address4, text, sizeof text) == 0);
    if (strcmp(text, "127.0.0.1") == 0) {
      CHECK(addresses[i].is_internal && strcmp(addresses[i].name, "lo") == 0);
      CHECK(addresses[i].netmask.netmask4.sin_addr.s_addr == htonl(0xff000000));
      found = 1;
    }
  }
  uv_free_interface_addresses(addresses, count);
  printf("loopback found: %d\n", found);
  CHECK(uv_available_parallelism() >= 1);
  CHECK(uv_os_getpid() == getpid());
  uint64_t before = uv_hrtime();
  uv_sleep(2);
  CHECK(uv_hrtime() - before >= 2000000);
  return 0;
}
