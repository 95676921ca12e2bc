/* The functions of each side. */
#ifndef SIDE_H
#define SIDE_H

#ifdef SIDE
#define SIDES_FUNCTIONS(of)                                                                   \
  void of(begin)(void);                                                                       \
  int of(fd)(void);                                                                           \
  /* Milliseconds until iterate() is due, or -1: when fd() is readable. */                     \
  int of(timeout)(void);                                                                      \
  /* Not zero while the loop is alive.         */                                                   \
  int of(iterate)(void);                                                                         \
  /* The number of echoes so far. */                                                          \
  int of(end)(void);
SIDES_FUNCTIONS(SIDE)
#endif

typedef struct {
  const char* name;
  void (*begin)(void);
  int (*fd)(void);
  int (*timeout)(void);
  int (*iterate)(void);
  int (*end)(void);
} side_calls_t;

#endif /* SIDE_H */
