#include <stdlib.h>
#include <string.h>

#include "check.h"

static void configurations(void)
{
  te_engine engine = 0;
  size_t n = (1 << 20) + 2;
  char *large = malloc(n);

  CHECK_CODE(TE_E_INVALID_ARGUMENT, te_engine_create(NULL, &engine));
  CHECK_CODE(TE_E_INVALID_ARGUMENT, te_engine_create("{}", NULL));
  CHECK_CODE(TE_E_INVALID_ARGUMENT, te_engine_create("not JSON", &engine));
  CHECK_CODE(TE_E_INVALID_ARGUMENT, te_engine_create("[]", &engine));
  CHECK_CODE(TE_E_INVALID_ARGUMENT, te_engine_create("{\"name\": \"\xff\"}", &engine));

  /* All problems of a document at once. */
  CHECK_CODE(TE_E_INVALID_ARGUMENT,
             te_engine_create("{\"no_such_key\": 1, \"listen\": \"a:b:c\", \"drain_ms\": \"soon\"}", &engine));
  CHECK(last_error_says("no_such_key") && last_error_says("listen") && last_error_says("drain_ms"));

  CHECK(large != NULL);
  memset(large, ' ', n);
  large[n - 1] = 0;
  CHECK_CODE(TE_E_INVALID_ARGUMENT, te_engine_create(large, &engine));
  CHECK(last_error_says("longer than"));
  large[n - 2] = 0; /* exactly at the limit: the document is read, and its text is what counts */
  memcpy(large, "{\"no_such_key\":1}", 17);
  CHECK_CODE(TE_E_INVALID_ARGUMENT, te_engine_create(large, &engine));
  CHECK(last_error_says("no_such_key"));
  free(large);
  CHECK(engine == 0);
}

