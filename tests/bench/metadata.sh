#!/usr/bin/env bash
# Runs metadata.py with this checkout's library and package: metadata.sh [ARGUMENTS of metadata.py]
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cd "$root"
make --no-print-directory library build/etcd >/dev/null
python="$(.ci/venv test)/bin/python"
export MOONCAKE_TE_LIBRARY=${MOONCAKE_TE_LIBRARY:-$root/build/libmooncake_te.so} PYTHONPATH=$root/python
exec "$python" tests/bench/metadata.py "$@"
