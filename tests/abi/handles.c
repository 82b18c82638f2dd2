#include <string.h>

#include "check.h"

/* Nothing but an engine handle of this library is one, whatever function it goes to. */
static void no_engine(te_engine h, int want)
{
  static char memory[64];
  te_registration reg = {.struct_size = sizeof(reg), .address = (uint64_t)(uintptr_t)memory, .length = sizeof(memory)};
  struct one one = {1, 0, 1, 0, 8};
  te_batch_request req = request_of(TE_READ, 1, &one);
  const volatile te_batch_status *status = NULL;
  char text[64];
  uint64_t word = 8, id = 0;
  te_task task = 0;
  int fd = -1;

  CHECK_CODE(want, te_engine_close(h, -1, &task));
  CHECK_CODE(want, te_engine_event_fd(h, &fd));
  CHECK_CODE(want, te_engine_query(h, "info", text, sizeof(text), NULL));
  CHECK_CODE(want, te_buffer_register(h, &reg, 1, &id));
  CHECK_CODE(want, te_buffer_drain(h, &word, 1, -1, &task));
  CHECK_CODE(want, te_buffer_grant(h, 1, &word, &word, 1, TE_PERM_READ, NULL, &id));
  CHECK_CODE(want, te_memory_allocate(h, 4096, &id));
  CHECK_CODE(want, te_memory_free(h, 4096));
  CHECK_CODE(want, te_segment_open(h, "127.0.0.1:1", 1, &task));
  CHECK_CODE(want, te_segment_open_anew(h, "127.0.0.1:1", 1, &task));
  CHECK_CODE(want, te_segment_lookup(h, "127.0.0.1:1", &task));
  CHECK_CODE(want, te_segment_describe(h, "127.0.0.1:1", 1, &task));
  CHECK_CODE(want, te_engine_claim(h, 0, 0, 1, &task));
  CHECK_CODE(want, te_engine_sync(h, 1, &task));
  CHECK_CODE(want, te_segment_refresh(h, 1, 1, &task));
  CHECK_CODE(want, te_segment_query(h, 1, text, sizeof(text), NULL));
  CHECK_CODE(want, te_segment_close(h, 1));
  CHECK_CODE(want, te_segment_ping(h, 1, 1, &task));
  CHECK_CODE(want, te_segment_notify(h, 1, "x", 1, "t", 0, 1, &task));
  CHECK_CODE(want, te_batch_submit(h, &req, &task, &status));
  CHECK_CODE(want, te_batch_wait(h, 1, 0));
  CHECK_CODE(want, te_batch_arm(h, 1));
  CHECK_CODE(want, te_batch_cancel(h, 1));
  CHECK_CODE(want, te_batch_outcomes(h, 1, 0, 1, NULL, NULL));
  CHECK_CODE(want, te_batch_explain(h, 1, text, sizeof(text), NULL));
  CHECK_CODE(want, te_batch_free(h, 1));
  CHECK_CODE(want, te_task_wait(h, 1, 0));
  CHECK_CODE(want, te_task_arm(h, 1));
  CHECK_CODE(want, te_task_result(h, 1, text, sizeof(text), NULL));
  CHECK_CODE(want, te_task_free(h, 1));
  CHECK(task == 0 && id == 0 && fd == -1 && status == NULL);
}

/* Calls on a batch or task handle that is none of this engine. */
static void no_batch(te_engine e, te_batch h)
{
  char text[64];

  CHECK_NO_HANDLE(te_batch_wait(e, h, 0));
  CHECK_NO_HANDLE(te_batch_arm(e, h));
  CHECK_NO_HANDLE(te_batch_cancel(e, h));
  CHECK_NO_HANDLE(te_batch_outcomes(e, h, 0, 1, NULL, NULL));
  CHECK_NO_HANDLE(te_batch_explain(e, h, text, sizeof(text), NULL));
  CHECK_NO_HANDLE(te_batch_free(e, h));
}

static void no_task(te_engine e, te_task h)
{
  char text[64];

  CHECK_NO_HANDLE(te_task_wait(e, h, 0));
  CHECK_NO_HANDLE(te_task_arm(e, h));
  CHECK_NO_HANDLE(te_task_result(e, h, text, sizeof(text), NULL));
  CHECK_NO_HANDLE(te_task_free(e, h));
}

