/* te_internal.h: what te.c and the Go side of this package say to each other. Neither installed nor exported: no
 * function here may begin with te_, which is what the version script lets out. */
#ifndef MOONCAKE_TE_INTERNAL_H
#define MOONCAKE_TE_INTERNAL_H

#include <stddef.h>
#include <stdint.h>

/* Text that callers pass in is read up to these many bytes, the final NUL not counted. */
#define TE_MAX_CONFIG 1048576
#define TE_MAX_NAME 512
#define TE_MAX_LABEL 256
#define TE_MAX_KEY 64
/* Arrays that callers pass in. */
#define TE_MAX_REQUESTS 1048576
#define TE_MAX_BUFFERS 1048576
#define TE_MAX_PAYLOAD 16777216

/* Keeps a copy of json (no final NUL needed) as the last error of the calling thread. */
void capi_error_set(const char *json, size_t n);

/* Hands over gocore/forkfd's bitmap, which the child handler of fork walks. */
void capi_fork_fds(const uint64_t *words, size_t n);

#endif
