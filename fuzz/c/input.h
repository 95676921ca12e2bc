/* Takes values from the bytes of a fuzz target. */

#ifndef FUZZ_INPUT_H
#define FUZZ_INPUT_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include "uv_udp.h"

struct input {
  const uint8_t *bytes;
  size_t left;
};

/* The next byte, 0 at the end. */
uint8_t next_byte(struct input *input);

/* The next number of four bytes. */
int next_int(struct input *input);

/* The next text, whose length its first byte says: memory of its own, as long as it and its NUL. NULL now and then. */
char *next_text(struct input *input);

/* The next socket address: memory of its own, as long as its family says, so that a byte more is somebody else's. */
struct sockaddr *next_address(struct input *input);

/* A network namespace of this process's own, where nothing leaves the host. 0 if that is not to be had. */
int is_alone(void);

/* A loop and a handle. */
struct stage {
  uv_loop_t loop;
  uv_udp_t handle;
};

void set_up(struct stage *stage, unsigned int flags);
void tear_down(struct stage *stage);

#endif
