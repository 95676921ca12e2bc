/*
 * For programs written for libuv 1.x: libuv's header name, and its form of the calls. With
 *
 *     cc program.c $(pkg-config --cflags --libs uv_udp-compat)
 *
 * a program that uses no more of libuv than its loop, timers, hooks, async and UDP handles compiles unchanged.
 */
#ifndef UV_H
#define UV_H

#ifndef UV_UDP_V1
#define UV_UDP_V1
#endif

#include <uv_udp.h>

/* What programs get from libuv's own header without asking for it. */
#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <pwd.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/param.h>
#include <sys/stat.h>
#include <termios.h>

#endif /* UV_H */
