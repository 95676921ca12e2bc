/*
 * libuv's header name and its form of the calls, for programs written for libuv 1.x. With
 *
 *     cc program.c $(pkg-config --cflags --libs uv_udp-compat)
 *
 * a program that uses only libuv's loop, timers, hooks, async and UDP handles compiles unchanged.
 */
#ifndef UV_H
#define UV_H

#ifndef UV_UDP_V1
#define UV_UDP_V1
#endif

#include <uv_udp.h>

/* The headers that libuv's own header includes. */
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