static te_batch submit_read(struct pair *p, struct one *one)
{
  te_batch_request r = request_of(TE_READ, p->segment, one);
  const volatile te_batch_status *status = NULL;
  te_batch batch = 0;

  CHECK_OK(te_batch_submit(p->reader, &r, &batch, &status));
  CHECK(batch != 0 && status != NULL);
  CHECK_OK(wait_batch(p->reader, batch));
  return batch;
}

void scenario_handles(void)
{
  static char local[4096], remote[4096];
  struct one one = {0, 0, 0, 0, 64};
  struct pair p;
  te_engine newer;
  te_batch batch, again;
  te_task task = 0;
  char text[4096];
  int bit;

  no_engine(0, TE_E_INVALID_ARGUMENT);
  no_engine(1, TE_E_INVALID_ARGUMENT);
  no_engine(UINT64_MAX, TE_E_INVALID_ARGUMENT);
  CHECK_CODE(TE_E_INVALID_ARGUMENT, te_engine_destroy(0));
  CHECK_CODE(TE_E_INVALID_ARGUMENT, te_engine_destroy(UINT64_MAX));

  pair_create(&p, "");
  one.local_id = register_memory(p.reader, local, sizeof(local), TE_REMOTE_NONE);
  one.remote_id = register_memory(p.owner, remote, sizeof(remote), TE_REMOTE_ALL);
  batch = submit_read(&p, &one);
  CHECK_OK(te_segment_ping(p.reader, p.segment, 30000, &task));
  CHECK_OK(wait_task(p.reader, task));

  /* Handles of another kind, and of another engine. */
  no_engine(batch, TE_E_INVALID_ARGUMENT);
  no_engine(task, TE_E_INVALID_ARGUMENT);
  no_batch(p.reader, p.reader);
  no_batch(p.reader, task);
  no_batch(p.owner, batch);
  no_task(p.reader, batch);
  no_task(p.owner, task);
  CHECK_CODE(TE_E_INVALID_ARGUMENT, te_segment_notify(p.reader, p.segment, "x", 1, NULL, task, 0, &again));
  /* One wrong bit anywhere. */
  for (bit = 0; bit < 64; bit++) {
    no_batch(p.reader, batch ^ (1ull << bit));
    no_task(p.reader, task ^ (1ull << bit));
    CHECK_NO_HANDLE(te_engine_query(p.reader ^ (1ull << bit), "no such query", text, sizeof(text), NULL));
  }

  /* Freed, and freed again. A newer batch in the same place is another one. */
  CHECK_OK(te_batch_wait(p.reader, batch, 0));
  CHECK_OK(te_batch_free(p.reader, batch));
  CHECK_CODE(TE_E_CLOSED, te_batch_free(p.reader, batch));
  CHECK_CODE(TE_E_CLOSED, te_batch_wait(p.reader, batch, 0));
  again = submit_read(&p, &one);
  CHECK(again != batch);
  CHECK_CODE(TE_E_CLOSED, te_batch_outcomes(p.reader, batch, 0, 1, NULL, NULL));
  CHECK_OK(te_task_free(p.reader, task));
  CHECK_CODE(TE_E_CLOSED, te_task_free(p.reader, task));
  CHECK_CODE(TE_E_CLOSED, te_task_result(p.reader, task, text, sizeof(text), NULL));

  /* Closed: new work is refused, what is there can be looked at; destroyed: everything of it is gone. */
  CHECK_OK(te_engine_close(p.reader, 0, &task));
  CHECK_OK(wait_task(p.reader, task));
  CHECK_CODE(TE_E_CLOSED, te_memory_allocate(p.reader, 4096, &one.length));
  CHECK_CODE(TE_E_CLOSED, te_segment_open(p.reader, p.address, 0, &again));
  CHECK_OK(te_batch_wait(p.reader, again, 0));
  CHECK_OK(te_task_result(p.reader, task, text, sizeof(text), NULL));
  CHECK(strstr(text, "\"acknowledged\"") != NULL);
  CHECK_OK(te_engine_destroy(p.reader));
  no_engine(p.reader, TE_E_CLOSED);
  CHECK_CODE(TE_E_CLOSED, te_batch_free(p.reader, again));
  CHECK_CODE(TE_E_CLOSED, te_task_free(p.reader, task));
  CHECK_OK(te_engine_destroy(p.reader)); /* idempotent */

  newer = create_engine("newer", "");
  CHECK(newer != p.reader && newer != p.owner);
  no_engine(p.reader, TE_E_CLOSED);
  CHECK_OK(te_engine_destroy(newer));
  CHECK_OK(te_engine_destroy(p.owner));
}
