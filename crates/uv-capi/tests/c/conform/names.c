/* Names of errors and addresses. */
#include <net/if.h>

#include "conform.h"

static void error_names(test_t* test) {
  static const struct {
    int error;
    const char* name;
  } errors[] = {{UV_EISCONN, "EISCONN"},     {UV_EDESTADDRREQ, "EDESTADDRREQ"}, {UV_ECONNREFUSED, "ECONNREFUSED"},
                {UV_ECANCELED, "ECANCELED"}, {UV_ENOBUFS, "ENOBUFS"},           {UV_EOF, "EOF"}};
  char text[64];
  (void) test;
  for (int i = 0; i < 6; i++) {
    CHECK(strcmp(uv_err_name(errors[i].error), errors[i].name) == 0 && strlen(uv_strerror(errors[i].error)) > 5);
    CHECK(strcmp(uv_err_name_r(errors[i].error, text, sizeof text), errors[i].name) == 0);
    CHECK(strcmp(uv_strerror_r(errors[i].error, text, sizeof text), uv_strerror(errors[i].error)) == 0);
  }
  CHECK(uv_translate_sys_error(EISCONN) == UV_EISCONN && uv_translate_sys_error(UV_EISCONN) == UV_EISCONN);
  /* A short buffer cuts the name, and has a NUL. */
  CHECK(strcmp(uv_err_name_r(UV_EISCONN, text, 4), "EIS") == 0);
}

static void scopes(test_t* test) {
  struct sockaddr_in6 by_name, by_number;
  struct sockaddr_in six;
  char text[64];
  (void) test;
  CHECK(uv_ip6_addr("fe80::1%lo", 7, &by_name) == 0 && by_name.sin6_scope_id == if_nametoindex("lo"));
  CHECK(uv_ip6_addr("fe80::1%1", 7, &by_number) == 0 && by_number.sin6_scope_id == 1);
  CHECK(uv_ip6_addr("fe80::1", 7, &by_number) == 0 && by_number.sin6_scope_id == 0 && ntohs(by_number.sin6_port) == 7);
  CHECK(uv_ip6_name(&by_name, text, sizeof text) == 0 && strcmp(text, "fe80::1") == 0);
  CHECK(uv_ip6_name(&by_name, text, 3) == UV_ENOSPC);
  CHECK(uv_ip6_addr("127.0.0.1", 7, &by_name) == UV_EINVAL && uv_ip4_addr("::1", 7, &six) == UV_EINVAL);
  CHECK(uv_ip4_addr("256.1.1.1", 7, &six) == UV_EINVAL && uv_ip4_addr("1.2.3", 7, &six) == UV_EINVAL);
}

const rule_t name_rules[] = {
    {"sys/errors-have-their-names", "uv_err_name returns the names of the manual pages.", NO_FAMILY, error_names},
    {"addresses/know-scopes", "uv_ip6_addr reads %scope as the name or the number of an interface.", NO_FAMILY, scopes},
    END,
};
