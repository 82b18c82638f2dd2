#include "check.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ERROR_CAP 65536
#define TEXT_CAP 65536

static _Thread_local char error_text[ERROR_CAP];

const char *last_error(void)
{
  int rc = te_last_error(error_text, sizeof(error_text), NULL);

  if (rc != TE_OK)
    snprintf(error_text, sizeof(error_text), "te_last_error gave %d", rc);
  return error_text;
}

int last_error_says(const char *part) { return strstr(last_error(), part) != NULL; }

void check_failed(const char *file, int line, const char *what)
{
  fprintf(stderr, "%s:%d: failed: %s\n  last error: %s\n", file, line, what, last_error());
  fflush(NULL);
  _Exit(1);
}

void check_code(const char *file, int line, const char *call, int got, int want)
{
  char code[32];

  if (got != want) {
    fprintf(stderr, "%s:%d: %s gave %d, want %d\n", file, line, call, got, want);
    check_failed(file, line, "code");
  }
  snprintf(code, sizeof(code), "{\"code\":%d,", want);
  if (want != TE_OK && !last_error_says(code))
    check_failed(file, line, "te_last_error tells another code than the call");
}

void check_no_handle(const char *file, int line, const char *call, int got)
{
  if (got != TE_E_CLOSED && got != TE_E_INVALID_ARGUMENT) {
    fprintf(stderr, "%s:%d: %s gave %d\n", file, line, call, got);
    check_failed(file, line, "CLOSED or INVALID_ARGUMENT");
  }
}

void json_string(const char *json, const char *key, char *out, size_t cap)
{
  char quoted[80];
  const char *p;
  size_t n;

  snprintf(quoted, sizeof(quoted), "\"%s\":", key);
  p = strstr(json, quoted);
  if (!p) {
    fprintf(stderr, "no %s in %s\n", quoted, json);
    check_failed(__FILE__, __LINE__, "JSON key");
  }
  p += strlen(quoted);
  p += strspn(p, "[ ");
  CHECK(*p == '"');
  p++;
  n = strcspn(p, "\"");
  CHECK(n < cap);
  memcpy(out, p, n);
  out[n] = 0;
}

#define SLICE_MS 100
#define SLICES 600

int wait_task(te_engine engine, te_task task)
{
  int i, rc;

  for (i = 0; i < SLICES; i++) {
    rc = te_task_wait(engine, task, SLICE_MS);
    if (rc != TE_E_WAIT_TIMEOUT)
      return rc;
  }
  check_failed(__FILE__, __LINE__, "a task did not end within a minute");
  return TE_E_WAIT_TIMEOUT;
}

int wait_batch(te_engine engine, te_batch batch)
{
  int i, rc;

  for (i = 0; i < SLICES; i++) {
    rc = te_batch_wait(engine, batch, SLICE_MS);
    if (rc != TE_E_WAIT_TIMEOUT)
      return rc;
  }
  check_failed(__FILE__, __LINE__, "a batch did not end within a minute");
  return TE_E_WAIT_TIMEOUT;
}

void finish_task(te_engine engine, te_task task, char *result, size_t cap)
{
  CHECK_OK(wait_task(engine, task));
  CHECK_OK(te_task_result(engine, task, result, cap, NULL));
  CHECK_OK(te_task_free(engine, task));
}

te_engine create_engine(const char *name, const char *options)
{
  char config[256];
  te_engine engine = 0;

  snprintf(config, sizeof(config), "{\"name\": \"%s\", \"listen\": \"127.0.0.1:0\"%s}", name, options);
  CHECK_OK(te_engine_create(config, &engine));
  CHECK(engine != 0);
  return engine;
}

void engine_info(te_engine engine, const char *key, char *out, size_t cap)
{
  char text[TEXT_CAP];

  CHECK_OK(te_engine_query(engine, "info", text, sizeof(text), NULL));
  json_string(text, key, out, cap);
}

uint64_t open_segment(te_engine engine, const char *address)
{
  char result[TEXT_CAP], id[32];
  te_task task = 0;
  uint64_t segment;

  CHECK_OK(te_segment_open(engine, address, 30000, &task));
  finish_task(engine, task, result, sizeof(result));
  json_string(result, "segment", id, sizeof(id));
  segment = strtoull(id, NULL, 10);
  CHECK(segment != 0);
  return segment;
}

void pair_create(struct pair *p, const char *options)
{
  p->owner = create_engine("owner", options);
  p->reader = create_engine("reader", options);
  CHECK(p->owner != p->reader);
  engine_info(p->owner, "addresses", p->address, sizeof(p->address));
  engine_info(p->owner, "instance", p->instance, sizeof(p->instance));
  engine_info(p->reader, "instance", p->reader_instance, sizeof(p->reader_instance));
  p->segment = open_segment(p->reader, p->address);
}

void pair_destroy(struct pair *p)
{
  CHECK_OK(te_engine_destroy(p->reader));
  CHECK_OK(te_engine_destroy(p->owner));
}

uint64_t register_memory(te_engine engine, void *memory, size_t length, uint32_t remote)
{
  uint64_t id = 0;
  te_registration r = {
      .struct_size = sizeof(r),
      .remote = remote,
      .perm = TE_PERM_READ | TE_PERM_WRITE,
      .writable = 1,
      .address = (uint64_t)(uintptr_t)memory,
      .length = length,
      .label = "abi",
      .location = "cpu:0",
  };

  CHECK_OK(te_buffer_register(engine, &r, 1, &id));
  CHECK(id != 0);
  return id;
}

te_batch_request request_of(uint32_t op, uint64_t segment, struct one *one)
{
  te_batch_request r = {
      .struct_size = sizeof(r),
      .op = op,
      .segment = segment,
      .n = 1,
      .local_ids = &one->local_id,
      .local_offsets = &one->local_offset,
      .remote_ids = &one->remote_id,
      .remote_offsets = &one->remote_offset,
      .lengths = &one->length,
      .local_id_count = 1,
      .remote_id_count = 1,
      .length_count = 1,
  };

  return r;
}
