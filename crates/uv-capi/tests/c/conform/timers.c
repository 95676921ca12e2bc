/* Timers: milliseconds in C, nanoseconds in the loop. */
#include "conform.h"

static int count;

typedef struct {
  uv_timer_t timer;
  uint64_t due;
} deadline_t;

static void on_deadline(uv_timer_t* timer) {
  CHECK(uv_now(timer->loop) >= ((deadline_t*) timer)->due);
  count++;
}

static void never_early(test_t* test) {
  static deadline_t deadlines[50];
  for (int i = 0; i < 50; i++) {
    uint64_t timeout = (uint64_t) (i * 7 % 50) / 8;
    deadlines[i].due = uv_now(&test->loop) + timeout;
    CHECK(uv_timer_init(&test->loop, &deadlines[i].timer) == 0);
    CHECK(uv_timer_start(&deadlines[i].timer, on_deadline, timeout, 0) == 0);
  }
  RUN_TO_END();
  CHECK(count == 50);
  for (int i = 0; i < 50; i++) CHECK(!uv_is_active((uv_handle_t*) &deadlines[i].timer));
}

static void stop_at_three(uv_timer_t* timer) {
  if (++count % 3 == 0) CHECK(uv_timer_stop(timer) == 0);
}

static void repeat(test_t* test) {
  static uv_timer_t timer;
  CHECK(uv_timer_init(&test->loop, &timer) == 0 && uv_timer_again(&timer) == UV_EINVAL);
  CHECK(uv_timer_start(&timer, NULL, 0, 0) == UV_EINVAL && !uv_is_active((uv_handle_t*) &timer));
  CHECK(uv_timer_start(&timer, stop_at_three, 0, 1) == 0 && uv_timer_get_repeat(&timer) == 1);
  RUN_TO_END();
  CHECK(count == 3 && uv_timer_again(&timer) == 0);
  CHECK(uv_is_active((uv_handle_t*) &timer) && uv_timer_get_due_in(&timer) <= 1);
  RUN_TO_END();
  CHECK(count == 6);
}

static void longest(test_t* test) {
  static uv_timer_t timer;
  CHECK(uv_timer_init(&test->loop, &timer) == 0 && uv_timer_start(&timer, stop_at_three, UINT64_MAX, UINT64_MAX) == 0);
  CHECK(uv_timer_get_due_in(&timer) > 1000000000u && uv_backend_timeout(&test->loop) > 1000000000);
  CHECK(uv_run(&test->loop, UV_RUN_NOWAIT) != 0 && count == 0);
  uv_timer_set_repeat(&timer, 0);
  CHECK(uv_timer_get_repeat(&timer) == 0 && uv_timer_stop(&timer) == 0 && uv_timer_stop(&timer) == 0);
  CHECK(uv_timer_get_due_in(&timer) == 0);
}

const rule_t timer_rules[] = {
    ONCE("timers/never-fire-early", never_early),
    ONCE("timers/repeat-until-stopped", repeat),
    {"timers/the-longest-waits", "A timer of UINT64_MAX milliseconds starts, and does not fire.", NO_FAMILY, longest},
    END,
};
