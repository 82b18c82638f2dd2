#!/usr/bin/env bash
# Builds gocore/pyapi into build/gopy/metadata_client, a Python module for the interpreter of the `test` environment (it is
# bound to that interpreter's libpython and version, which is why it is in no wheel). Does nothing when it is up to date.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cd "$root"
folder=$root/build/gopy
python=$(.ci/venv gopy)/bin/python

# What the module is made from: all of gocore's code, this folder, the interpreter.
state=$({
  "$python" -VV
  # What was deleted and not yet committed is still listed.
  git ls-files -co --exclude-standard -- gocore tools/gopy go.mod go.sum | grep -v _test.go |
    xargs -d '\n' sha256sum 2>/dev/null || true
} | sha256sum)
if [ "$(cat "$folder/built" 2>/dev/null)" = "$state" ]; then
  exit 0
fi

rm -rf "$folder"
mkdir -p "$folder/bin"
# The generated code has to lie in a module that requires gopy; a copy keeps the checked-in files as they are.
cp tools/gopy/{go.mod,go.sum,doc.go} "$folder"
cd "$folder"
export GOFLAGS="-mod=mod -buildvcs=false '-ldflags=-s -w'"
GOBIN=$folder/bin go install tool
PATH=$folder/bin:$PATH gopy build -output=metadata_client -name=metadata_client -vm="$python" \
  mooncake_te/gocore/pyapi >build.log 2>&1 || { tail -50 build.log >&2 && exit 1; }
echo "$state" >built
