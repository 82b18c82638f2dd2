/* check.h: what the scenarios of the ABI test program share. A failed check prints where and why, and ends the program
 * with status 1. */
#ifndef MOONCAKE_TE_TESTS_CHECK_H
#define MOONCAKE_TE_TESTS_CHECK_H

#include <stddef.h>
#include <stdint.h>

#include "te.h"

#define CHECK(condition)                            \
  do {                                              \
    if (!(condition))                               \
      check_failed(__FILE__, __LINE__, #condition); \
  } while (0)

/* The call returns this code; after a failure te_last_error() on this thread names the same code. */
#define CHECK_CODE(want, call) check_code(__FILE__, __LINE__, #call, (call), (want))
#define CHECK_OK(call) CHECK_CODE(TE_OK, call)
/* A handle that is no handle: closed or refused, whichever fits. */
#define CHECK_NO_HANDLE(call) check_no_handle(__FILE__, __LINE__, #call, (call))

void check_failed(const char *file, int line, const char *what);
void check_code(const char *file, int line, const char *call, int got, int want);
void check_no_handle(const char *file, int line, const char *call, int got);

/* The last error as JSON; the text is good until the thread's next call of this. */
const char *last_error(void);
int last_error_says(const char *part);

/* Copies the string that follows "key": in flat JSON, or the first of the array there. */
void json_string(const char *json, const char *key, char *out, size_t cap);

/* Waits in slices until it ends, and returns its code; a minute without an end fails the test. */
int wait_task(te_engine engine, te_task task);
int wait_batch(te_engine engine, te_batch batch);
/* Waits for a task that must succeed, copies its result out and frees it. */
void finish_task(te_engine engine, te_task task, char *result, size_t cap);

/* Two engines; the second has the first open as a segment. options are more members for both configurations, each with
 * its comma before it. */
struct pair {
  te_engine owner, reader;
  char address[512]; /* of the owner's control channel */
  char instance[64]; /* of the owner */
  char reader_instance[64];
  uint64_t segment; /* of the owner, in the reader */
};
te_engine create_engine(const char *name, const char *options);
void engine_info(te_engine engine, const char *key, char *out, size_t cap);
uint64_t open_segment(te_engine engine, const char *address);
void pair_create(struct pair *p, const char *options);
void pair_destroy(struct pair *p);

/* Registers memory with all rights for everybody (remote = TE_REMOTE_ALL) or for the engine's own use. */
uint64_t register_memory(te_engine engine, void *memory, size_t length, uint32_t remote);

/* A request of one block, ready to be changed. The arrays behind it are one element each, in `one`. */
struct one {
  uint64_t local_id, local_offset, remote_id, remote_offset, length;
};
te_batch_request request_of(uint32_t op, uint64_t segment, struct one *one);

/* The scenarios. */
void scenario_library(void);
void scenario_arguments(void);
void scenario_structs(void);
void scenario_handles(void);
void scenario_transfer(void);
void scenario_grants(void);
void scenario_notify(void);
void scenario_fork(void);
void scenario_tasks(void);
void scenario_threads(void);
void scenario_destroy(void);
void scenario_stopped(void);
void scenario_metaserver(void);
void scenario_layout(void);

/* What the process beside scenario_stopped does. */
void serve(void);

#endif
