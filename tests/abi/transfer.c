#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "check.h"

#define BLOCK 64
#define BLOCKS 70001 /* more than a request's table holds */

static unsigned char pattern(size_t i, unsigned seed) { return (unsigned char)(i * 131 + (i >> 8) * 7 + seed); }

static void fill(unsigned char *p, size_t n, unsigned seed)
{
  size_t i;

  for (i = 0; i < n; i++)
    p[i] = pattern(i, seed);
}

struct blocks {
  uint64_t local[BLOCKS], remote[BLOCKS], length;
};

static te_batch_request scattered(uint32_t op, struct pair *p, struct one *one, struct blocks *b)
{
  te_batch_request r = request_of(op, p->segment, one);

  r.n = BLOCKS;
  r.local_offsets = b->local;
  r.remote_offsets = b->remote;
  r.lengths = &b->length;
  r.expected_instance = p->instance;
  return r;
}

/* Submits, sleeps on the eventfd until the batch is final, and checks the status that needs no call. */
static te_batch run(struct pair *p, te_batch_request *r, const volatile te_batch_status **status)
{
  te_batch batch = 0;
  struct pollfd sleeper = {.events = POLLIN};
  uint64_t count;
  int rounds = 0;

  CHECK_OK(te_engine_event_fd(p->reader, &sleeper.fd));
  CHECK_OK(te_batch_submit(p->reader, r, &batch, status));
  CHECK_OK(te_batch_arm(p->reader, batch));
  while (__atomic_load_n(&(*status)->state, __ATOMIC_ACQUIRE) == 0) {
    CHECK(poll(&sleeper, 1, 60000) == 1);
    CHECK(read(sleeper.fd, &count, sizeof(count)) == sizeof(count));
    CHECK(++rounds < 1000);
  }
  CHECK_OK(te_batch_wait(p->reader, batch, 0));
  return batch;
}

static void check_completed(struct pair *p, te_batch batch, const volatile te_batch_status *status, uint64_t bytes)
{
  static uint8_t outcomes[BLOCKS];
  static int32_t causes[BLOCKS];
  char text[65536];
  int i;

  CHECK(status->outcome == TE_COMPLETED && status->cause == TE_OK && status->remote_quiet == 1);
  CHECK(status->bytes_total == bytes && status->bytes_done == bytes);
  memset(outcomes, 0xee, sizeof(outcomes));
  memset(causes, 0xee, sizeof(causes));
  CHECK_OK(te_batch_outcomes(p->reader, batch, 0, BLOCKS, outcomes, causes));
  for (i = 0; i < BLOCKS; i++)
    CHECK(outcomes[i] == TE_COMPLETED && causes[i] == TE_OK);
  CHECK_OK(te_batch_outcomes(p->reader, batch, BLOCKS - 1, 1, outcomes, NULL));
  CHECK_OK(te_batch_outcomes(p->reader, batch, 0, 1, NULL, causes));
  CHECK_CODE(TE_E_INVALID_ARGUMENT, te_batch_outcomes(p->reader, batch, BLOCKS, 1, outcomes, NULL));
  CHECK_CODE(TE_E_INVALID_ARGUMENT, te_batch_outcomes(p->reader, batch, UINT64_MAX, 1, outcomes, NULL));
  CHECK_OK(te_batch_explain(p->reader, batch, text, sizeof(text), NULL));
  CHECK(strstr(text, "\"path\"") && strstr(text, "\"why\""));
}

/* Requests that must not move a byte: refused by submit, or by the batch's end. */
static void refused(struct pair *p, struct one *one)
{
  te_batch_request r;
  const volatile te_batch_status *status = NULL;
  te_batch batch = 0;
  struct one bad;
  int rc;

  bad = *one;
  bad.local_offset = UINT64_MAX - 8; /* wraps */
  r = request_of(TE_READ, p->segment, &bad);
  CHECK_CODE(TE_E_OUT_OF_BOUNDS, te_batch_submit(p->reader, &r, &batch, &status));
  bad = *one;
  bad.length = 0;
  r = request_of(TE_READ, p->segment, &bad);
  CHECK_CODE(TE_E_INVALID_ARGUMENT, te_batch_submit(p->reader, &r, &batch, &status));
  bad = *one;
  bad.local_id = 123456789;
  r = request_of(TE_READ, p->segment, &bad);
  CHECK_CODE(TE_E_STALE_BUFFER, te_batch_submit(p->reader, &r, &batch, &status));
  CHECK(batch == 0 && status == NULL);

  bad = *one;
  bad.remote_offset = (uint64_t)BLOCK * BLOCKS;
  r = request_of(TE_WRITE, p->segment, &bad);
  rc = te_batch_submit(p->reader, &r, &batch, &status);
  if (rc == TE_OK) {
    CHECK_OK(wait_batch(p->reader, batch));
    CHECK(status->outcome == TE_NOT_APPLIED);
    rc = status->cause;
    CHECK_OK(te_batch_free(p->reader, batch));
  }
  CHECK(rc == TE_E_OUT_OF_BOUNDS);

  r = request_of(TE_READ, p->segment, one);
  r.expected_instance = "0123456789abcdef0123456789abcdef";
  rc = te_batch_submit(p->reader, &r, &batch, &status);
  if (rc == TE_OK) {
    CHECK_OK(wait_batch(p->reader, batch));
    rc = status->cause;
    CHECK_OK(te_batch_free(p->reader, batch));
  }
  CHECK(rc == TE_E_STALE_INSTANCE);
}

