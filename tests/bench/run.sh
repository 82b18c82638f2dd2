#!/usr/bin/env bash
# Runs bench.py with this checkout's library and package: run.sh [ARGUMENTS of bench.py]
# The wheels of others take part if `make bench-peers` installed them.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cd "$root"
make --no-print-directory library >/dev/null
python="$(.ci/venv test)/bin/python"
export MOONCAKE_TE_LIBRARY=$root/build/libmooncake_te.so PYTHONPATH=$root/python
peers=$root/build/bench-peers/bin/python
[ ! -x "$peers" ] || export BENCH_PEERS=$peers
exec "$python" tests/bench/bench.py "$@"