static void null_pointers(te_engine e)
{
  static char memory[64];
  te_registration r = {.struct_size = sizeof(r), .address = (uint64_t)(uintptr_t)memory, .length = sizeof(memory)};
  const te_registration *unaligned = (const te_registration *)((const char *)&r + 4);
  uint64_t words[2] = {1, 1};
  te_task task = 0;
  char text[16];

  CHECK_CODE(TE_E_INVALID_ARGUMENT, te_engine_close(e, -1, NULL));
  CHECK_CODE(TE_E_INVALID_ARGUMENT, te_engine_close(e, -2, &task));
  CHECK_CODE(TE_E_INVALID_ARGUMENT, te_engine_event_fd(e, NULL));
  CHECK_CODE(TE_E_INVALID_ARGUMENT, te_engine_query(e, NULL, text, sizeof(text), NULL));
  CHECK_CODE(TE_E_INVALID_ARGUMENT, te_engine_query(e, "no such query", text, sizeof(text), NULL));
  CHECK(last_error_says("no such query"));
  CHECK_CODE(TE_E_INVALID_ARGUMENT, te_engine_query(e, "info", NULL, 1, NULL));
  CHECK_CODE(TE_E_BUFFER_TOO_SMALL, te_engine_query(e, "info", text, sizeof(text), NULL));
  CHECK_CODE(TE_E_BUFFER_TOO_SMALL, te_engine_query(e, "status", NULL, 0, NULL));

  CHECK_CODE(TE_E_INVALID_ARGUMENT, te_buffer_register(e, NULL, 1, words));
  CHECK_CODE(TE_E_INVALID_ARGUMENT, te_buffer_register(e, &r, 1, NULL));
  CHECK_CODE(TE_E_INVALID_ARGUMENT, te_buffer_register(e, &r, 0, words));
  CHECK_CODE(TE_E_INVALID_ARGUMENT, te_buffer_register(e, &r, SIZE_MAX, words));
  CHECK_CODE(TE_E_INVALID_ARGUMENT, te_buffer_register(e, unaligned, 1, words));
  CHECK_CODE(TE_E_INVALID_ARGUMENT, te_buffer_drain(e, NULL, 1, -1, &task));
  CHECK_CODE(TE_E_INVALID_ARGUMENT, te_buffer_drain(e, words, 0, -1, &task));
  CHECK_CODE(TE_E_INVALID_ARGUMENT, te_buffer_drain(e, words, SIZE_MAX, -1, &task));
  CHECK_CODE(TE_E_INVALID_ARGUMENT, te_buffer_drain(e, words, 1, -2, &task));
  CHECK_CODE(TE_E_INVALID_ARGUMENT, te_buffer_drain(e, words, 1, -1, NULL));
  CHECK_CODE(TE_E_STALE_BUFFER, te_buffer_drain(e, words, 1, -1, &task));
  CHECK_CODE(TE_E_INVALID_ARGUMENT, te_buffer_grant(e, 1, NULL, words, 1, TE_PERM_READ, NULL, words));
  CHECK_CODE(TE_E_INVALID_ARGUMENT, te_buffer_grant(e, 1, words, NULL, 1, TE_PERM_READ, NULL, words));
  CHECK_CODE(TE_E_INVALID_ARGUMENT, te_buffer_grant(e, 1, words, words, 0, TE_PERM_READ, NULL, words));
  CHECK_CODE(TE_E_INVALID_ARGUMENT, te_buffer_grant(e, 1, words, words, 1, TE_PERM_READ, NULL, NULL));
  CHECK_CODE(TE_E_INVALID_ARGUMENT, te_buffer_grant(e, 1, words, words, 1, 0, NULL, words));
  CHECK_CODE(TE_E_INVALID_ARGUMENT, te_buffer_grant(e, 1, words, words, 1, 257, NULL, words));
  CHECK_CODE(TE_E_INVALID_ARGUMENT, te_buffer_grant(e, 1, words, words, 1, TE_PERM_READ, "somebody", words));
  CHECK_CODE(TE_E_INVALID_ARGUMENT, te_memory_allocate(e, 4096, NULL));
  CHECK_CODE(TE_E_INVALID_ARGUMENT, te_memory_allocate(e, 0, words));
  CHECK_CODE(TE_E_RESOURCE_EXHAUSTED, te_memory_allocate(e, UINT64_MAX, words));
  CHECK_CODE(TE_E_INVALID_ARGUMENT, te_memory_free(e, 12345));

  CHECK_CODE(TE_E_INVALID_ARGUMENT, te_segment_open(e, NULL, 0, &task));
  CHECK_CODE(TE_E_INVALID_ARGUMENT, te_segment_open(e, "", 0, &task));
  CHECK_CODE(TE_E_INVALID_ARGUMENT, te_segment_open(e, "127.0.0.1:1", 0, NULL));
  CHECK_CODE(TE_E_INVALID_ARGUMENT, te_segment_open_anew(e, NULL, 0, &task));
  CHECK_CODE(TE_E_INVALID_ARGUMENT, te_segment_open_anew(e, "x", 0, NULL));
  CHECK_CODE(TE_E_INVALID_ARGUMENT, te_segment_lookup(e, NULL, &words[0]));
  CHECK_CODE(TE_E_INVALID_ARGUMENT, te_segment_lookup(e, "", &words[0]));
  CHECK_CODE(TE_E_INVALID_ARGUMENT, te_segment_lookup(e, "x", NULL));
  CHECK_CODE(TE_E_SEGMENT_NOT_FOUND, te_segment_lookup(e, "x", &words[0]));
  CHECK_CODE(TE_E_INVALID_ARGUMENT, te_segment_describe(e, "", 0, &task));
  CHECK_CODE(TE_E_INVALID_ARGUMENT, te_segment_describe(e, "x", 0, NULL));
  CHECK_CODE(TE_E_INVALID_ARGUMENT, te_segment_describe(e, "x", 0, &task)); /* peer to peer */
  CHECK_CODE(TE_E_INVALID_ARGUMENT, te_engine_claim(e, 0, 0, 0, NULL));
  CHECK_CODE(TE_E_INVALID_ARGUMENT, te_engine_claim(e, 0, 0, 0, &task));
  CHECK_CODE(TE_E_INVALID_ARGUMENT, te_engine_sync(e, 0, NULL));
  CHECK_CODE(TE_E_INVALID_ARGUMENT, te_engine_sync(e, 0, &task));
  CHECK_CODE(TE_E_INVALID_ARGUMENT, te_segment_refresh(e, 1, 0, NULL));
  CHECK_CODE(TE_E_INVALID_ARGUMENT, te_segment_query(e, 1, NULL, 1, NULL));
  CHECK_CODE(TE_E_SEGMENT_NOT_FOUND, te_segment_query(e, 4711, text, sizeof(text), NULL));
  CHECK_CODE(TE_E_SEGMENT_NOT_FOUND, te_segment_close(e, 4711));
  CHECK_CODE(TE_E_SEGMENT_NOT_FOUND, te_segment_refresh(e, 4711, 0, &task));
  CHECK_CODE(TE_E_SEGMENT_NOT_FOUND, te_segment_ping(e, 4711, 0, &task));
  CHECK_CODE(TE_E_INVALID_ARGUMENT, te_segment_ping(e, 1, 0, NULL));
  CHECK_CODE(TE_E_INVALID_ARGUMENT, te_segment_notify(e, 1, NULL, 1, NULL, 0, 0, &task));
  CHECK_CODE(TE_E_INVALID_ARGUMENT, te_segment_notify(e, 1, memory, SIZE_MAX, NULL, 0, 0, &task));
  CHECK_CODE(TE_E_INVALID_ARGUMENT, te_segment_notify(e, 1, memory, 1, NULL, 0, 0, NULL));
  CHECK_CODE(TE_E_INVALID_ARGUMENT, te_segment_notify(e, 1, memory, 1, NULL, 4711, 0, &task));
  CHECK_CODE(TE_E_SEGMENT_NOT_FOUND, te_segment_notify(e, 4711, memory, 1, "tag", 0, 0, &task));

  CHECK_CODE(TE_E_INVALID_ARGUMENT, te_batch_submit(e, NULL, &task, NULL));
  CHECK_CODE(TE_E_INVALID_ARGUMENT, te_batch_wait(e, 1, -1));
  CHECK_CODE(TE_E_INVALID_ARGUMENT, te_task_wait(e, 1, -1));
  CHECK_CODE(TE_E_INVALID_ARGUMENT, te_batch_explain(e, 1, NULL, 1, NULL));
  CHECK_CODE(TE_E_INVALID_ARGUMENT, te_task_result(e, 1, NULL, 1, NULL));
  CHECK_CODE(TE_E_INVALID_ARGUMENT, te_batch_outcomes(e, 1, 0, 0, NULL, NULL));
  CHECK(task == 0);
}

void scenario_arguments(void)
{
  te_engine engine;
  char name[600];
  te_task task = 0;

  configurations();
  engine = create_engine("arguments", "");
  null_pointers(engine);
  memset(name, 'a', sizeof(name) - 1);
  name[sizeof(name) - 1] = 0;
  CHECK_CODE(TE_E_INVALID_ARGUMENT, te_segment_open(engine, name, 0, &task));
  CHECK(last_error_says("longer than 512"));
  CHECK_OK(te_engine_destroy(engine));
}
