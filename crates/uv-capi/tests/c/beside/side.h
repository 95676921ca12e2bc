/* What each side has. */
#ifndef SIDE_H
#define SIDE_H

#ifdef SIDE
#define SIDES_FUNCTIONS(of)                                                                   \
  void of(begin)(void);                                                                       \
  int of(fd)(void);                                                                           \
  /* Milliseconds until turn() is due, -1 for when fd() is readable. */                       \
  int of(timeout)(void);                                                                      \
  /* Not zero while there is more to do. */                                                   \
  int of(turn)(void);                                                                         \
  /* How many echoes there were. */                                                           \
  int of(end)(void);
SIDES_FUNCTIONS(SIDE)
#endif

typedef struct {
  const char* name;
  void (*begin)(void);
  int (*fd)(void);
  int (*timeout)(void);
  int (*turn)(void);
  int (*end)(void);
} side_calls_t;

#endif /* SIDE_H */
