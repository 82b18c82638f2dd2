#include <stdio.h>
#include <string.h>

#include "check.h"

/* A te_registration of a later version: two more fields. */
struct newer_registration {
  te_registration v1;
  uint64_t more[2];
};

struct newer_request {
  te_batch_request v1;
  uint64_t more[2];
};

static void registrations(te_engine engine)
{
  static char memory[4096];
  struct newer_registration newer[2];
  te_registration r[2];
  uint64_t ids[2] = {0, 0};
  size_t i;

  memset(r, 0, sizeof(r));
  memset(newer, 0, sizeof(newer));
  for (i = 0; i < 2; i++) {
    r[i].struct_size = sizeof(r[i]);
    r[i].remote = TE_REMOTE_ALL;
    r[i].perm = TE_PERM_READ;
    r[i].address = (uint64_t)(uintptr_t)(memory + 2048 * i);
    r[i].length = 2048;
    newer[i].v1 = r[i];
    newer[i].v1.struct_size = sizeof(newer[i]);
  }
  CHECK_OK(te_buffer_register(engine, r, 2, ids));
  CHECK(ids[0] != 0 && ids[1] != 0 && ids[0] != ids[1]);

  /* A newer caller: its elements lie further apart, and fields that are unknown here must be zero. */
  CHECK_OK(te_buffer_register(engine, &newer[0].v1, 2, ids));
  CHECK(ids[0] != 0 && ids[1] != 0 && ids[0] != ids[1]);
  newer[1].more[1] = 1;
  CHECK_CODE(TE_E_UNSUPPORTED, te_buffer_register(engine, &newer[0].v1, 2, ids));

  r[1].struct_size = 0;
  CHECK_CODE(TE_E_INVALID_ARGUMENT, te_buffer_register(engine, r, 2, ids));
  r[1].struct_size = sizeof(r[1]) - 8;
  CHECK_CODE(TE_E_INVALID_ARGUMENT, te_buffer_register(engine, r, 2, ids));
  r[0].struct_size = r[1].struct_size = sizeof(r[1]) + 1;
  CHECK_CODE(TE_E_INVALID_ARGUMENT, te_buffer_register(engine, r, 2, ids));
  r[0].struct_size = UINT32_MAX;
  CHECK_CODE(TE_E_INVALID_ARGUMENT, te_buffer_register(engine, r, 2, ids));
  r[0].struct_size = r[1].struct_size = sizeof(r[1]);

  /* Numbers that would become valid when cut to eight bits. */
  r[1].remote = 256 + TE_REMOTE_ALL;
  CHECK_CODE(TE_E_INVALID_ARGUMENT, te_buffer_register(engine, r, 2, ids));
  CHECK(last_error_says("registration 1") && last_error_says("257"));
  r[1].remote = TE_REMOTE_ALL;
  r[1].perm = 256 + TE_PERM_READ;
  CHECK_CODE(TE_E_INVALID_ARGUMENT, te_buffer_register(engine, r, 2, ids));
  r[1].perm = 0;
  CHECK_CODE(TE_E_INVALID_ARGUMENT, te_buffer_register(engine, r, 2, ids));
  r[1].remote = TE_REMOTE_NONE; /* now perm is ignored */
  CHECK_OK(te_buffer_register(engine, r, 2, ids));
  r[1].writable = 2;
  CHECK_CODE(TE_E_INVALID_ARGUMENT, te_buffer_register(engine, r, 2, ids));
  r[1].writable = 0;
  r[1].length = 0;
  CHECK_CODE(TE_E_INVALID_ARGUMENT, te_buffer_register(engine, r, 2, ids));
  r[1].length = 2048;
  r[1].label = "\xc3\x28";
  CHECK_CODE(TE_E_INVALID_ARGUMENT, te_buffer_register(engine, r, 2, ids));
}

