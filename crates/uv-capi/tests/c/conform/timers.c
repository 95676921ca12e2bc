/* Timers. */
#include "conform.h"

static int fired[64], count;
static uint64_t due[64];

static void on_timer(uv_timer_t* timer) {
  int number = *(int*) timer->data;
  ENSURE(count < 64);
  ENSURE(uv_now(timer->loop) >= due[number]);
  fired[count++] = number;
}

static void start(stage_t* stage, uv_timer_t* timers, int* numbers, int number, uint64_t timeout) {
  numbers[number] = number;
  timers[number].data = &numbers[number];
  due[number] = uv_now(&stage->loop) + timeout;
  ENSURE(uv_timer_init(&stage->loop, &timers[number]) == 0);
  ENSURE(uv_timer_start(&timers[number], on_timer, timeout, 0) == 0);
}

static const uint64_t timeouts[] = {3, 1, 2, 1, 3, 0, 2, 0};
/* Nanoseconds between which each timer is due: however slow this process is, it was started between two readings. */
static uint64_t earliest[8], latest[8];
static stage_t* on;

static void start_all(uv_timer_t* timer) {
  static uv_timer_t timers[8];
  static int numbers[8];
  (void) timer;
  for (int i = 0; i < 8; i++) {
    earliest[i] = uv_hrtime() + timeouts[i] * 1000000;
    start(on, timers, numbers, i, timeouts[i]);
    latest[i] = uv_hrtime() + timeouts[i] * 1000000;
  }
}

static void due_order(stage_t* stage) {
  static uv_timer_t first;
  on = stage;
  ENSURE(uv_timer_init(&stage->loop, &first) == 0 && uv_timer_start(&first, start_all, 0, 0) == 0);
  TO_THE_END();
  ENSURE(count == 8);
  for (int i = 0; i < 8; i++) {
    for (int j = 0; j < i; j++) {
      int before = fired[j], after = fired[i];
      ENSURE(latest[after] >= earliest[before]);
      ENSURE(timeouts[after] != timeouts[before] || after > before);
    }
  }
}

/* Started after long work in a callback: it counts from the call, and not from the loop's time. */
static void on_measured(uv_timer_t* timer) {
  ENSURE(uv_hrtime() >= *(uint64_t*) timer->data);
  count++;
}

static void work_and_start(uv_timer_t* timer) {
  static uv_timer_t measured;
  static uint64_t when;
  uint64_t begin = uv_hrtime();
  while (uv_hrtime() < begin + 20000000) continue;
  when = uv_hrtime() + 10000000;
  measured.data = &when;
  ENSURE(uv_timer_init(timer->loop, &measured) == 0 && uv_timer_start(&measured, on_measured, 10, 0) == 0);
}

static void from_the_call(stage_t* stage) {
  static uv_timer_t timer;
  ENSURE(uv_timer_init(&stage->loop, &timer) == 0 && uv_timer_start(&timer, work_and_start, 0, 0) == 0);
  TO_THE_END();
  ENSURE(count == 1);
}

static void never_early(stage_t* stage) {
  static uv_timer_t timers[50];
  static int numbers[50];
  for (int i = 0; i < 50; i++) start(stage, timers, numbers, i, (uint64_t) (i * 7 % 50) / 8);
  TO_THE_END();
  ENSURE(count == 50);
  for (int i = 0; i < 50; i++) ENSURE(!uv_is_active((uv_handle_t*) &timers[i]));
}

static void stop_at_three(uv_timer_t* timer) {
  if (++count % 3 == 0) ENSURE(uv_timer_stop(timer) == 0);
}

static void repeat(stage_t* stage) {
  static uv_timer_t timer;
  ENSURE(uv_timer_init(&stage->loop, &timer) == 0 && uv_timer_again(&timer) == UV_EINVAL);
  ENSURE(uv_timer_start(&timer, NULL, 0, 0) == UV_EINVAL && !uv_is_active((uv_handle_t*) &timer));
  ENSURE(uv_timer_start(&timer, stop_at_three, 0, 1) == 0 && uv_timer_get_repeat(&timer) == 1);
  TO_THE_END();
  ENSURE(count == 3 && uv_timer_again(&timer) == 0);
  ENSURE(uv_is_active((uv_handle_t*) &timer) && uv_timer_get_due_in(&timer) <= 1);
  TO_THE_END();
  ENSURE(count == 6);
}

static void longest(stage_t* stage) {
  static uv_timer_t timer;
  ENSURE(uv_timer_init(&stage->loop, &timer) == 0 && uv_timer_start(&timer, stop_at_three, UINT64_MAX, UINT64_MAX) == 0);
  ENSURE(uv_timer_get_due_in(&timer) > 1000000000u && uv_backend_timeout(&stage->loop) > 1000000000);
  ENSURE(uv_run(&stage->loop, UV_RUN_NOWAIT) != 0 && count == 0);
  uv_timer_set_repeat(&timer, 0);
  ENSURE(uv_timer_get_repeat(&timer) == 0 && uv_timer_stop(&timer) == 0 && uv_timer_stop(&timer) == 0);
  ENSURE(uv_timer_get_due_in(&timer) == 0);
}

const rule_t timer_rules[] = {
    ONCE("timers/fire-in-due-order-and-ties-in-start-order", due_order),
    ONCE("timers/never-fire-early", never_early),
    ONCE("timers/count-from-the-call", from_the_call),
    ONCE("timers/repeat-until-stopped", repeat),
    {"timers/the-longest-waits", "A timer of UINT64_MAX milliseconds is started, and does not fire.", NO_FAMILY, longest},
    END,
};
