/*
 * Names every type and every function, so that each declaration is linked with a definition. With UV_UDP_V1 it has the
 * form of libuv 1.x.
 */
#include <uv_udp.h>

typedef void (*any_function)(void);

static const any_function functions[] = {
    (any_function) uv_version,
    (any_function) uv_version_string,
    (any_function) uv_strerror,
    (any_function) uv_strerror_r,
    (any_function) uv_err_name,
    (any_function) uv_err_name_r,
    (any_function) uv_translate_sys_error,
    (any_function) uv_default_loop,
    (any_function) uv_loop_init,
    (any_function) uv_loop_close,
    (any_function) uv_loop_fork,
    (any_function) uv_loop_size,
    (any_function) uv_loop_alive,
    (any_function) uv_loop_get_data,
    (any_function) uv_loop_set_data,
    (any_function) uv_run,
    (any_function) uv_stop,
    (any_function) uv_now,
    (any_function) uv_update_time,
    (any_function) uv_hrtime,
    (any_function) uv_backend_fd,
    (any_function) uv_backend_timeout,
    (any_function) uv_walk,
    (any_function) uv_close,
    (any_function) uv_is_closing,
    (any_function) uv_is_active,
    (any_function) uv_ref,
    (any_function) uv_unref,
    (any_function) uv_has_ref,
    (any_function) uv_fileno,
    (any_function) uv_send_buffer_size,
    (any_function) uv_recv_buffer_size,
    (any_function) uv_handle_size,
    (any_function) uv_handle_get_type,
    (any_function) uv_handle_type_name,
    (any_function) uv_handle_get_data,
    (any_function) uv_handle_set_data,
    (any_function) uv_handle_get_loop,
    (any_function) uv_req_size,
    (any_function) uv_req_get_type,
    (any_function) uv_req_type_name,
    (any_function) uv_req_get_data,
    (any_function) uv_req_set_data,
    (any_function) uv_timer_init,
    (any_function) uv_timer_start,
    (any_function) uv_timer_stop,
    (any_function) uv_timer_again,
    (any_function) uv_timer_set_repeat,
    (any_function) uv_timer_get_repeat,
    (any_function) uv_timer_get_due_in,
    (any_function) uv_idle_init,
    (any_function) uv_idle_start,
    (any_function) uv_idle_stop,
    (any_function) uv_prepare_init,
    (any_function) uv_prepare_start,
    (any_function) uv_prepare_stop,
    (any_function) uv_check_init,
    (any_function) uv_check_start,
    (any_function) uv_check_stop,
    (any_function) uv_async_init,
    (any_function) uv_async_send,
    (any_function) uv_udp_init,
    (any_function) uv_udp_init_ex,
    (any_function) uv_udp_open,
    (any_function) uv_udp_open_ex,
    (any_function) uv_udp_bind,
    (any_function) uv_udp_getpeername,
    (any_function) uv_udp_getsockname,
    (any_function) uv_udp_set_membership,
    (any_function) uv_udp_set_source_membership,
    (any_function) uv_udp_set_multicast_loop,
    (any_function) uv_udp_set_multicast_ttl,
    (any_function) uv_udp_set_multicast_interface,
    (any_function) uv_udp_set_broadcast,
    (any_function) uv_udp_set_ttl,
    (any_function) uv_udp_recv_start,
    (any_function) uv_udp_recv_stop,
    (any_function) uv_udp_using_recvmmsg,
    (any_function) uv_udp_get_send_queue_size,
    (any_function) uv_udp_get_send_queue_count,
    (any_function) uv_udp_try_send2,
    (any_function) uv_buf_init,
    (any_function) uv_ip4_addr,
    (any_function) uv_ip6_addr,
    (any_function) uv_ip4_name,
    (any_function) uv_ip6_name,
    (any_function) uv_ip_name,
    (any_function) uv_inet_ntop,
    (any_function) uv_inet_pton,
    (any_function) uv_interface_addresses,
    (any_function) uv_free_interface_addresses,
    (any_function) uv_available_parallelism,
    (any_function) uv_os_getpid,
    (any_function) uv_sleep,
    (any_function) uv_udp_connect,
    (any_function) uv_udp_send,
    (any_function) uv_udp_try_send,
#ifndef UV_UDP_V1
    (any_function) uv_udp_disconnect,
    (any_function) uv_udp_sendto,
    (any_function) uv_udp_try_sendto,
#endif
};

static const size_t sizes[] = {
    sizeof(uv_loop_t),  sizeof(uv_handle_t), sizeof(uv_timer_t),    sizeof(uv_idle_t),      sizeof(uv_prepare_t),
    sizeof(uv_check_t), sizeof(uv_async_t),  sizeof(uv_udp_t),      sizeof(uv_req_t),       sizeof(uv_udp_send_t),
    sizeof(uv_buf_t),   sizeof(uv_file),     sizeof(uv_os_sock_t),  sizeof(uv_os_fd_t),     sizeof(uv_pid_t),
    sizeof(uv_errno_t), sizeof(uv_run_mode), sizeof(uv_membership), sizeof(uv_handle_type), sizeof(uv_req_type),
    sizeof(union uv_any_handle), sizeof(union uv_any_req), sizeof(uv_interface_address_t),
};

/* No function is a macro: members, parameters and variables may have the same name. */
struct members {
  int uv_run;
  void (*uv_close)(uv_handle_t* handle, uv_close_cb close_cb);
};

static int sum_of(int uv_now, int uv_udp_send) {
  struct members members = {uv_now, uv_close};
  return members.uv_close == &uv_close ? members.uv_run + uv_udp_send : 0;
}

#define QUOTE_(name) #name
#define QUOTE(name) QUOTE_(name)

int main(void) {
  const char* name = QUOTE(uv_udp_send);
  if (sum_of(1, 2) != 3 || sizeof QUOTE(uv_udp_send) != sizeof "uv_udp_send" || name[2] != '_') return 5;
  for (size_t i = 0; i < sizeof functions / sizeof functions[0]; i++) {
    if (functions[i] == NULL) return 1;
  }
  for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
    if (sizes[i] == 0) return 2;
  }
  /* Errors are negative errnos, all different. */
  switch (uv_version() == UV_VERSION_HEX ? UV_EAGAIN : 0) {
#define XX(name, text)                                                                        \
  case UV_##name:                                                                             \
    break;
    UV_ERRNO_MAP(XX)
#undef XX
  default:
    return 3;
  }
  return UV_EAGAIN == -EAGAIN && uv_translate_sys_error(EAGAIN) == UV_EAGAIN ? 0 : 4;
}
