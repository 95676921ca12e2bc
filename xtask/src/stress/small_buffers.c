/* For LD_PRELOAD: new datagram sockets of both IP families have buffers of 64 KiB instead of net.core.rmem_default and
 * net.core.wmem_default, which are 208 KiB by default (socket(7)). */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stddef.h>
#include <sys/socket.h>

/* Bytes; the kernel doubles them for its bookkeeping (socket(7)). */
#define SIZE 32768

int socket(int family, int type, int protocol) {
  static int (*next)(int, int, int);
  if (next == NULL) next = (int (*)(int, int, int)) dlsym(RTLD_NEXT, "socket");
  int fd = next(family, type, protocol), error = errno, size = SIZE;
  if (fd >= 0 && (family == AF_INET || family == AF_INET6) && (type & 0xf) == SOCK_DGRAM) {
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
  }
  errno = error;
  return fd;
}
