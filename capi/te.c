/* te.c: the C functions of te.h.
 *
 * This front does what needs no Go: it turns every call away in a forked child (there is no Go runtime there), checks
 * pointers and counts, and keeps each thread's last error. Everything else happens in the Go exports (export_*.go).
 *
 * No __thread variable may stand here: Go makes the library STATIC_TLS, and the room for the thread-local data of
 * late-loaded libraries is about 1.6 KiB for a whole process. The last error lies behind a pthread key instead.
 */
#include "te.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "_cgo_export.h"
#include "te_internal.h"

/* The sizes that the structs had in ABI 1.0: what every caller has at least. */
#define REGISTRATION_SIZE_1_0 48
#define BATCH_REQUEST_SIZE_1_0 112
#define STRUCT_SIZE_MAX 4096

_Static_assert(sizeof(void *) == 8, "te.h is laid out for 64-bit processes");
_Static_assert(sizeof(te_registration) == REGISTRATION_SIZE_1_0, "appending a field needs a new minor version");
_Static_assert(sizeof(te_batch_request) == BATCH_REQUEST_SIZE_1_0, "appending a field needs a new minor version");
_Static_assert(sizeof(te_batch_status) == 32, "the engine writes this layout");

/* ---- last error ------------------------------------------------------------------------------------------------- */

struct error_text {
  size_t length;
  size_t capacity; /* room for the text and its NUL */
  char text[];
};

static pthread_key_t error_key;
static int error_key_made; /* 0: the process has run out of keys; codes still work, details are lost */

void capi_error_set(const char *json, size_t n)
{
  struct error_text *e;

  if (!error_key_made)
    return;
  e = pthread_getspecific(error_key);
  if (!e || e->capacity <= n) {
    size_t capacity = n < 1000 ? 1000 : n + 1;
    struct error_text *larger = malloc(sizeof(*larger) + capacity);

    if (!larger) {
      if (e)
        e->length = 0; /* better no details than those of an older failure */
      return;
    }
    larger->capacity = capacity;
    if (pthread_setspecific(error_key, larger) != 0) {
      free(larger);
      return;
    }
    free(e);
    e = larger;
  }
  memcpy(e->text, json, n);
  e->text[n] = 0;
  e->length = n;
}

/* Composes what encoding/json makes of an errcode.Error in Go. The texts are constants of this file and hold nothing
 * that JSON would escape. */
static int fail(int code, const char *name, const char *op, const char *detail, const char *hint)
{
  char json[1024];
  int n = snprintf(
      json, sizeof(json),
      "{\"code\":%d,\"name\":\"%s\",\"op\":\"%s\",\"segment\":\"\",\"peer\":\"\",\"device\":\"\",\"path\":\"\","
      "\"detail\":\"%s\",\"hint\":\"%s\",\"message\":\"%s: %s: %s (%s)\"}",
      code, name, op, detail, hint, op, name, detail, hint);

  if (n > 0 && (size_t)n < sizeof(json))
    capi_error_set(json, (size_t)n);
  return code;
}

static int invalid(const char *op, const char *detail, const char *hint)
{
  return fail(TE_E_INVALID_ARGUMENT, "INVALID_ARGUMENT", op, detail, hint);
}

/* ---- fork ------------------------------------------------------------------------------------------------------- */

static volatile int forked;
static const volatile uint64_t *fork_fds;
static size_t fork_fd_words;

void capi_fork_fds(const uint64_t *words, size_t n)
{
  fork_fds = words;
  fork_fd_words = n;
}

/* Runs in the child, in its only thread. Plain close(2), never shutdown(2): the connections are the parent's. */
static void on_fork_child(void)
{
  int saved = errno;
  size_t w;

  forked = 1;
  for (w = 0; w < fork_fd_words; w++) {
    uint64_t bits = fork_fds[w];

    for (; bits; bits &= bits - 1)
      close((int)(w * 64 + (size_t)__builtin_ctzll(bits)));
  }
  fork_fd_words = 0; /* a grandchild may have given these numbers to something else */
  errno = saved;
}

__attribute__((constructor)) static void load(void)
{
  error_key_made = pthread_key_create(&error_key, free) == 0;
  /* Fails only without memory; nothing at load time could report it. */
  (void)pthread_atfork(NULL, NULL, on_fork_child);
}

