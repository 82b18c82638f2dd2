#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"

#define THREADS 8
#define ROUNDS 300
#define BLOCK 512
#define MANY 50000

struct worker {
  pthread_t thread;
  struct pair *pair;
  int index;
  struct one one;
  _Atomic int *started;
};

static char local[THREADS][BLOCK], remote[THREADS * BLOCK], large[THREADS * MANY];

/* Each thread has its own last error, and its own batches on a shared engine. */
static void *submit_and_fail(void *argument)
{
  struct worker *w = argument;
  te_engine e = w->pair->reader;
  const volatile te_batch_status *status = NULL;
  te_batch_request r = request_of(TE_WRITE, w->pair->segment, &w->one);
  te_batch batch = 0;
  char key[32];
  int i;

  snprintf(key, sizeof(key), "key-of-thread-%d.", w->index);
  CHECK(strcmp(last_error(), "{}") == 0);
  for (i = 0; i < ROUNDS; i++) {
    memset(local[w->index], i, BLOCK);
    CHECK_CODE(TE_E_INVALID_ARGUMENT, te_runtime_set(key, i));
    CHECK_OK(te_batch_submit(e, &r, &batch, &status));
    CHECK_OK(wait_batch(e, batch));
    CHECK(status->outcome == TE_COMPLETED);
    CHECK(remote[w->index * BLOCK + BLOCK - 1] == (char)i);
    CHECK_OK(te_batch_free(e, batch));
    CHECK(last_error_says(key) || last_error_says("WAIT_TIMEOUT"));
    CHECK_CODE(TE_E_CLOSED, te_batch_free(e, batch));
  }
  return NULL;
}

static void start(struct worker *w, struct pair *p, uint64_t remote_id, void *(*run)(void *), _Atomic int *started)
{
  int i;

  for (i = 0; i < THREADS; i++) {
    w[i].pair = p;
    w[i].index = i;
    w[i].started = started;
    w[i].one.local_id = register_memory(p->reader, local[i], BLOCK, TE_REMOTE_NONE);
    w[i].one.remote_id = remote_id;
    w[i].one.remote_offset = (uint64_t)i * BLOCK;
    w[i].one.length = BLOCK;
  }
  for (i = 0; i < THREADS; i++)
    CHECK(pthread_create(&w[i].thread, NULL, run, &w[i]) == 0);
}

static void join(struct worker *w)
{
  int i;

  for (i = 0; i < THREADS; i++)
    CHECK(pthread_join(w[i].thread, NULL) == 0);
}

void scenario_threads(void)
{
  struct worker workers[THREADS] = {0};
  struct pair p;

  pair_create(&p, "");
  start(workers, &p, register_memory(p.owner, remote, sizeof(remote), TE_REMOTE_ALL), submit_and_fail, NULL);
  join(workers);
  pair_destroy(&p);
}

/* Submits until the engine is gone. The status words go with the engine, so they are not looked at. Odd threads
 * submit so many requests that destroy meets calls that take a while. */
static void *submit_until_gone(void *argument)
{
  struct worker *w = argument;
  te_engine e = w->pair->reader;
  const volatile te_batch_status *status = NULL;
  te_batch_request r = request_of(TE_WRITE, w->pair->segment, &w->one);
  uint64_t *offsets = calloc(2 * MANY, sizeof(*offsets));
  te_batch batch = 0;
  int rc, announced = 0;
  size_t i;

  CHECK(offsets != NULL);
  if (w->index % 2 == 1) {
    for (i = 0; i < MANY; i++) {
      offsets[i] = i % BLOCK;
      offsets[MANY + i] = (uint64_t)w->index * MANY + i;
    }
    w->one.length = 1;
    r.n = MANY;
    r.local_offsets = offsets;
    r.remote_offsets = offsets + MANY;
  }
  for (;;) {
    rc = te_batch_submit(e, &r, &batch, &status);
    if (rc == TE_E_CLOSED)
      break;
    CHECK(rc == TE_OK);
    if (!announced)
      announced = 1, atomic_fetch_add(w->started, 1);
    do
      rc = te_batch_wait(e, batch, 20);
    while (rc == TE_E_WAIT_TIMEOUT);
    CHECK(rc == TE_OK || rc == TE_E_CLOSED);
    rc = te_batch_free(e, batch);
    CHECK(rc == TE_OK || rc == TE_E_CLOSED);
  }
  free(offsets);
  return NULL;
}

/* An engine is destroyed under the feet of threads that use it: they get codes, not crashes. */
void scenario_destroy(void)
{
  struct worker workers[THREADS] = {0};
  _Atomic int started = 0;
  struct pair p;

  pair_create(&p, "");
  start(workers, &p, register_memory(p.owner, large, sizeof(large), TE_REMOTE_ALL), submit_until_gone, &started);
  while (atomic_load(&started) < THREADS) {
    te_task task = 0;

    CHECK_OK(te_segment_ping(p.reader, p.segment, 30000, &task));
    CHECK_OK(wait_task(p.reader, task));
    CHECK_OK(te_task_free(p.reader, task));
  }
  CHECK_OK(te_engine_destroy(p.reader));
  join(workers);
  CHECK_OK(te_engine_destroy(p.owner));
}
