#include <stdint.h>
#include <string.h>

#include "check.h"

/* Every text output: the size first, nothing written when it does not fit, a NUL at its end when it does. */
static void text_convention(void)
{
  char text[4096];
  size_t needed = 0, again = 0, i;

  CHECK_CODE(TE_E_BUFFER_TOO_SMALL, te_version(NULL, 0, &needed));
  CHECK(needed > 2 && needed < sizeof(text));
  memset(text, 'x', sizeof(text));
  CHECK_CODE(TE_E_BUFFER_TOO_SMALL, te_version(text, needed - 1, &again));
  CHECK(again == needed);
  for (i = 0; i < sizeof(text); i++)
    CHECK(text[i] == 'x');
  CHECK_OK(te_version(text, needed, NULL));
  CHECK(strlen(text) == needed - 1);
  CHECK(text[needed] == 'x');
  CHECK(strstr(text, "\"abi\":\"1.0\"") && strstr(text, "\"protocol_min\":") && strstr(text, "\"tcp_protocol\":"));
  CHECK_CODE(TE_E_INVALID_ARGUMENT, te_version(NULL, 10, &needed));
}

static void last_error_convention(void)
{
  char text[4096];
  size_t needed = 0;

  CHECK_CODE(TE_E_INVALID_ARGUMENT, te_runtime_set("no_such_key", 1));
  CHECK(last_error_says("no_such_key") && last_error_says("\"name\":\"INVALID_ARGUMENT\"") &&
        last_error_says("\"hint\":"));
  /* Reading it changes nothing, also when it does not fit; nor does a call that succeeds. */
  CHECK(te_last_error(text, 3, &needed) == TE_E_BUFFER_TOO_SMALL);
  CHECK(needed > 3 && needed < sizeof(text));
  CHECK(te_last_error(NULL, 3, NULL) == TE_E_INVALID_ARGUMENT);
  CHECK_OK(te_version(text, sizeof(text), NULL));
  CHECK(te_last_error(text, needed, NULL) == TE_OK);
  CHECK(strlen(text) == needed - 1 && strstr(text, "no_such_key"));
}

static void runtime_options(void)
{
  char key[200];

  CHECK_OK(te_runtime_set("gomaxprocs", 2));
  CHECK_OK(te_runtime_set("gogc", 100));
  CHECK_OK(te_runtime_set("gogc", -1));
  CHECK_OK(te_runtime_set("gogc", 100));
  CHECK_OK(te_runtime_set("memory_limit", INT64_MAX));
  CHECK_CODE(TE_E_INVALID_ARGUMENT, te_runtime_set("gomaxprocs", 0));
  CHECK_CODE(TE_E_INVALID_ARGUMENT, te_runtime_set("gomaxprocs", INT64_MAX));
  CHECK_CODE(TE_E_INVALID_ARGUMENT, te_runtime_set("gogc", -2));
  CHECK_CODE(TE_E_INVALID_ARGUMENT, te_runtime_set("memory_limit", 0));
  CHECK_CODE(TE_E_INVALID_ARGUMENT, te_runtime_set("memory_limit", INT64_MIN));
  CHECK_CODE(TE_E_INVALID_ARGUMENT, te_runtime_set(NULL, 1));
  CHECK_CODE(TE_E_INVALID_ARGUMENT, te_runtime_set("", 1));
  CHECK_CODE(TE_E_INVALID_ARGUMENT, te_runtime_set("\xff\xfe", 1));
  memset(key, 'k', sizeof(key) - 1);
  key[sizeof(key) - 1] = 0;
  CHECK_CODE(TE_E_INVALID_ARGUMENT, te_runtime_set(key, 1));
  CHECK(last_error_says("longer than"));
}

void scenario_library(void)
{
  CHECK(te_abi_version() == ((TE_ABI_MAJOR << 16) | TE_ABI_MINOR));
  CHECK(strcmp(last_error(), "{}") == 0);
  text_convention();
  last_error_convention();
  runtime_options();
}