static int fail_forked(const char *op)
{
  return fail(TE_E_FORKED, "FORKED", op, "mooncake_te was loaded before fork(), and a forked child has no Go runtime",
              "start workers with spawn or forkserver (vLLM: VLLM_WORKER_MULTIPROC_METHOD=spawn), or load the library "
              "after the fork");
}

#define GUARD(op)                    \
  do {                               \
    if (__builtin_expect(forked, 0)) \
      return fail_forked(op);        \
  } while (0)

/* ---- argument checks -------------------------------------------------------------------------------------------- */

#define REQUIRE(op, condition, detail, hint) \
  do {                                       \
    if (!(condition))                        \
      return invalid(op, detail, hint);      \
  } while (0)

#define REQUIRE_OUT(op, p) REQUIRE(op, (p) != NULL, #p " is NULL", "pass the address where the result goes")
#define REQUIRE_TEXT(op, p) REQUIRE(op, (p) != NULL, #p " is NULL", "pass a text that ends with NUL")
#define REQUIRE_BUFFER(op, buf, cap) \
  REQUIRE(op, (buf) != NULL || (cap) == 0, "buf is NULL but cap is not 0", "pass cap = 0 to ask for the size")
#define REQUIRE_ARRAY(op, p)                                                                     \
  REQUIRE(op, (p) != NULL && ((uintptr_t)(p) & 7) == 0, #p " is NULL or not aligned to 8 bytes", \
          "pass an array of 64-bit numbers")
#define QUOTE(x) #x
#define REQUIRE_COUNT(op, n, max) \
  REQUIRE(op, (n) >= 1 && (n) <= (max), "n is 0 or too large", "n may be 1 to " QUOTE(max))
#define REQUIRE_WAIT(op, ms) \
  REQUIRE(op, (ms) >= 0, "timeout_ms is negative", "wait in slices of 100 ms or less; 0 polls")

/* A struct of a newer te.h is taken as long as the fields that this library does not know are zero. */
static int check_struct(const char *op, const void *p, size_t least, size_t known)
{
  const unsigned char *bytes = p;
  uint32_t size;
  size_t i;

  if ((uintptr_t)p & 7)
    return invalid(op, "a struct is not aligned to 8 bytes", "let the compiler lay it out");
  memcpy(&size, p, sizeof(size));
  if (size < least || size > STRUCT_SIZE_MAX || size % 8 != 0)
    return invalid(op, "struct_size is none that this ABI ever had", "set it to sizeof(the struct)");
  for (i = known; i < size; i++)
    if (bytes[i] != 0)
      return fail(TE_E_UNSUPPORTED, "UNSUPPORTED", op, "a field is set that this library does not know",
                  "compare te_abi_version() with TE_ABI_MAJOR and TE_ABI_MINOR; install a newer library");
  return TE_OK;
}

/* Says for the exports what they leave to be said here: WAIT_TIMEOUT answers every slice of a wait, and its text is
 * always the same. */
static int waited(const char *op, int rc)
{
  if (rc == TE_E_WAIT_TIMEOUT)
    return fail(rc, "WAIT_TIMEOUT", op, "not final yet", "wait again; it goes on by itself");
  return rc;
}

/* ---- library ---------------------------------------------------------------------------------------------------- */

uint32_t te_abi_version(void) { return ((uint32_t)TE_ABI_MAJOR << 16) | TE_ABI_MINOR; }

int te_version(char *buf, size_t cap, size_t *needed)
{
  GUARD("read version");
  REQUIRE_BUFFER("read version", buf, cap);
  return teGoVersion(buf, cap, needed);
}

/* No guard: the child of a fork reads here why it was turned away. Leaves the last error as it is, also when it fails
 * itself. */
int te_last_error(char *buf, size_t cap, size_t *needed)
{
  const struct error_text *e = error_key_made ? pthread_getspecific(error_key) : NULL;
  const char *text = e && e->length ? e->text : "{}";
  size_t size = (e && e->length ? e->length : 2) + 1;

  if (needed)
    *needed = size;
  if (!buf || cap < size)
    return !buf && cap ? TE_E_INVALID_ARGUMENT : TE_E_BUFFER_TOO_SMALL;
  memcpy(buf, text, size);
  return TE_OK;
}

