/* te.h: the C ABI of mooncake_te.
 *
 * Conventions
 *   - Every function returns TE_OK (0) or a negative TE_E_* code, unless it says otherwise. Details of the last failure
 *     on this thread: te_last_error().
 *   - Nothing the library returns has to be freed by the caller; text is copied into the caller's buffer.
 *   - Handles are 64-bit values (index + generation). 0 is never a handle. A closed or foreign one gives TE_E_CLOSED or
 *     TE_E_INVALID_ARGUMENT, never a crash.
 *   - No call blocks but te_task_wait and te_batch_wait, and these at most `timeout_ms` (0 only looks; a negative one
 * is refused), te_engine_destroy and te_metadata_server_stop. Wait in slices of 100 ms or less so that the host's
 * signal handlers run. No callbacks into the caller, ever.
 *   - After fork() every function returns TE_E_FORKED in the child at once.
 *   - Structs start with struct_size: set it to sizeof(the struct). Fields may be appended in later minor versions; an
 *     older library takes the larger struct as long as the fields that it does not know are zero.
 *   - Text that is passed in is UTF-8 that ends with NUL: a configuration of at most 1 MiB, names and tags of at most
 *     512 bytes. Nothing that is passed in is kept after the call but the addresses of registered memory.
 *   - All functions may be called from any thread.
 */
#ifndef MOONCAKE_TE_H
#define MOONCAKE_TE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TE_ABI_MAJOR 1
#define TE_ABI_MINOR 0

/* Error codes: the table of gocore/errcode. */
enum {
  TE_OK = 0,
  TE_E_INTERNAL = -1,
  TE_E_FORKED = -2,
  TE_E_BUFFER_TOO_SMALL = -3,
  TE_E_INVALID_ARGUMENT = -4,
  TE_E_CLOSED = -5,
  TE_E_UNSUPPORTED = -6,
  TE_E_RESOURCE_EXHAUSTED = -7,
  TE_E_WAIT_TIMEOUT = -8,
  TE_E_STALE_INSTANCE = -9,
  TE_E_STALE_BUFFER = -10,
  TE_E_DRAINING = -11,
  TE_E_REVOKED = -12,
  TE_E_PEER_UNREACHABLE = -13,
  TE_E_PEER_DEAD = -14,
  TE_E_METADATA_UNAVAILABLE = -15,
  TE_E_METADATA_REFUSED = -16,
  TE_E_METADATA_INVALID = -17,
  TE_E_SEGMENT_NOT_FOUND = -18,
  TE_E_SEGMENT_GONE = -19,
  TE_E_SEGMENT_OWNED = -20,
  TE_E_FENCED = -21,
  TE_E_QUARANTINED = -22,
  TE_E_OUT_OF_BOUNDS = -23,
  TE_E_PERMISSION = -24,
  TE_E_DEADLINE = -25,
  TE_E_STALLED = -26,
  TE_E_CANCELED = -27,
  TE_E_CHECKSUM = -28,
  TE_E_MEMORY_FAULT = -29,
  TE_E_RAIL_DOWN = -30,
  TE_E_VERSION_SKEW = -31
};

typedef uint64_t te_engine;
typedef uint64_t te_batch;
typedef uint64_t te_task; /* something under way that is not a transfer: open, drain, ping, ... */
typedef uint64_t te_metadata_server;

/* Operations and classes. */
enum { TE_READ = 1, TE_WRITE = 2 };
enum { TE_CLASS_LATENCY = 0, TE_CLASS_BULK = 1 };
/* Permissions and what peers may do with a registration. */
enum { TE_PERM_READ = 1, TE_PERM_WRITE = 2 };
enum { TE_REMOTE_NONE = 0, TE_REMOTE_ALL = 1, TE_REMOTE_GRANTS = 2 };
/* Outcomes. */
enum { TE_PENDING = 0, TE_COMPLETED = 1, TE_NOT_APPLIED = 2, TE_UNKNOWN = 3, TE_PARTIAL = 4 };
/* Batch flags. */
enum { TE_BATCH_CRC_OFF = 1, TE_BATCH_CRC_ON = 2 }; /* neither: the engine's setting */

