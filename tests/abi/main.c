/* The ABI test program: a C client that uses nothing but te.h. `abi SCENARIO` runs one; test_abi.py runs them all. */
#include <stdio.h>
#include <string.h>

#include "check.h"

static const struct {
  const char *name;
  void (*run)(void);
} scenarios[] = {
    {"library", scenario_library},   {"arguments", scenario_arguments},
    {"structs", scenario_structs},   {"handles", scenario_handles},
    {"transfer", scenario_transfer}, {"grants", scenario_grants},
    {"notify", scenario_notify},     {"fork", scenario_fork},
    {"threads", scenario_threads},   {"destroy", scenario_destroy},
    {"tasks", scenario_tasks},       {"layout", scenario_layout},
    {"stopped", scenario_stopped},   {"metaserver", scenario_metaserver},
};

int main(int argc, char **argv)
{
  size_t i;

  for (i = 0; argc == 2 && i < sizeof(scenarios) / sizeof(scenarios[0]); i++) {
    if (strcmp(argv[1], scenarios[i].name) == 0) {
      scenarios[i].run();
      return 0;
    }
  }
  if (argc == 2 && strcmp(argv[1], "serve") == 0) { /* the other process of a scenario */
    serve();
    return 0;
  }
  fprintf(stderr, "usage: abi SCENARIO\n");
  return 2;
}