int te_runtime_set(const char *key, int64_t value)
{
  GUARD("set runtime option");
  REQUIRE_TEXT("set runtime option", key);
  return teGoRuntimeSet((char *)key, value);
}

/* ---- engine ----------------------------------------------------------------------------------------------------- */

int te_engine_create(const char *config_json, te_engine *out)
{
  GUARD("create engine");
  REQUIRE_TEXT("create engine", config_json);
  REQUIRE_OUT("create engine", out);
  return teGoEngineCreate((char *)config_json, out);
}

int te_engine_close(te_engine engine, int64_t drain_ms, te_task *out)
{
  GUARD("close engine");
  REQUIRE_OUT("close engine", out);
  REQUIRE("close engine", drain_ms >= -1, "drain_ms is below -1", "pass -1 for the engine's default");
  return teGoEngineClose(engine, drain_ms, out);
}

int te_engine_destroy(te_engine engine)
{
  GUARD("destroy engine");
  return teGoEngineDestroy(engine);
}

int te_engine_event_fd(te_engine engine, int *fd)
{
  GUARD("get event fd");
  REQUIRE_OUT("get event fd", fd);
  return teGoEngineEventFD(engine, fd);
}

int te_engine_query(te_engine engine, const char *what, char *buf, size_t cap, size_t *needed)
{
  GUARD("query engine");
  REQUIRE_TEXT("query engine", what);
  REQUIRE_BUFFER("query engine", buf, cap);
  return teGoEngineQuery(engine, (char *)what, buf, cap, needed);
}

/* ---- memory ----------------------------------------------------------------------------------------------------- */

int te_buffer_register(te_engine engine, const te_registration *registrations, size_t n, uint64_t *ids)
{
  static const char op[] = "register memory";
  uint32_t stride;
  size_t i;

  GUARD(op);
  REQUIRE_ARRAY(op, registrations);
  REQUIRE_ARRAY(op, ids);
  REQUIRE_COUNT(op, n, TE_MAX_BUFFERS);
  stride = registrations->struct_size; /* a newer caller's elements lie further apart */
  for (i = 0; i < n; i++) {
    const char *p = (const char *)registrations + i * stride;
    int rc = check_struct(op, p, REGISTRATION_SIZE_1_0, sizeof(te_registration));

    if (rc != TE_OK)
      return rc;
    REQUIRE(op, ((const te_registration *)p)->struct_size == stride, "struct_size differs within the array",
            "set it to sizeof(te_registration) in every element");
  }
  return teGoBufferRegister(engine, (void *)registrations, stride, n, ids);
}

int te_buffer_drain(te_engine engine, const uint64_t *ids, size_t n, int64_t within_ms, te_task *out)
{
  static const char op[] = "drain buffers";

  GUARD(op);
  REQUIRE_ARRAY(op, ids);
  REQUIRE_COUNT(op, n, TE_MAX_BUFFERS);
  REQUIRE_OUT(op, out);
  REQUIRE(op, within_ms >= -1, "within_ms is below -1", "pass -1 for the engine's default, 0 to wait for nobody");
  return teGoBufferDrain(engine, (uint64_t *)ids, n, within_ms, out);
}

int te_buffer_grant(te_engine engine, uint64_t buffer, const uint64_t *offsets, const uint64_t *lengths, size_t n,
                    uint32_t perm, const char *peer, uint64_t *id)
{
  static const char op[] = "grant";

  GUARD(op);
  REQUIRE_ARRAY(op, offsets);
  REQUIRE_ARRAY(op, lengths);
  REQUIRE_COUNT(op, n, TE_MAX_BUFFERS);
  REQUIRE_OUT(op, id);
  return teGoBufferGrant(engine, buffer, (uint64_t *)offsets, (uint64_t *)lengths, n, perm, (char *)peer, id);
}

int te_memory_allocate(te_engine engine, uint64_t length, uint64_t *address)
{
  GUARD("allocate memory");
  REQUIRE_OUT("allocate memory", address);
  REQUIRE("allocate memory", length > 0, "length is 0", "ask for at least one byte");
  return teGoMemoryAllocate(engine, length, address);
}

int te_memory_free(te_engine engine, uint64_t address)
{
  GUARD("free memory");
  return teGoMemoryFree(engine, address);
}