/* ---- library ---------------------------------------------------------------------------------------------------- */

/* (TE_ABI_MAJOR << 16) | TE_ABI_MINOR of the library. Never fails. */
uint32_t te_abi_version(void);

/* {"library": "...", "abi": "1.0", "protocol_min": n, "protocol_max": n, "go": "...", "tcp_protocol": n} as JSON.
 * For this and every other text output: `cap` is the size of buf; *needed (may be NULL) gets the length including the
 * final NUL; too small: TE_E_BUFFER_TOO_SMALL and nothing is written. */
int te_version(char *buf, size_t cap, size_t *needed);

/* The last failure on this thread as JSON: {"code", "name", "op", "segment", "peer", "device", "path", "detail",
 * "hint", "message"}. An empty object if none. Does not change the last error. */
int te_last_error(char *buf, size_t cap, size_t *needed);

/* Sets "gomaxprocs", "gogc" or "memory_limit" of the Go runtime inside the library (it does not see changes that the
 * host program makes to its environment). */
int te_runtime_set(const char *key, int64_t value);

/* ---- engine ----------------------------------------------------------------------------------------------------- */

/* Creates and starts an engine from one JSON document (docs/config.md). All problems of the document are reported at
 * once. Unknown keys are an error. */
int te_engine_create(const char *config_json, te_engine *out);

/* Starts closing: drains every registration (at most drain_ms; -1: the engine's default), ends what is under way, says
 * goodbye to peers. The task's result is the drain report. New calls on the engine give TE_E_CLOSED from here on. */
int te_engine_close(te_engine engine, int64_t drain_ms, te_task *out);

/* Frees the handle, and with it all batches (their status words too), tasks and allocated memory of the engine; closes
 * first, without waiting for peers, if that was not done. Waits for calls under way in other threads, waits excepted,
 * and for local quiet, about 2 s at most. Idempotent per handle; every other use of it or of what belonged to it gives
 * TE_E_CLOSED. */
int te_engine_destroy(te_engine engine);

/* An eventfd that becomes readable when a batch or task that was armed becomes final. Owned by the engine. */
int te_engine_event_fd(te_engine engine, int *fd);

/* JSON about the engine. what: "info" (instance, name, addresses, data_addresses), "status" (everything), "metrics"
 * (Prometheus text format), "notifications" (takes and returns those received: [{"peer","tag","payload_b64"}]; a call
 * that fails, also for want of room, takes none). */
int te_engine_query(te_engine engine, const char *what, char *buf, size_t cap, size_t *needed);

/* ---- memory ----------------------------------------------------------------------------------------------------- */

typedef struct te_registration {
  uint32_t struct_size;
  uint32_t remote;      /* TE_REMOTE_* */
  uint32_t perm;        /* TE_PERM_* bits that peers may get; ignored for TE_REMOTE_NONE */
  uint32_t writable;    /* 0: local memory that must not be the target of a READ (read-only) */
  uint64_t address;     /* of this process */
  uint64_t length;      /* > 0 */
  const char *label;    /* may be NULL; at most 256 bytes */
  const char *location; /* "cpu:0", "cuda:1", NULL = "*" */
} te_registration;

/* Registers n pieces of memory as one metadata change; ids[n] receives their buffer IDs. All or nothing. */
int te_buffer_register(te_engine engine, const te_registration *registrations, size_t n, uint64_t *ids);

/* Starts the acknowledged drain of n buffers and grants together (they may be mixed); within_ms: D, -1 = the engine's
 * default, 0 = do not wait for acknowledgements. The memory may be freed once the task ended with TE_OK; on
 * TE_E_QUARANTINED it must stay mapped. Task result: {"ids", "version", "acknowledged", "fenced", "timed_out",
 * "waited_ms"}. */
