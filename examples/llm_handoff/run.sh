#!/usr/bin/env bash
# Runs demo.py with an interpreter that has what it needs. Arguments go to demo.py (--help lists them); ZERO=1 and
# JSON=FILE are read from the environment.
#
# `make demo` names the interpreter, PYTHON, after building the wheel and installing it for that one. Without PYTHON this
# uses the test environment and the package as it lies in the source tree.
set -euo pipefail

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)

if [[ -z ${PYTHON:-} ]]; then
  root=$(cd -- "$here/../.." && pwd)
  "$root/.ci/setup.sh" demo >&2
  PYTHON=$("$root/.ci/venv" test)/bin/python
  export PYTHONPATH=$root/python${PYTHONPATH:+:$PYTHONPATH}
  export MOONCAKE_TE_LIBRARY=${MOONCAKE_TE_LIBRARY:-$root/build/libmooncake_te.so}
  [[ -e $MOONCAKE_TE_LIBRARY ]] || make --no-print-directory -C "$root" library >&2
fi

# The same process, so that a signal to this script reaches the demo.
export PYTHONPATH=$here/..${PYTHONPATH:+:$PYTHONPATH}
exec "$PYTHON" -m llm_handoff.demo "$@"