/* ---- the engine's own name in a metadata store ------------------------------------------------------------------ */

int te_engine_claim(te_engine engine, int32_t takeover, int64_t patience_ms, int64_t timeout_ms, te_task *out)
{
  GUARD("claim segment name");
  REQUIRE_OUT("claim segment name", out);
  return teGoEngineClaim(engine, takeover, patience_ms, timeout_ms, out);
}

int te_engine_sync(te_engine engine, int64_t timeout_ms, te_task *out)
{
  GUARD("sync names");
  REQUIRE_OUT("sync names", out);
  return teGoEngineSync(engine, timeout_ms, out);
}

/* ---- segments --------------------------------------------------------------------------------------------------- */

int te_segment_open(te_engine engine, const char *name, int64_t timeout_ms, te_task *out)
{
  GUARD("open segment");
  REQUIRE_TEXT("open segment", name);
  REQUIRE_OUT("open segment", out);
  return teGoSegmentOpen(engine, (char *)name, timeout_ms, out);
}

int te_segment_open_anew(te_engine engine, const char *name, int64_t timeout_ms, te_task *out)
{
  GUARD("open segment");
  REQUIRE_TEXT("open segment", name);
  REQUIRE_OUT("open segment", out);
  return teGoSegmentOpenAnew(engine, (char *)name, timeout_ms, out);
}

int te_segment_lookup(te_engine engine, const char *name, uint64_t *segment)
{
  GUARD("look segment up");
  REQUIRE_TEXT("look segment up", name);
  REQUIRE_OUT("look segment up", segment);
  return teGoSegmentLookup(engine, (char *)name, segment);
}

int te_segment_describe(te_engine engine, const char *name, int64_t timeout_ms, te_task *out)
{
  GUARD("describe segment");
  REQUIRE_TEXT("describe segment", name);
  REQUIRE_OUT("describe segment", out);
  return teGoSegmentDescribe(engine, (char *)name, timeout_ms, out);
}

int te_segment_refresh(te_engine engine, uint64_t segment, int64_t timeout_ms, te_task *out)
{
  GUARD("refresh segment");
  REQUIRE_OUT("refresh segment", out);
  return teGoSegmentRefresh(engine, segment, timeout_ms, out);
}

int te_segment_query(te_engine engine, uint64_t segment, char *buf, size_t cap, size_t *needed)
{
  GUARD("query segment");
  REQUIRE_BUFFER("query segment", buf, cap);
  return teGoSegmentQuery(engine, segment, buf, cap, needed);
}

int te_segment_close(te_engine engine, uint64_t segment)
{
  GUARD("close segment");
  return teGoSegmentClose(engine, segment);
}

int te_segment_ping(te_engine engine, uint64_t segment, int64_t timeout_ms, te_task *out)
{
  GUARD("ping");
  REQUIRE_OUT("ping", out);
  return teGoSegmentPing(engine, segment, timeout_ms, out);
}

int te_segment_notify(te_engine engine, uint64_t segment, const void *payload, size_t length, const char *tag,
                      te_batch after, int64_t timeout_ms, te_task *out)
{
  static const char op[] = "notify";

  GUARD(op);
  REQUIRE(op, payload != NULL || length == 0, "payload is NULL but length is not 0", "pass the bytes to send");
  REQUIRE(op, length <= TE_MAX_PAYLOAD, "the payload is too long", "send large data by a WRITE and notify after it");
  REQUIRE_OUT(op, out);
  return teGoSegmentNotify(engine, segment, (void *)payload, length, (char *)tag, after, timeout_ms, out);
}

/* ---- transfers -------------------------------------------------------------------------------------------------- */

