#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

/* Whether anybody listens on the server's port. */
static int listens(const char *address)
{
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), rc;

  CHECK(fd >= 0);
  to.sin_port = htons((uint16_t)atoi(strrchr(address, ':') + 1));
  rc = connect(fd, (struct sockaddr *)&to, sizeof(to));
  CHECK(close(fd) == 0);
  return rc == 0;
}

/* A metadata server's life: start, where it is, a port in use, stop, and what handles of it say afterwards. */
void scenario_metaserver(void)
{
  te_metadata_server server = 0, other = 0;
  char text[512], address[128], url[256], options[256];
  size_t needed = 0;
  int status = 0;
  pid_t child;

  CHECK_CODE(TE_E_INVALID_ARGUMENT, te_metadata_server_start(NULL, &server));
  CHECK_CODE(TE_E_INVALID_ARGUMENT, te_metadata_server_start("{}", NULL));
  CHECK_CODE(TE_E_INVALID_ARGUMENT, te_metadata_server_start("", &server));
  CHECK_CODE(TE_E_INVALID_ARGUMENT, te_metadata_server_start("{\"no_such\": 1}", &server));
  CHECK(last_error_says("no_such"));
  CHECK(server == 0);
  CHECK_CODE(TE_E_INVALID_ARGUMENT, te_metadata_server_address(0, text, sizeof(text), NULL));
  CHECK_CODE(TE_E_INVALID_ARGUMENT, te_metadata_server_stop(0));

  CHECK_OK(te_metadata_server_start("{\"listen\": \"127.0.0.1:0\"}", &server));
  CHECK(server != 0);
  CHECK_CODE(TE_E_BUFFER_TOO_SMALL, te_metadata_server_address(server, text, 3, &needed));
  CHECK(needed > 3 && needed < sizeof(text));
  CHECK_OK(te_metadata_server_address(server, text, needed, NULL));
  json_string(text, "url", url, sizeof(url));
  json_string(text, "address", address, sizeof(address));
  CHECK(strncmp(url, "http://127.0.0.1:", 17) == 0 && strstr(url, "/metadata"));
  CHECK(listens(address));
  snprintf(options, sizeof(options), "{\"listen\": \"%s\"}", address);
  CHECK_CODE(TE_E_INVALID_ARGUMENT, te_metadata_server_start(options, &other));
  CHECK(last_error_says("port in use"));

  /* A handle of another kind is none. */
  CHECK_CODE(TE_E_INVALID_ARGUMENT, te_engine_destroy(server));
  CHECK_CODE(TE_E_INVALID_ARGUMENT, te_batch_free(server, server));

  child = fork();
  CHECK(child >= 0);
  if (child == 0)
    _exit(te_metadata_server_stop(server) == TE_E_FORKED && te_metadata_server_start("{}", &other) == TE_E_FORKED ? 0
                                                                                                                  : 1);
  CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
  CHECK(listens(address));

  CHECK_OK(te_metadata_server_stop(server));
  CHECK(!listens(address));
  CHECK_OK(te_metadata_server_stop(server));
  CHECK_CODE(TE_E_CLOSED, te_metadata_server_address(server, text, sizeof(text), NULL));
  CHECK_OK(te_metadata_server_start(options, &other)); /* the port is free */
  CHECK_OK(te_metadata_server_stop(other));
}