int te_buffer_drain(te_engine engine, const uint64_t *ids, size_t n, int64_t within_ms, te_task *out);

/* Grants n ranges (offsets from the start of the registration) to one peer (32 hex digits) or to nobody in particular
 * (NULL). *id is the grant's own never-reused ID. */
int te_buffer_grant(te_engine engine, uint64_t buffer, const uint64_t *offsets, const uint64_t *lengths, size_t n,
                    uint32_t perm, const char *peer, uint64_t *id);

/* Engine-owned zeroed memory, page aligned; freed by te_memory_free or with the engine. */
int te_memory_allocate(te_engine engine, uint64_t length, uint64_t *address);
int te_memory_free(te_engine engine, uint64_t address);

/* ---- the engine's own name in a metadata store ------------------------------------------------------------------ */

/* Takes the name of the configuration, again too after it was lost (TE_E_FENCED). Another living owner is replaced if
 * takeover is not 0, else waited for at most patience_ms, then the task ends TE_E_SEGMENT_OWNED. timeout_ms <= 0: the
 * engine's default. Task result: {"name", "state", "owner_epoch", "store_id", ...}. */
int te_engine_claim(te_engine engine, int32_t takeover, int64_t patience_ms, int64_t timeout_ms, te_task *out);
/* Looks all open segments up in the store anew. Task result: {"names", "gone": [name], "failed": {name: reason}}. */
int te_engine_sync(te_engine engine, int64_t timeout_ms, te_task *out);

/* ---- segments --------------------------------------------------------------------------------------------------- */

/* Finds the engine that offers a segment: with a metadata store by its name there, peer to peer `name` is its
 * "host:port". Task result: {"segment": "id", "instance", "name", ...}. timeout_ms <= 0: the engine's default. */
int te_segment_open(te_engine engine, const char *name, int64_t timeout_ms, te_task *out);
/* The same, asking the metadata store even if the name is known here. */
int te_segment_open_anew(te_engine engine, const char *name, int64_t timeout_ms, te_task *out);
/* The handle of a segment that is open here already and known to be fresh, at once; it has to be closed once more.
 * TE_E_SEGMENT_NOT_FOUND: it is not; open it. Only with a metadata store. */
int te_segment_lookup(te_engine engine, const char *name, uint64_t *segment);
/* What the metadata store knows of a name and its owner says of itself; opens nothing. Task result: {"name", "from":
 * "owner"|"store"|"stock"|"", "store", "owner", "descriptor", "unreachable", ...}. */
int te_segment_describe(te_engine engine, const char *name, int64_t timeout_ms, te_task *out);
/* Fetches the segment's descriptor anew, following the name to a new instance if it was replaced. Same result. */
int te_segment_refresh(te_engine engine, uint64_t segment, int64_t timeout_ms, te_task *out);
/* {"segment","name","instance","version","buffers":[{"id","length","state","perm","label","location"}], ...} from the
 * cached descriptor. */
int te_segment_query(te_engine engine, uint64_t segment, char *buf, size_t cap, size_t *needed);
int te_segment_close(te_engine engine, uint64_t segment);
/* Round trip on the session. Task result: {"rtt_us"}. */
int te_segment_ping(te_engine engine, uint64_t segment, int64_t timeout_ms, te_task *out);
/* Sends bytes to the peer; acknowledged; with `after` != 0 only once that batch has COMPLETED (else the task fails with
 * the batch's cause). */
int te_segment_notify(te_engine engine, uint64_t segment, const void *payload, size_t length, const char *tag,
                      te_batch after, int64_t timeout_ms, te_task *out);

/* ---- transfers -------------------------------------------------------------------------------------------------- */

