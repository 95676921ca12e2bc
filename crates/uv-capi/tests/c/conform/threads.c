/* Threads: uv_async_send, and one loop per thread. */
#include <pthread.h>

#include "conform.h"

#define THREADS 4

static int woken;
static uv_async_t async;
/* Guards `done`, the number of sends that began. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int done;

static void close_when_all_did(uv_async_t* handle) {
  woken++;
  pthread_mutex_lock(&lock);
  int all = done == THREADS * 1000;
  pthread_mutex_unlock(&lock);
  if (all && !uv_is_closing((uv_handle_t*) handle)) uv_close((uv_handle_t*) handle, NULL);
}

static void* send_often(void* arg) {
  for (int i = 0; i < 1000; i++) {
    pthread_mutex_lock(&lock);
    done++;
    pthread_mutex_unlock(&lock);
    if (uv_async_send(&async) != 0) return arg;
  }
  return NULL;
}

static void many_threads(test_t* test) {
  pthread_t threads[THREADS];
  void* failed;
  CHECK(uv_async_init(&test->loop, &async, close_when_all_did) == 0);
  for (int i = 0; i < THREADS; i++) CHECK(pthread_create(&threads[i], NULL, send_often, NULL) == 0);
  /* Ends only if no wake-up is lost: the callback closes the handle after the last send. */
  RUN_TO_END();
  for (int i = 0; i < THREADS; i++) CHECK(pthread_join(threads[i], &failed) == 0 && failed == NULL);
  CHECK(done == THREADS * 1000 && woken > 0 && woken <= THREADS * 1000);
}

static void close_it(uv_async_t* handle) {
  woken++;
  uv_close((uv_handle_t*) handle, NULL);
}

static void* wake_up(void* arg) {
  (void) arg;
  return uv_async_send(&async) == 0 ? &async : NULL;
}

static void keep_alive(test_t* test) {
  pthread_t thread;
  void* sent;
  CHECK(uv_async_init(&test->loop, &async, close_it) == 0 && uv_loop_alive(&test->loop));
  CHECK(uv_is_active((uv_handle_t*) &async));
  uv_unref((uv_handle_t*) &async);
  CHECK(!uv_loop_alive(&test->loop));
  uv_ref((uv_handle_t*) &async);
  CHECK(pthread_create(&thread, NULL, wake_up, NULL) == 0);
  RUN_TO_END();
  CHECK(pthread_join(thread, &sent) == 0 && sent == &async && woken == 1 && !uv_loop_alive(&test->loop));
}

/* A flood: every datagram that the handle receives makes it send two to itself. */
static void flood(uv_udp_t* udp, ssize_t nread, const uv_buf_t* buf, const struct sockaddr* addr, unsigned flags) {
  (void) nread, (void) buf, (void) flags;
  if (addr != NULL) try_text(udp, "again"), try_text(udp, "and again");
}

static void stop_loop(uv_async_t* handle) {
  woken++;
  uv_stop(handle->loop);
}

static void during_a_flood(test_t* test) {
  pthread_t thread;
  void* sent;
  uv_udp_t* udp = bound_udp(test);
  CHECK(uv_udp_connect(udp, at(local_of(udp))) == 0 && uv_udp_recv_start(udp, alloc_static, flood) == 0);
  CHECK(try_text(udp, "first") == 5 && uv_async_init(&test->loop, &async, stop_loop) == 0);
  run_iterations(test);
  CHECK(pthread_create(&thread, NULL, wake_up, NULL) == 0);
  RUN_TO_END();
  CHECK(pthread_join(thread, &sent) == 0 && sent == &async && woken == 1);
  CHECK(uv_udp_recv_stop(udp) == 0);
}

static void coalesced(test_t* test) {
  CHECK(uv_async_init(&test->loop, &async, close_it) == 0);
  for (int i = 0; i < 100; i++) CHECK(uv_async_send(&async) == 0);
  CHECK(woken == 0);
  RUN_TO_END();
  CHECK(woken == 1);
}

/* The parameters of a thread, whose handle sends to itself. */
typedef struct {
  int family, rounds;
} thread_t;

static void send_on(uv_udp_t* udp, ssize_t nread, const uv_buf_t* buf, const struct sockaddr* addr, unsigned flags) {
  thread_t* own = (thread_t*) udp->data;
  (void) nread, (void) flags;
  if (addr != NULL) {
    uv_buf_t again = text("again");
    if (++own->rounds == 500 || try_send_to_peer(udp, &again, 1) != 5) uv_close((uv_handle_t*) udp, NULL);
  }
  free(buf->base);
}

static void* run_loop(void* arg) {
  thread_t* own = (thread_t*) arg;
  uv_loop_t loop;
  uv_udp_t udp;
  struct sockaddr_storage addr;
  int len = sizeof addr;
  uv_buf_t first = text("first");
  memset(&addr, 0, sizeof addr);
  if (own->family == AF_INET) uv_ip4_addr("127.0.0.1", 0, (struct sockaddr_in*) &addr);
  if (own->family == AF_INET6) uv_ip6_addr("::1", 0, (struct sockaddr_in6*) &addr);
  if (uv_loop_init(&loop) != 0 || uv_udp_init(&loop, &udp) != 0) return NULL;
  udp.data = own;
  if (uv_udp_bind(&udp, (struct sockaddr*) &addr, 0) != 0) return NULL;
  if (uv_udp_getsockname(&udp, (struct sockaddr*) &addr, &len) != 0 || uv_udp_connect(&udp, (struct sockaddr*) &addr) != 0) return NULL;
  if (uv_udp_recv_start(&udp, alloc_by_malloc, send_on) != 0 || try_send_to_peer(&udp, &first, 1) != 5) return NULL;
  if (uv_run(&loop, UV_RUN_DEFAULT) != 0 || uv_loop_close(&loop) != 0) return NULL;
  return own;
}

static void loops_of_their_own(test_t* test) {
  pthread_t threads[THREADS];
  thread_t all[THREADS];
  void* finished;
  for (int i = 0; i < THREADS; i++) {
    all[i] = (thread_t) {test->family, 0};
    CHECK(pthread_create(&threads[i], NULL, run_loop, &all[i]) == 0);
  }
  for (int i = 0; i < THREADS; i++) {
    CHECK(pthread_join(threads[i], &finished) == 0 && finished == &all[i] && all[i].rounds == 500);
  }
}

const rule_t thread_rules[] = {
    {"async/keeps-the-loop-running",
     "A loop with one referenced async handle runs until another thread calls uv_async_send.", NO_FAMILY, keep_alive},
    {"async/no-wake-up-is-lost",
     "With several threads calling uv_async_send, the callback runs after the last call.", NO_FAMILY, many_threads},
    {"fairness/a-flood-leaves-room-for-posts",
     "uv_async_send from another thread calls back while a handle is flooded without end.",
     EACH_FAMILY, during_a_flood},
    {"async/wake-ups-are-coalesced",
     "uv_async_send runs no callback itself, and several calls before an iteration cause one callback.",
     NO_FAMILY, coalesced},
    {"threads/each-has-its-loop",
     "Several threads run one loop each at the same time.", EACH_FAMILY, loops_of_their_own},
    END,
};