static void requests(struct pair *p)
{
  static char local[4096], remote[4096];
  struct one one = {0, 0, 0, 0, 64};
  struct newer_request newer;
  te_batch_request r;
  te_batch batch = 0;
  const volatile te_batch_status *status = NULL;

  one.local_id = register_memory(p->reader, local, sizeof(local), TE_REMOTE_NONE);
  one.remote_id = register_memory(p->owner, remote, sizeof(remote), TE_REMOTE_ALL);
  memset(&newer, 0, sizeof(newer));
  newer.v1 = request_of(TE_READ, p->segment, &one);
  newer.v1.struct_size = sizeof(newer);
  CHECK_OK(te_batch_submit(p->reader, &newer.v1, &batch, &status));
  CHECK_OK(wait_batch(p->reader, batch));
  CHECK_OK(te_batch_free(p->reader, batch));
  newer.more[0] = 1;
  CHECK_CODE(TE_E_UNSUPPORTED, te_batch_submit(p->reader, &newer.v1, &batch, &status));

#define REFUSED(change)                                                                 \
  do {                                                                                  \
    r = request_of(TE_READ, p->segment, &one);                                          \
    change;                                                                             \
    CHECK_CODE(TE_E_INVALID_ARGUMENT, te_batch_submit(p->reader, &r, &batch, &status)); \
  } while (0)
  REFUSED(r.struct_size = 0);
  REFUSED(r.struct_size = sizeof(r) - 8);
  REFUSED(r.op = 0);
  REFUSED(r.op = 256 + TE_READ);
  REFUSED(r.class_ = 2);
  REFUSED(r.class_ = 256);
  REFUSED(r.flags = TE_BATCH_CRC_OFF | TE_BATCH_CRC_ON);
  REFUSED(r.flags = 1u << 31);
  REFUSED(r.n = 0);
  REFUSED(r.n = (1 << 20) + 1);
  REFUSED(r.n = UINT64_MAX);
  REFUSED(r.n = 2; r.local_id_count = 3);
  REFUSED(r.local_id_count = 0);
  REFUSED(r.remote_id_count = 0);
  REFUSED(r.length_count = 2);
  REFUSED(r.local_ids = NULL);
  REFUSED(r.local_offsets = NULL);
  REFUSED(r.remote_ids = NULL);
  REFUSED(r.remote_offsets = NULL);
  REFUSED(r.lengths = NULL);
  REFUSED(r.lengths = (const uint64_t *)((const char *)&one.length + 1));
  REFUSED(r.deadline_ms = -1);
  REFUSED(r.stall_ms = INT64_MIN);
  REFUSED(r.expected_instance = "");
  REFUSED(r.expected_instance = "00000000000000000000000000000000");
  REFUSED(r.expected_instance = "0123456789abcdef0123456789abcdeg");
  REFUSED(r.expected_instance = "0123456789abcdef0123456789abcdef0");
#undef REFUSED
}

void scenario_structs(void)
{
  struct pair p;

  pair_create(&p, "");
  registrations(p.owner);
  requests(&p);
  pair_destroy(&p);
}

#define FIELD(type, name) printf("%s.%s %zu %zu\n", #type, #name, offsetof(type, name), sizeof(((type *)0)->name))

/* Prints name, offset and size of every field, and each struct's size: what te.layout holds. */
void scenario_layout(void)
{
  printf("te_registration %zu\n", sizeof(te_registration));
  FIELD(te_registration, struct_size);
  FIELD(te_registration, remote);
  FIELD(te_registration, perm);
  FIELD(te_registration, writable);
  FIELD(te_registration, address);
  FIELD(te_registration, length);
  FIELD(te_registration, label);
  FIELD(te_registration, location);
  printf("te_batch_request %zu\n", sizeof(te_batch_request));
  FIELD(te_batch_request, struct_size);
  FIELD(te_batch_request, op);
  FIELD(te_batch_request, class_);
  FIELD(te_batch_request, flags);
  FIELD(te_batch_request, segment);
  FIELD(te_batch_request, n);
  FIELD(te_batch_request, local_ids);
  FIELD(te_batch_request, local_offsets);
  FIELD(te_batch_request, remote_ids);
  FIELD(te_batch_request, remote_offsets);
  FIELD(te_batch_request, lengths);
  FIELD(te_batch_request, local_id_count);
  FIELD(te_batch_request, remote_id_count);
  FIELD(te_batch_request, length_count);
  FIELD(te_batch_request, trace);
  FIELD(te_batch_request, deadline_ms);
  FIELD(te_batch_request, stall_ms);
  FIELD(te_batch_request, expected_instance);
  printf("te_batch_status %zu\n", sizeof(te_batch_status));
  FIELD(te_batch_status, state);
  FIELD(te_batch_status, outcome);
  FIELD(te_batch_status, cause);
  FIELD(te_batch_status, remote_quiet);
  FIELD(te_batch_status, bytes_done);
  FIELD(te_batch_status, bytes_total);
}
