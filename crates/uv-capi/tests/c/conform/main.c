/*
 *     conform [WORD...]           checks every rule whose id and family contain all the words
 *     conform --list [WORD...]    prints these rules
 *
 * Both print a line per rule and family, with a tab between the fields. `-` is the family of a rule that needs none. A
 * promise is empty if the Rust suite has a rule of the same id, whose promise it is.
 *
 *     --list:  id, v4|v6|-, c|c-v1, promise
 *     a check: passed|failed|skipped, id, v4|v6|-, microseconds, promise, detail
 *
 * The exit status is 1 if a rule does not hold.
 *
 * Each rule runs in a process of its own. It may change its network namespace, abort or hang without an effect on others.
 */
#include <signal.h>
#include <stdarg.h>
#include <sys/wait.h>

#include "conform.h"

/* Seconds until a rule is ended; valgrind slows rules down by a factor of 50. */
#define TIME_LIMIT 200
/* Exit statuses of a rule's process beside 0, success. */
#define EXIT_FAILED 3
#define EXIT_SKIPPED 4
/* The form of the calls that this program is compiled for. */
#ifdef UV_UDP_V1
#define FORM "c-v1"
#else
#define FORM "c"
#endif

static const rule_t* const all[] = {
    call_rules,  payload_rules, request_rules, delivery_rules, memory_rules, option_rules, socket_rules, multicast_rules,
    close_rules, life_rules,    loop_rules,    timer_rules,    thread_rules, fork_rules,   name_rules,
};

/* The pipe for the detail of the report. */
static int detail_fd = STDERR_FILENO;
static int notes;
static char current_wait[400] = "nothing of note";

static void report(const char* words) {
  /* The other end stays open until this process has ended. */
  if (write(detail_fd, words, strlen(words)) < 0) abort();
}

static const char* base_of(const char* file) {
  const char* slash = strrchr(file, '/');
  return slash == NULL ? file : slash + 1;
}

void fail(const char* file, int line, const char* what) {
  char words[600];
  snprintf(words, sizeof words, "%s%s (%s:%d)", notes > 0 ? "; " : "", what, base_of(file), line);
  report(words);
  /* Without exit handlers: a leak check would report the memory of the failed rule. */
  _exit(EXIT_FAILED);
}

void skip(const char* reason) {
  report(reason);
  _exit(EXIT_SKIPPED);
}

void note(const char* format, ...) {
  char words[200];
  va_list list;
  va_start(list, format);
  vsnprintf(words, sizeof words, format, list);
  va_end(list);
  if (notes++ > 0) report(", ");
  report(words);
}

void waiting(const char* file, int line, const char* what) {
  snprintf(current_wait, sizeof current_wait, "timeout, waiting for: %s (%s:%d)", what, base_of(file), line);
}

static void on_alarm(int number) {
  (void) number;
  report(current_wait);
  _exit(EXIT_FAILED);
}

static void free_handle(uv_handle_t* handle) {
  free(handle);
}

static void close_open_handle(uv_handle_t* handle, void* arg) {
  (void) arg;
  if (!uv_is_closing(handle)) uv_close(handle, handle->type == UV_UDP ? free_handle : NULL);
}

/* The child process of a rule. */
static void run_rule(const rule_t* rule, int family) {
  test_t test;
  signal(SIGALRM, on_alarm);
  alarm(TIME_LIMIT);
  if (!has_family(family)) skip("no loopback address of this family");
  if (rule->scope == IN_NAMESPACE) enter_namespace();
  CHECK(uv_loop_init(&test.loop) == 0);
  test.family = family;
  rule->check(&test);
  waiting(__FILE__, __LINE__, "every handle is closed");
  uv_walk(&test.loop, close_open_handle, NULL);
  CHECK(uv_run(&test.loop, UV_RUN_DEFAULT) == 0);
  CHECK(uv_loop_close(&test.loop) == 0);
  exit(0);
}

/* Checks one rule for one family, and prints its line. */
static int check(const rule_t* rule, int family, const char* family_name) {
  char detail[1000] = "";
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
    detail_fd = ends[1];
    run_rule(rule, family);
  }
  close(ends[1]);
  while (len < sizeof detail - 1 && (more = read(ends[0], detail + len, sizeof detail - 1 - len)) > 0) len += (size_t) more;
  close(ends[0]);
  detail[len] = '\0';
  for (char* each = detail; *each != '\0'; each++) {
    if (*each == '\t' || *each == '\n') *each = ' ';
  }
  while (waitpid(process, &ended, 0) < 0 && errno == EINTR) continue;
  int code = WIFEXITED(ended) ? WEXITSTATUS(ended) : -1;
  const char* status = code == 0 ? "passed" : code == EXIT_SKIPPED ? "skipped" : "failed";
  /* valgrind and AddressSanitizer have exit statuses of their own. */
  if (code < 0) {
    snprintf(detail + len, sizeof detail - len, " [ended by signal %d]", WTERMSIG(ended));
  } else if (code != 0 && code != EXIT_SKIPPED && code != EXIT_FAILED) {
    snprintf(detail + len, sizeof detail - len, " [ended with %d]", code);
  }
  printf("%s\t%s\t%s\t%llu\t%s\t%s\n", status, rule->id, family_name, (unsigned long long) (uv_hrtime() - began) / 1000,
         rule->promise == NULL ? "" : rule->promise, detail);
  fflush(stdout);
  return code == 0 || code == EXIT_SKIPPED;
}

static int is_chosen(const rule_t* rule, const char* family_name, char** words) {
  char name[200];
  snprintf(name, sizeof name, "%s %s", rule->id, family_name);
  for (; *words != NULL; words++) {
    if (strstr(name, *words) == NULL) return 0;
  }
  return 1;
}

/* Runs the common code once before the forks: valgrind translates it once, and lazy symbols are bound once. */
static void warm_up(void) {
  static received_t received;
  static completions_t completions;
  test_t ipv4, *test = &ipv4;
  if (!has_family(AF_INET) || uv_loop_init(&test->loop) != 0) return;
  test->family = AF_INET;
  uv_udp_t *udp = bound_udp(test), *peer = connected_udp(test, local_of(udp));
  for (int i = 0; i < 5; i++) queue_send(&completions, i, peer, numbered(i, 10 + i % 2), 10 + i % 2, NULL);
  start_receiving(udp, &received);
  RUN_UNTIL(received.count == 5);
  uv_walk(&test->loop, close_open_handle, NULL);
  uv_run(&test->loop, UV_RUN_DEFAULT);
  uv_loop_close(&test->loop);
}

int main(int argc, char** argv) {
  int list = argc > 1 && strcmp(argv[1], "--list") == 0, held = 1;
  if (!list) warm_up();
  for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
    for (const rule_t* rule = all[i]; rule->id != NULL; rule++) {
      for (int version = 0; version < (rule->scope == NO_FAMILY ? 1 : 2); version++) {
        const char* family = rule->scope == NO_FAMILY ? "-" : version == 0 ? "v4" : "v6";
        if (!is_chosen(rule, family, argv + 1 + list)) continue;
        if (list) {
          printf("%s\t%s\t" FORM "\t%s\n", rule->id, family, rule->promise == NULL ? "" : rule->promise);
        } else {
          held &= check(rule, version == 0 ? AF_INET : AF_INET6, family);
        }
      }
    }
  }
  return held ? 0 : 1;
}
