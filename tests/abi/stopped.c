#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

#define LENGTH (32 << 20) /* more than the sockets between the two hold */

/* The owner's process: says where it is, and lives until its standard input ends. */
void serve(void)
{
  char address[512], byte;
  te_engine engine = create_engine("owner", "");
  uint64_t memory = 0;

  engine_info(engine, "addresses", address, sizeof(address));
  CHECK_OK(te_memory_allocate(engine, LENGTH, &memory));
  printf("%s %llu\n", address,
         (unsigned long long)register_memory(engine, (void *)(uintptr_t)memory, LENGTH, TE_REMOTE_ALL));
  fflush(stdout);
  CHECK(read(0, &byte, 1) == 0);
  CHECK_OK(te_engine_destroy(engine));
}

/* fork and exec is fine with the library loaded: the guard goes with the old program. */
static pid_t start_owner(int *input, FILE **output)
{
  int in[2], out[2];
  pid_t pid;

  CHECK(pipe(in) == 0 && pipe(out) == 0);
  pid = fork();
  CHECK(pid >= 0);
  if (pid == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* a check that fails must leave no stopped process behind */
    dup2(in[0], 0);
    dup2(out[1], 1);
    close(in[0]), close(in[1]), close(out[0]), close(out[1]);
    execl("/proc/self/exe", "abi", "serve", (char *)NULL);
    _exit(127);
  }
  close(in[0]), close(out[1]);
  *input = in[1];
  *output = fdopen(out[0], "r");
  CHECK(*output != NULL);
  return pid;
}

/* A batch that cannot end: it is not freed under way, a wait does not end it, and a cancel does. */
void scenario_stopped(void)
{
  struct one one = {0, 0, 0, 0, LENGTH};
  const volatile te_batch_status *status = NULL;
  te_batch_request r;
  te_batch batch = 0;
  te_engine engine = create_engine("reader", "");
  unsigned long long id = 0;
  char address[64], text[65536];
  uint8_t outcome = 99;
  int input = -1, state;
  FILE *output;
  pid_t owner = start_owner(&input, &output);
  char *local = calloc(1, LENGTH);
  uint64_t segment;

  CHECK(local != NULL);
  CHECK(fscanf(output, "%63s %llu", address, &id) == 2);
  segment = open_segment(engine, address);
  one.local_id = register_memory(engine, local, LENGTH, TE_REMOTE_NONE);
  one.remote_id = id;
  r = request_of(TE_WRITE, segment, &one);
  CHECK_OK(te_batch_submit(engine, &r, &batch, &status)); /* while the owner runs: paths are up afterwards */
  CHECK_OK(wait_batch(engine, batch));
  CHECK(status->outcome == TE_COMPLETED);
  CHECK_OK(te_batch_free(engine, batch));

  CHECK(kill(owner, SIGSTOP) == 0);
  CHECK(waitpid(owner, &state, WUNTRACED) == owner && WIFSTOPPED(state));
  CHECK_OK(te_batch_submit(engine, &r, &batch, &status));
  CHECK_CODE(TE_E_WAIT_TIMEOUT, te_batch_wait(engine, batch, 0));
  CHECK_CODE(TE_E_WAIT_TIMEOUT, te_batch_wait(engine, batch, 30));
  CHECK(last_error_says("not final yet"));
  CHECK(status->state == 0 && status->outcome == TE_PENDING);
  CHECK_CODE(TE_E_INVALID_ARGUMENT, te_batch_free(engine, batch));
  CHECK(last_error_says("not final"));
  CHECK_OK(te_batch_outcomes(engine, batch, 0, 1, &outcome, NULL));
  CHECK(outcome == TE_PENDING);
  CHECK_OK(te_batch_explain(engine, batch, text, sizeof(text), NULL));
  CHECK_OK(te_batch_cancel(engine, batch));
  CHECK_OK(te_batch_cancel(engine, batch));
  CHECK_OK(wait_batch(engine, batch));
  CHECK(status->state == 1 && status->cause == TE_E_CANCELED);
  CHECK(status->outcome == TE_UNKNOWN || status->outcome == TE_NOT_APPLIED);
  CHECK(status->bytes_done < status->bytes_total);
  CHECK_OK(te_batch_free(engine, batch));

  CHECK(kill(owner, SIGCONT) == 0);
  close(input);
  CHECK_OK(te_engine_destroy(engine));
  CHECK(waitpid(owner, &state, 0) == owner);
  CHECK(WIFEXITED(state) && WEXITSTATUS(state) == 0);
  fclose(output);
  free(local);
}
