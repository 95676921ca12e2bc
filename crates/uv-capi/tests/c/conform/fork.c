/* What a forked child does to a loop, and what that leaves to its parent. */
#include <errno.h>
#include <signal.h>
#include <sys/wait.h>

#include "conform.h"

static uv_udp_t* udp;
static inbox_t inbox;
static uv_async_t async;
static int woken;

static void on_async(uv_async_t* handle) {
  (void) handle;
  woken++;
}

static raw_t begin_to_receive(stage_t* stage) {
  raw_t raw = raw_socket(stage);
  udp = bound_udp(stage);
  ENSURE(receive(udp, &inbox) == 0);
  ENSURE(uv_async_init(&stage->loop, &async, on_async) == 0);
  uv_run(&stage->loop, UV_RUN_NOWAIT);
  return raw;
}

/* The loop hears its socket and its async handle. */
static void is_whole(stage_t* stage, const raw_t* raw) {
  int before = inbox.count, woken_before = woken;
  raw_say(raw, "datagram", local_of(udp));
  UNTIL(inbox.count == before + 1);
  ENSURE(uv_async_send(&async) == 0);
  UNTIL(woken == woken_before + 1);
}

/* Runs `child` in a child, which must end well. */
static void in_child(void (*child)(stage_t*, const raw_t*), stage_t* stage, const raw_t* raw) {
  int status;
  pid_t process = fork();
  ENSURE(process >= 0);
  if (process == 0) {
    alarm(20);
    child(stage, raw);
    /* Not by exit: what the child shares with its parent is no leak to be told by valgrind. */
    kill(getpid(), SIGKILL);
  }
  ENSURE(waitpid(process, &status, 0) == process);
  /* A rule that does not hold exits. */
  ENSURE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static void close_it(uv_handle_t* handle, void* arg) {
  (void) arg;
  uv_close(handle, NULL);
}

static void closes(stage_t* stage, const raw_t* raw) {
  (void) raw;
  ENSURE(uv_udp_recv_stop(udp) == 0);
  uv_walk(&stage->loop, close_it, NULL);
}

static void leaves_the_parent_whole(stage_t* stage) {
  raw_t raw = begin_to_receive(stage);
  in_child(closes, stage, &raw);
  is_whole(stage, &raw);
}

static void does_not_run(stage_t* stage, const raw_t* raw) {
  (void) raw;
  for (int mode = 0; mode < 3; mode++) ENSURE(uv_run(&stage->loop, (uv_run_mode) mode) == -ESTALE);
  ENSURE(receive(bound_udp(stage), &inbox) == -ESTALE);
}

static void refuses(stage_t* stage) {
  raw_t raw = begin_to_receive(stage);
  in_child(does_not_run, stage, &raw);
  is_whole(stage, &raw);
}

static void goes_on(stage_t* stage, const raw_t* raw) {
  ENSURE(uv_loop_fork(&stage->loop) == 0);
  is_whole(stage, raw);
  ENSURE(uv_loop_fork(&stage->loop) == 0);
  uv_walk(&stage->loop, close_it, NULL);
  ENSURE(uv_run(&stage->loop, UV_RUN_DEFAULT) == 0);
  ENSURE(uv_loop_close(&stage->loop) == 0);
}

static void has_its_own(stage_t* stage) {
  raw_t raw = begin_to_receive(stage);
  ENSURE(uv_loop_fork(&stage->loop) == 0);
  in_child(goes_on, stage, &raw);
  is_whole(stage, &raw);
  ENSURE(uv_loop_fork(NULL) == UV_EINVAL);
}

const rule_t fork_rules[] = {
    {"fork/a-child-leaves-the-parent-whole", "What a child stops and closes is heard by its parent as before.", EACH_FAMILY,
     leaves_the_parent_whole},
    {"fork/a-childs-loop-does-not-run-by-itself", "uv_run, and uv_udp_recv_start on another handle, are -ESTALE in a child before uv_loop_fork.", EACH_FAMILY,
     refuses},
    {"fork/a-child-gets-a-loop-of-its-own", "After uv_loop_fork a child's loop hears its handles, and so does its parent's.", EACH_FAMILY,
     has_its_own},
    END,
};
