/*
 *     conform [--list] [WORD...]
 *
 * Checks every rule that has all the words in its name and family, and prints a line for each:
 * passed|failed|skipped, name, v4|v6|-, microseconds, promise, detail; with a tab between them. Fails if a rule does not hold.
 *
 * Each rule has a process of its own, which may change its network namespace, abort or hang without harm to the next one.
 */
#include <signal.h>
#include <stdarg.h>
#include <sys/wait.h>

#include "conform.h"

/* Seconds after which a rule hangs, whatever it was waiting for; valgrind is slow. */
#define PATIENCE 200
/* How the process of a rule says what it found: beside 0, all well. */
#define BROKEN 3
#define SKIPPED 4

static const rule_t* const all[] = {
    proposal_rules, policy_rules,    transfer_rules, callback_rules, request_rules, order_rules,  peer_rules,
    filter_rules,   local_rules,     takeover_rules, error_rules,    report_rules,   option_rules,  socket_rules, multicast_rules,
    memory_rules,   fairness_rules,  input_rules,    life_rules,     close_rules,   batch_rules,  route_rules,
    pressure_rules, loop_rules,      timer_rules,    thread_rules,   name_rules,
    fork_rules,
};

/* Where the process of a rule says what it found. */
static int teller = STDERR_FILENO;
static int notes;
static char awaited[400] = "nothing of note";

static void tell(const char* words) {
  /* The other end is there until this process is gone. */
  if (write(teller, words, strlen(words)) < 0) abort();
}

static const char* base_of(const char* file) {
  const char* slash = strrchr(file, '/');
  return slash == NULL ? file : slash + 1;
}

void broken(const char* file, int line, const char* what) {
  char words[600];
  snprintf(words, sizeof words, "%s%s (%s:%d)", notes > 0 ? "; " : "", what, base_of(file), line);
  tell(words);
  /* Without the handlers of exit(): what the rule left behind is no leak to be told. */
  _exit(BROKEN);
}

void skip(const char* reason) {
  tell(reason);
  _exit(SKIPPED);
}

void note(const char* format, ...) {
  char words[200];
  va_list list;
  va_start(list, format);
  vsnprintf(words, sizeof words, format, list);
  va_end(list);
  if (notes++ > 0) tell(", ");
  tell(words);
}

void waiting(const char* file, int line, const char* what) {
  snprintf(awaited, sizeof awaited, "it hangs, waiting for: %s (%s:%d)", what, base_of(file), line);
}

static void on_alarm(int number) {
  (void) number;
  tell(awaited);
  _exit(BROKEN);
}

static void free_left_over(uv_handle_t* handle) {
  free(handle);
}

static void close_left_over(uv_handle_t* handle, void* arg) {
  (void) arg;
  if (!uv_is_closing(handle)) uv_close(handle, handle->type == UV_UDP ? free_left_over : NULL);
}

/* The process of a rule. */
static void perform(const rule_t* rule, int family) {
  stage_t stage;
  signal(SIGALRM, on_alarm);
  alarm(PATIENCE);
  if (!has_family(family)) skip("no loopback address of the family here");
  if (rule->scope == IN_NAMESPACE || rule->scope == V4_IN_NAMESPACE) enter_namespace();
  ENSURE(uv_loop_init(&stage.loop) == 0);
  stage.family = family;
  rule->check(&stage);
  waiting(__FILE__, __LINE__, "every handle is closed");
  uv_walk(&stage.loop, close_left_over, NULL);
  ENSURE(uv_run(&stage.loop, UV_RUN_DEFAULT) == 0);
  ENSURE(uv_loop_close(&stage.loop) == 0);
  exit(0);
}

/* Checks one rule for one family. */
static int check(const rule_t* rule, int family, const char* family_name) {
  char said[1000] = "";
  size_t len = 0;
  ssize_t more;
  int ends[2], ended;
  uint64_t began = uv_hrtime();
  fflush(NULL);
  if (pipe(ends) != 0) abort();
  pid_t process = fork();
  if (process < 0) abort();
  if (process == 0) {
    close(ends[0]);
    teller = ends[1];
    perform(rule, family);
  }
  close(ends[1]);
  while (len < sizeof said - 1 && (more = read(ends[0], said + len, sizeof said - 1 - len)) > 0) len += (size_t) more;
  close(ends[0]);
  said[len] = '\0';
  for (char* each = said; *each != '\0'; each++) {
    if (*each == '\t' || *each == '\n') *each = ' ';
  }
  while (waitpid(process, &ended, 0) < 0 && errno == EINTR) continue;
  int code = WIFEXITED(ended) ? WEXITSTATUS(ended) : -1;
  const char* status = code == 0 ? "passed" : code == SKIPPED ? "skipped" : "failed";
  /* What watches over it (valgrind, AddressSanitizer) ends it in a way of its own. */
  if (code < 0) {
    snprintf(said + len, sizeof said - len, " [ended by signal %d]", WTERMSIG(ended));
  } else if (code != 0 && code != SKIPPED && code != BROKEN) {
    snprintf(said + len, sizeof said - len, " [ended with %d]", code);
  }
  printf("%s\t%s\t%s\t%llu\t%s\t%s\n", status, rule->id, family_name, (unsigned long long) (uv_hrtime() - began) / 1000,
         rule->title == NULL ? "" : rule->title, said);
  fflush(stdout);
  return code == 0 || code == SKIPPED;
}

static int is_chosen(const rule_t* rule, const char* family_name, char** words) {
  char name[200];
  snprintf(name, sizeof name, "%s %s", rule->id, family_name);
  for (; *words != NULL; words++) {
    if (strstr(name, *words) == NULL) return 0;
  }
  return 1;
}

/* What every rule does, once before they are forked: tools that translate or bind code when it first runs do so once. */
static void rehearse(void) {
  static inbox_t inbox;
  static outbox_t outbox;
  stage_t stage_of_all, *stage = &stage_of_all;
  if (!has_family(AF_INET) || uv_loop_init(&stage->loop) != 0) return;
  stage->family = AF_INET;
  uv_udp_t *udp = bound_udp(stage), *peer = connected_udp(stage, local_of(udp));
  for (int i = 0; i < 5; i++) mail(&outbox, i, peer, numbered(i, 10 + i % 2), 10 + i % 2, NULL);
  receive(udp, &inbox);
  UNTIL(inbox.count == 5);
  uv_walk(&stage->loop, close_left_over, NULL);
  uv_run(&stage->loop, UV_RUN_DEFAULT);
  uv_loop_close(&stage->loop);
}

int main(int argc, char** argv) {
  int list = argc > 1 && strcmp(argv[1], "--list") == 0, held = 1;
  if (!list) rehearse();
  for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
    for (const rule_t* rule = all[i]; rule->id != NULL; rule++) {
      int one = rule->scope == NO_FAMILY || rule->scope == V4_IN_NAMESPACE;
      for (int version = rule->scope == ONLY_V6; version < (one ? 1 : 2); version++) {
        const char* name = rule->scope == NO_FAMILY ? "-" : version == 0 ? "v4" : "v6";
        if (!is_chosen(rule, name, argv + 1 + list)) continue;
        if (list) {
          printf("listed\t%s\t%s\t0\t%s\t\n", rule->id, name, rule->title == NULL ? "" : rule->title);
        } else {
          held &= check(rule, version == 0 ? AF_INET : AF_INET6, name);
        }
      }
    }
  }
  return held ? 0 : 1;
}