int te_batch_submit(te_engine engine, const te_batch_request *request, te_batch *out,
                    const volatile te_batch_status **status)
{
  static const char op[] = "submit";
  uint64_t address = 0;
  uint64_t n;
  int rc;

  GUARD(op);
  REQUIRE(op, request != NULL, "request is NULL", "pass a te_batch_request");
  REQUIRE_OUT(op, out);
  REQUIRE_OUT(op, status);
  rc = check_struct(op, request, BATCH_REQUEST_SIZE_1_0, sizeof(*request));
  if (rc != TE_OK)
    return rc;
  n = request->n;
  REQUIRE_COUNT(op, n, TE_MAX_REQUESTS);
  REQUIRE_ARRAY(op, request->local_ids);
  REQUIRE_ARRAY(op, request->local_offsets);
  REQUIRE_ARRAY(op, request->remote_ids);
  REQUIRE_ARRAY(op, request->remote_offsets);
  REQUIRE_ARRAY(op, request->lengths);
  REQUIRE(op, request->local_id_count == 1 || request->local_id_count == n, "local_id_count is neither 1 nor n",
          "give one local buffer ID for all or one for each request");
  REQUIRE(op, request->remote_id_count == 1 || request->remote_id_count == n, "remote_id_count is neither 1 nor n",
          "give one remote buffer ID for all or one for each request");
  REQUIRE(op, request->length_count == 1 || request->length_count == n, "length_count is neither 1 nor n",
          "give one length for all or one for each request");
  rc = teGoBatchSubmit(engine, (te_batch_request *)request, out, &address);
  if (rc == TE_OK)
    *status = (const volatile te_batch_status *)(uintptr_t)address;
  return rc;
}

int te_batch_wait(te_engine engine, te_batch batch, int32_t timeout_ms)
{
  GUARD("wait for batch");
  REQUIRE_WAIT("wait for batch", timeout_ms);
  return waited("wait for batch", teGoBatchWait(engine, batch, timeout_ms));
}

int te_batch_arm(te_engine engine, te_batch batch)
{
  GUARD("arm batch");
  return teGoBatchArm(engine, batch);
}

int te_batch_cancel(te_engine engine, te_batch batch)
{
  GUARD("cancel batch");
  return teGoBatchCancel(engine, batch);
}

int te_batch_outcomes(te_engine engine, te_batch batch, uint64_t first, uint64_t n, uint8_t *outcomes, int32_t *causes)
{
  static const char op[] = "read outcomes";

  GUARD(op);
  REQUIRE_COUNT(op, n, TE_MAX_REQUESTS);
  REQUIRE(op, ((uintptr_t)causes & 3) == 0, "causes is not aligned to 4 bytes", "pass an array of 32-bit numbers");
  return teGoBatchOutcomes(engine, batch, first, n, outcomes, causes);
}

int te_batch_explain(te_engine engine, te_batch batch, char *buf, size_t cap, size_t *needed)
{
  GUARD("explain batch");
  REQUIRE_BUFFER("explain batch", buf, cap);
  return teGoBatchExplain(engine, batch, buf, cap, needed);
}

int te_batch_free(te_engine engine, te_batch batch)
{
  GUARD("free batch");
  return teGoBatchFree(engine, batch);
}

/* ---- tasks ------------------------------------------------------------------------------------------------------ */

int te_task_wait(te_engine engine, te_task task, int32_t timeout_ms)
{
  GUARD("wait for task");
  REQUIRE_WAIT("wait for task", timeout_ms);
  return waited("wait for task", teGoTaskWait(engine, task, timeout_ms));
}

int te_task_arm(te_engine engine, te_task task)
{
  GUARD("arm task");
  return teGoTaskArm(engine, task);
}

int te_task_result(te_engine engine, te_task task, char *buf, size_t cap, size_t *needed)
{
  GUARD("read task result");
  REQUIRE_BUFFER("read task result", buf, cap);
  return waited("read task result", teGoTaskResult(engine, task, buf, cap, needed));
}

int te_task_free(te_engine engine, te_task task)
{
  GUARD("free task");
  return teGoTaskFree(engine, task);
}

/* ---- metadata server -------------------------------------------------------------------------------------------- */

int te_metadata_server_start(const char *options_json, te_metadata_server *out)
{
  GUARD("start metadata server");
  REQUIRE_TEXT("start metadata server", options_json);
  REQUIRE_OUT("start metadata server", out);
  return teGoMetadataServerStart((char *)options_json, out);
}

int te_metadata_server_address(te_metadata_server server, char *buf, size_t cap, size_t *needed)
{
  GUARD("get metadata server address");
  REQUIRE_BUFFER("get metadata server address", buf, cap);
  return teGoMetadataServerAddress(server, buf, cap, needed);
}

int te_metadata_server_stop(te_metadata_server server)
{
  GUARD("stop metadata server");
  return teGoMetadataServerStop(server);
}
