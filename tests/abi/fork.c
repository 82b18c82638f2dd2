#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

#define FORKED(call)                                          \
  do {                                                        \
    if ((call) != TE_E_FORKED)                                \
      check_failed(__FILE__, __LINE__, "FORKED from " #call); \
  } while (0)

static int open_sockets(void)
{
  DIR *dir = opendir("/proc/self/fd");
  struct dirent *entry;
  char path[300], target[64];
  int n = 0;

  CHECK(dir != NULL);
  while ((entry = readdir(dir))) {
    ssize_t length;

    snprintf(path, sizeof(path), "/proc/self/fd/%s", entry->d_name);
    length = readlink(path, target, sizeof(target) - 1);
    if (length > 0) {
      target[length] = 0;
      n += strncmp(target, "socket:", 7) == 0;
    }
  }
  closedir(dir);
  return n;
}

/* Every function but te_abi_version and te_last_error, with arguments that would be good in the parent. */
static void every_function(struct pair *p, te_batch batch, te_task task, struct one *one)
{
  te_registration reg = {.struct_size = sizeof(reg), .address = 4096, .length = 4096};
  te_batch_request req = request_of(TE_READ, p->segment, one);
  const volatile te_batch_status *status;
  te_engine e = p->reader, made;
  uint64_t id, word = 1;
  te_task t;
  char text[256];
  size_t needed;
  uint8_t outcome;
  int fd;

  FORKED(te_version(text, sizeof(text), &needed));
  FORKED(te_runtime_set("gogc", 100));
  FORKED(te_engine_create("{}", &made));
  FORKED(te_engine_close(e, -1, &t));
  FORKED(te_engine_event_fd(e, &fd));
  FORKED(te_engine_query(e, "info", text, sizeof(text), &needed));
  FORKED(te_buffer_register(e, &reg, 1, &id));
  FORKED(te_buffer_drain(e, &word, 1, -1, &t));
  FORKED(te_buffer_grant(e, 1, &word, &word, 1, TE_PERM_READ, NULL, &id));
  FORKED(te_memory_allocate(e, 4096, &id));
  FORKED(te_memory_free(e, 4096));
  FORKED(te_segment_open(e, p->address, 0, &t));
  FORKED(te_segment_open_anew(e, p->address, 0, &t));
  FORKED(te_segment_lookup(e, p->address, &t));
  FORKED(te_segment_describe(e, p->address, 0, &t));
  FORKED(te_engine_claim(e, 0, 0, 0, &t));
  FORKED(te_engine_sync(e, 0, &t));
  FORKED(te_segment_refresh(e, p->segment, 0, &t));
  FORKED(te_segment_query(e, p->segment, text, sizeof(text), &needed));
  FORKED(te_segment_close(e, p->segment));
  FORKED(te_segment_ping(e, p->segment, 0, &t));
  FORKED(te_segment_notify(e, p->segment, "x", 1, NULL, 0, 0, &t));
  FORKED(te_batch_submit(e, &req, &t, &status));
  FORKED(te_batch_wait(e, batch, 1000));
  FORKED(te_batch_arm(e, batch));
  FORKED(te_batch_cancel(e, batch));
  FORKED(te_batch_outcomes(e, batch, 0, 1, &outcome, NULL));
  FORKED(te_batch_explain(e, batch, text, sizeof(text), &needed));
  FORKED(te_batch_free(e, batch));
  FORKED(te_task_wait(e, task, 1000));
  FORKED(te_task_arm(e, task));
  FORKED(te_task_result(e, task, text, sizeof(text), &needed));
  FORKED(te_task_free(e, task));
  FORKED(te_engine_destroy(e));
  /* Also with arguments that are wrong: the fork is what counts. */
  FORKED(te_engine_create(NULL, NULL));
}

void scenario_fork(void)
{
  static char local[4096], remote[4096];
  struct one one = {0, 0, 0, 0, sizeof(local)};
  const volatile te_batch_status *status = NULL;
  te_batch_request r;
  te_batch batch = 0;
  te_task task = 0;
  int event_fd = -1, before, state, own, rounds;
  struct pair p;
  pid_t child;

  own = open_sockets(); /* the harness may have handed us some */
  /* One connection: after the batch nothing opens or closes sockets in the background. */
  pair_create(&p, ", \"connections_per_peer\": 1");
  one.local_id = register_memory(p.reader, local, sizeof(local), TE_REMOTE_NONE);
  one.remote_id = register_memory(p.owner, remote, sizeof(remote), TE_REMOTE_ALL);
  r = request_of(TE_READ, p.segment, &one);
  CHECK_OK(te_batch_submit(p.reader, &r, &batch, &status));
  CHECK_OK(wait_batch(p.reader, batch));
  CHECK_OK(te_segment_ping(p.reader, p.segment, 30000, &task));
  CHECK_OK(te_engine_event_fd(p.reader, &event_fd));
  before = open_sockets();
  CHECK(before > own);

  child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    alarm(30); /* a call that reached Go would hang for ever */
    CHECK(te_abi_version() == ((TE_ABI_MAJOR << 16) | TE_ABI_MINOR));
    every_function(&p, batch, task, &one);
    CHECK(last_error_says("\"name\":\"FORKED\"") && last_error_says("spawn"));
    CHECK(fcntl(event_fd, F_GETFD) == -1 && errno == EBADF);
    CHECK(open_sockets() == own);
    _exit(42);
  }
  CHECK(waitpid(child, &state, 0) == child);
  CHECK(WIFEXITED(state) && WEXITSTATUS(state) == 42);

  /* The parent's connections are as they were. */
  CHECK(open_sockets() == before);
  CHECK_OK(wait_task(p.reader, task));
  CHECK_OK(te_batch_free(p.reader, batch));
  memset(remote, 'p', sizeof(remote));
  CHECK_OK(te_batch_submit(p.reader, &r, &batch, &status));
  CHECK_OK(wait_batch(p.reader, batch));
  CHECK(status->outcome == TE_COMPLETED && local[sizeof(local) - 1] == 'p');
  pair_destroy(&p);
  for (rounds = 0; open_sockets() != own; rounds++) { /* gRPC closes in the background */
    CHECK(rounds < 1000);
    poll(NULL, 0, 10);
  }
}
