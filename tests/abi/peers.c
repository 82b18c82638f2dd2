#include <string.h>

#include "check.h"

#define BLOCK 1024

/* Writes one block and returns the batch's cause, TE_OK when it completed. */
static int write_block(struct pair *p, struct one *one)
{
  te_batch_request r = request_of(TE_WRITE, p->segment, one);
  const volatile te_batch_status *status = NULL;
  te_batch batch = 0;
  int rc = te_batch_submit(p->reader, &r, &batch, &status);

  if (rc != TE_OK)
    return rc;
  CHECK_OK(wait_batch(p->reader, batch));
  rc = status->cause;
  CHECK((status->outcome == TE_COMPLETED) == (rc == TE_OK));
  CHECK(rc == TE_OK || status->outcome == TE_NOT_APPLIED);
  CHECK_OK(te_batch_free(p->reader, batch));
  return rc;
}

/* Two grants over one registration that offers nothing by itself: taking one back leaves the other. */
void scenario_grants(void)
{
  static char local[BLOCK], remote[8 * BLOCK];
  const uint64_t first_offsets[] = {0, 2 * BLOCK}, second_offsets[] = {4 * BLOCK};
  const uint64_t lengths[] = {BLOCK, BLOCK};
  struct one one = {0, 0, 0, 0, BLOCK};
  uint64_t registration, first = 0, second = 0, bad[2] = {0, 1}, id = 0;
  te_task task = 0;
  char text[65536];
  struct pair p;
  int rc;

  pair_create(&p, "");
  memset(local, 'n', sizeof(local));
  one.local_id = register_memory(p.reader, local, sizeof(local), TE_REMOTE_NONE);
  registration = register_memory(p.owner, remote, sizeof(remote), TE_REMOTE_GRANTS);

  CHECK_CODE(TE_E_INVALID_ARGUMENT,
             te_buffer_grant(p.owner, registration, bad, lengths, 2, TE_PERM_WRITE, NULL, &id)); /* overlap */
  CHECK_CODE(TE_E_STALE_BUFFER,
             te_buffer_grant(p.owner, 987654321, first_offsets, lengths, 2, TE_PERM_WRITE, NULL, &id));
  CHECK_OK(te_buffer_grant(p.owner, registration, first_offsets, lengths, 2, TE_PERM_WRITE, p.reader_instance, &first));
  CHECK_OK(te_buffer_grant(p.owner, registration, second_offsets, lengths, 1, TE_PERM_WRITE, NULL, &second));
  CHECK(first != second && first != registration && second != registration);

  one.remote_id = first;
  one.remote_offset = 2 * BLOCK;
  CHECK(write_block(&p, &one) == TE_OK);
  CHECK(memcmp(remote + 2 * BLOCK, local, BLOCK) == 0);
  one.remote_id = second; /* asked for by GRANT_QUERY */
  one.remote_offset = 4 * BLOCK;
  CHECK(write_block(&p, &one) == TE_OK);
  CHECK(memcmp(remote + 4 * BLOCK, local, BLOCK) == 0);
  one.remote_id = first; /* a block of the other grant */
  CHECK(write_block(&p, &one) == TE_E_OUT_OF_BOUNDS);

  CHECK_OK(te_buffer_drain(p.owner, &first, 1, -1, &task));
  finish_task(p.owner, task, text, sizeof(text));
  memset(local, 'x', sizeof(local));
  one.remote_offset = 0;
  rc = write_block(&p, &one);
  CHECK(rc == TE_E_REVOKED || rc == TE_E_DRAINING || rc == TE_E_STALE_BUFFER);
  CHECK(remote[0] == 0);
  one.remote_id = second;
  one.remote_offset = 4 * BLOCK;
  CHECK(write_block(&p, &one) == TE_OK);
  CHECK(remote[4 * BLOCK] == 'x');
  pair_destroy(&p);
}

/* Notifications with and without a batch before them; a buffer that is too small loses none. */
void scenario_notify(void)
{
  static char local[BLOCK], remote[BLOCK];
  struct one one = {0, 0, 0, 0, BLOCK};
  const volatile te_batch_status *status = NULL;
  te_batch_request r;
  te_batch batch = 0;
  te_task task = 0;
  char text[65536], value[64];
  size_t needed = 0;
  struct pair p;

  pair_create(&p, "");
  one.local_id = register_memory(p.reader, local, sizeof(local), TE_REMOTE_NONE);
  one.remote_id = register_memory(p.owner, remote, sizeof(remote), TE_REMOTE_ALL);
  CHECK_OK(te_engine_query(p.owner, "notifications", text, sizeof(text), NULL));
  CHECK(strcmp(text, "[]") == 0);

  r = request_of(TE_WRITE, p.segment, &one);
  memset(local, 'd', sizeof(local));
  CHECK_OK(te_batch_submit(p.reader, &r, &batch, &status));
  CHECK_OK(te_segment_notify(p.reader, p.segment, "first", 5, "after", batch, 30000, &task));
  finish_task(p.reader, task, text, sizeof(text));
  CHECK(status->state == 1 && status->outcome == TE_COMPLETED); /* its data came before it */
  CHECK(remote[BLOCK - 1] == 'd');
  CHECK_OK(te_batch_free(p.reader, batch));
  CHECK_OK(te_segment_notify(p.reader, p.segment, NULL, 0, NULL, 0, 30000, &task));
  finish_task(p.reader, task, text, sizeof(text));

  CHECK_CODE(TE_E_BUFFER_TOO_SMALL, te_engine_query(p.owner, "notifications", text, 4, &needed));
  CHECK_CODE(TE_E_BUFFER_TOO_SMALL, te_engine_query(p.owner, "notifications", NULL, 0, &needed));
  CHECK(needed < sizeof(text));
  CHECK_OK(te_engine_query(p.owner, "notifications", text, needed, NULL));
  json_string(text, "tag", value, sizeof(value));
  CHECK(strcmp(value, "after") == 0);
  json_string(text, "payload_b64", value, sizeof(value));
  CHECK(strcmp(value, "Zmlyc3Q=") == 0);
  json_string(text, "peer", value, sizeof(value));
  CHECK(strcmp(value, p.reader_instance) == 0);
  CHECK(strstr(text, "\"payload_b64\":\"\"") != NULL);
  CHECK_OK(te_engine_query(p.owner, "notifications", text, sizeof(text), NULL));
  CHECK(strcmp(text, "[]") == 0);

  CHECK_OK(te_segment_ping(p.reader, p.segment, 30000, &task));
  finish_task(p.reader, task, text, sizeof(text));
  CHECK(strstr(text, "\"rtt_us\"") != NULL);
  CHECK_OK(te_segment_refresh(p.reader, p.segment, 30000, &task));
  finish_task(p.reader, task, text, sizeof(text));
  json_string(text, "instance", value, sizeof(value));
  CHECK(strcmp(value, p.instance) == 0);
  CHECK_CODE(TE_E_BUFFER_TOO_SMALL, te_engine_query(p.owner, "metrics", NULL, 0, &needed));
  CHECK(needed > 1);
  pair_destroy(&p);
}