void scenario_transfer(void)
{
  size_t bytes = (size_t)BLOCK * BLOCKS, i;
  struct blocks *b = calloc(1, sizeof(*b));
  struct one one = {0, 0, 0, 0, BLOCK};
  unsigned char *local, *remote;
  const volatile te_batch_status *status = NULL;
  te_batch_request r;
  te_batch batch;
  te_task task = 0;
  uint64_t address = 0;
  char text[65536], peer[64];
  struct pair p;

  pair_create(&p, "");
  local = malloc(bytes);
  CHECK(b && local);
  CHECK_OK(te_memory_allocate(p.owner, bytes, &address));
  CHECK(address % 4096 == 0);
  remote = (unsigned char *)(uintptr_t)address;
  for (i = 0; i < bytes; i++)
    CHECK(remote[i] == 0);
  one.local_id = register_memory(p.reader, local, bytes, TE_REMOTE_NONE);
  one.remote_id = register_memory(p.owner, remote, bytes, TE_REMOTE_ALL);
  b->length = BLOCK;
  for (i = 0; i < BLOCKS; i++) { /* 7 has no factor in common with BLOCKS: every block once, none adjacent */
    b->local[i] = (i * 7 % BLOCKS) * BLOCK;
    b->remote[i] = (BLOCKS - 1 - i) * BLOCK;
  }

  fill(local, bytes, 1);
  r = scattered(TE_WRITE, &p, &one, b);
  batch = run(&p, &r, &status);
  check_completed(&p, batch, status, bytes);
  for (i = 0; i < BLOCKS; i++)
    CHECK(memcmp(remote + b->remote[i], local + b->local[i], BLOCK) == 0);
  CHECK_OK(te_batch_free(p.reader, batch));

  fill(remote, bytes, 2);
  r = scattered(TE_READ, &p, &one, b);
  r.flags = TE_BATCH_CRC_OFF;
  r.class_ = TE_CLASS_BULK;
  r.trace = 77;
  r.deadline_ms = 60000;
  batch = run(&p, &r, &status);
  check_completed(&p, batch, status, bytes);
  for (i = 0; i < BLOCKS; i++)
    CHECK(memcmp(remote + b->remote[i], local + b->local[i], BLOCK) == 0);
  CHECK_OK(te_batch_cancel(p.reader, batch)); /* too late, and no harm */
  CHECK(status->outcome == TE_COMPLETED);
  CHECK_OK(te_batch_free(p.reader, batch));

  refused(&p, &one);

  /* The drained buffer is gone for its reader; the memory is the caller's again. */
  CHECK_OK(te_segment_query(p.reader, p.segment, text, sizeof(text), NULL));
  CHECK_OK(te_buffer_drain(p.owner, &one.remote_id, 1, -1, &task));
  finish_task(p.owner, task, text, sizeof(text));
  CHECK(strstr(text, "\"acknowledged\"") && strstr(text, "\"waited_ms\""));
  json_string(text, "acknowledged", peer, sizeof(peer));
  CHECK(strcmp(peer, p.reader_instance) == 0);
  r = request_of(TE_WRITE, p.segment, &one);
  i = (size_t)remote[0];
  local[0] = (unsigned char)(i + 1);
  if (te_batch_submit(p.reader, &r, &batch, &status) == TE_OK) {
    CHECK_OK(wait_batch(p.reader, batch));
    CHECK(status->outcome == TE_NOT_APPLIED && status->cause != TE_OK);
    CHECK_OK(te_batch_free(p.reader, batch));
  }
  CHECK(remote[0] == (unsigned char)i);
  CHECK_OK(te_memory_free(p.owner, address));
  CHECK_CODE(TE_E_INVALID_ARGUMENT, te_memory_free(p.owner, address));

  CHECK_OK(te_buffer_drain(p.reader, &one.local_id, 1, -1, &task));
  finish_task(p.reader, task, text, sizeof(text));
  free(local);
  free(b);
  CHECK_OK(te_segment_close(p.reader, p.segment));
  pair_destroy(&p);
}
