/* fork(): the loop in the child, and in its parent. */
#include <errno.h>
#include <signal.h>
#include <sys/wait.h>

#include "conform.h"

static uv_udp_t* udp;
static received_t received;
static uv_async_t async;
static int woken;

static void on_async(uv_async_t* handle) {
  (void) handle;
  woken++;
}

static raw_t begin_to_receive(test_t* test) {
  raw_t raw = raw_socket(test);
  udp = bound_udp(test);
  CHECK(start_receiving(udp, &received) == 0);
  CHECK(uv_async_init(&test->loop, &async, on_async) == 0);
  uv_run(&test->loop, UV_RUN_NOWAIT);
  return raw;
}

/* The loop reports its socket and its async handle. */
static void works(test_t* test, const raw_t* raw) {
  int before = received.count, woken_before = woken;
  raw_send_text(raw, "datagram", local_of(udp));
  RUN_UNTIL(received.count == before + 1);
  CHECK(uv_async_send(&async) == 0);
  RUN_UNTIL(woken == woken_before + 1);
}

/* Runs a function in a child process, which must not fail. */
static void in_child(void (*child)(test_t*, const raw_t*), test_t* test, const raw_t* raw) {
  int status;
  pid_t process = fork();
  CHECK(process >= 0);
  if (process == 0) {
    alarm(20);
    child(test, raw);
    /* Without exit handlers: valgrind would report the parent's memory as leaked. */
    kill(getpid(), SIGKILL);
  }
  CHECK(waitpid(process, &status, 0) == process);
  /* A failed check exits instead. */
  CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static void close_it(uv_handle_t* handle, void* arg) {
  (void) arg;
  uv_close(handle, NULL);
}

static void closes(test_t* test, const raw_t* raw) {
  (void) raw;
  CHECK(uv_udp_recv_stop(udp) == 0);
  uv_walk(&test->loop, close_it, NULL);
}

static void leaves_the_parent_alone(test_t* test) {
  raw_t raw = begin_to_receive(test);
  in_child(closes, test, &raw);
  works(test, &raw);
}

static void does_not_run(test_t* test, const raw_t* raw) {
  (void) raw;
  for (int mode = 0; mode < 3; mode++) CHECK(uv_run(&test->loop, (uv_run_mode) mode) == -ESTALE);
  CHECK(start_receiving(bound_udp(test), &received) == -ESTALE);
}

static void refuses(test_t* test) {
  raw_t raw = begin_to_receive(test);
  in_child(does_not_run, test, &raw);
  works(test, &raw);
}

static void goes_on(test_t* test, const raw_t* raw) {
  CHECK(uv_loop_fork(&test->loop) == 0);
  works(test, raw);
  CHECK(uv_loop_fork(&test->loop) == 0);
  uv_walk(&test->loop, close_it, NULL);
  CHECK(uv_run(&test->loop, UV_RUN_DEFAULT) == 0);
  CHECK(uv_loop_close(&test->loop) == 0);
}

static void has_its_own(test_t* test) {
  raw_t raw = begin_to_receive(test);
  CHECK(uv_loop_fork(&test->loop) == 0);
  in_child(goes_on, test, &raw);
  works(test, &raw);
  CHECK(uv_loop_fork(NULL) == UV_EINVAL);
}

const rule_t fork_rules[] = {
    {"fork/a-child-leaves-the-parent-whole",
     "A child may stop and close its handles; the parent's handles go on.", EACH_FAMILY, leaves_the_parent_alone},
    {"fork/a-childs-loop-does-not-run-by-itself",
     "uv_run, and uv_udp_recv_start on another handle, are -ESTALE in a child before uv_loop_fork.",
     EACH_FAMILY, refuses},
    {"fork/a-child-gets-a-loop-of-its-own",
     "After uv_loop_fork the handles work in the child, and still in the parent.", EACH_FAMILY, has_its_own},
    END,
};
