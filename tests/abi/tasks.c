#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "check.h"

/* Binds a port that takes connections (the kernel does) and never says a word. */
static int silent_listener(char *name, size_t cap)
{
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t length = sizeof(address);
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

  CHECK(fd >= 0);
  CHECK(bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0);
  CHECK(listen(fd, 64) == 0);
  CHECK(getsockname(fd, (struct sockaddr *)&address, &length) == 0);
  snprintf(name, cap, "127.0.0.1:%d", ntohs(address.sin_port));
  return fd;
}

/* A task that is under way, one that fails, and one that nobody waits for. */
void scenario_tasks(void)
{
  struct pollfd sleeper = {.events = POLLIN};
  char name[64], text[4096];
  uint64_t count;
  te_engine engine = create_engine("tasks", "");
  te_task slow = 0, failing = 0;
  int fd = silent_listener(name, sizeof(name)), rc;

  CHECK_OK(te_engine_event_fd(engine, &sleeper.fd));
  CHECK_OK(te_segment_open(engine, name, 600000, &slow));
  CHECK_CODE(TE_E_WAIT_TIMEOUT, te_task_wait(engine, slow, 0));
  CHECK(last_error_says("not final yet"));
  CHECK_CODE(TE_E_WAIT_TIMEOUT, te_task_wait(engine, slow, 20));
  CHECK_CODE(TE_E_WAIT_TIMEOUT, te_task_result(engine, slow, text, sizeof(text), NULL));

  CHECK_OK(te_segment_open(engine, name, 300, &failing));
  CHECK_OK(te_task_arm(engine, failing));
  do {
    CHECK(poll(&sleeper, 1, 60000) == 1);
    CHECK(read(sleeper.fd, &count, sizeof(count)) == sizeof(count));
    rc = te_task_wait(engine, failing, 0);
  } while (rc == TE_E_WAIT_TIMEOUT);
  CHECK(rc < 0);
  CHECK_CODE(rc, te_task_wait(engine, failing, 100)); /* as often as one likes */
  CHECK_CODE(rc, te_task_result(engine, failing, text, sizeof(text), NULL));
  CHECK_OK(te_task_arm(engine, failing)); /* ended already: fires at once */
  CHECK(poll(&sleeper, 1, 60000) == 1);
  CHECK_OK(te_task_free(engine, failing));
  CHECK_CODE(TE_E_CLOSED, te_task_arm(engine, failing));

  CHECK_OK(te_task_free(engine, slow)); /* goes on, unobserved, and ends with the engine */
  CHECK_OK(te_engine_destroy(engine));
  close(fd);
}