typedef struct te_batch_request {
  uint32_t struct_size;
  uint32_t op;     /* TE_READ, TE_WRITE */
  uint32_t class_; /* TE_CLASS_* */
  uint32_t flags;  /* TE_BATCH_* */
  uint64_t segment;
  uint64_t n; /* number of transfer requests, 1 .. 1,048,576 */
  /* Structure of arrays. Buffer ID arrays hold n entries, or 1 entry for all when the count says 1. */
  const uint64_t *local_ids;
  const uint64_t *local_offsets;
  const uint64_t *remote_ids;
  const uint64_t *remote_offsets;
  const uint64_t *lengths;       /* n entries, or 1 for all */
  uint32_t local_id_count;       /* 1 or n */
  uint32_t remote_id_count;      /* 1 or n */
  uint32_t length_count;         /* 1 or n */
  uint32_t trace;                /* goes along on the wire; 0 = none */
  int64_t deadline_ms;           /* from now; 0 = none */
  int64_t stall_ms;              /* without progress; 0 = the engine's default (30 s) */
  const char *expected_instance; /* 32 hex digits the remote IDs belong to; NULL = whoever the segment is now */
} te_batch_request;

/* What can be read without a call while the batch is not freed. The library stores `state` last, with release order. */
typedef struct te_batch_status {
  uint32_t state;        /* 0 until final, then 1 */
  uint32_t outcome;      /* TE_PENDING .. TE_PARTIAL */
  int32_t cause;         /* TE_OK or the code of the first failure */
  uint32_t remote_quiet; /* 1: nothing of this batch can land in the peer's memory any more */
  uint64_t bytes_done;
  uint64_t bytes_total;
} te_batch_status;

/* Checks everything, then queues the batch and returns at once. All or nothing. *status stays valid until
 * te_batch_free or te_engine_destroy. Local memory must stay valid until the batch is final. */
int te_batch_submit(te_engine engine, const te_batch_request *request, te_batch *out,
                    const volatile te_batch_status **status);
/* TE_OK when final; TE_E_WAIT_TIMEOUT otherwise (the batch lives on). */
int te_batch_wait(te_engine engine, te_batch batch, int32_t timeout_ms);
/* Makes the engine's eventfd fire when the batch gets final (at once if it is). */
int te_batch_arm(te_engine engine, te_batch batch);
/* Asks to give up; the batch still ends by itself, soon. */
int te_batch_cancel(te_engine engine, te_batch batch);
/* Outcomes and causes of requests [first, first+n) into the two arrays (either may be NULL). */
int te_batch_outcomes(te_engine engine, te_batch batch, uint64_t first, uint64_t n, uint8_t *outcomes, int32_t *causes);
/* {"path", "why", "posts", "retries", "error": {...}, ...}: which path it took and why not a faster one. */
int te_batch_explain(te_engine engine, te_batch batch, char *buf, size_t cap, size_t *needed);
/* Frees a final batch; TE_E_INVALID_ARGUMENT while it is not final. */
int te_batch_free(te_engine engine, te_batch batch);

/* ---- tasks ------------------------------------------------------------------------------------------------------ */

/* TE_E_WAIT_TIMEOUT while under way; else the task's own code (details by te_last_error). */
int te_task_wait(te_engine engine, te_task task, int32_t timeout_ms);
int te_task_arm(te_engine engine, te_task task);
/* JSON result of a task that ended with TE_OK. */
int te_task_result(te_engine engine, te_task task, char *buf, size_t cap, size_t *needed);
/* A task that is still under way goes on, unobserved. */
int te_task_free(te_engine engine, te_task task);

/* ---- metadata server -------------------------------------------------------------------------------------------- */

/* Starts an HTTP metadata server in this process, independent of any engine, from one JSON document
 * (docs/metadata-server.md; "{}" for the defaults). Unknown keys are an error, and so is a port in use. */
int te_metadata_server_start(const char *options_json, te_metadata_server *out);
/* {"url", "address"}: what to give to engines, and host:port. */
int te_metadata_server_address(te_metadata_server server, char *buf, size_t cap, size_t *needed);
/* Ends the server and frees the handle: watches end, requests under way get about a second, the port is free. What the
 * server held is gone. Idempotent per handle. */
int te_metadata_server_stop(te_metadata_server server);

#ifdef __cplusplus
}
#endif
#endif
