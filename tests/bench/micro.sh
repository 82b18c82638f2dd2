#!/usr/bin/env bash
# The Go micro-benchmarks, each for a moment: they still run, and say what they allocate; and the tests of what the hot
# path may allocate, which mean nothing under the race detector. micro.sh [BENCHTIME]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
go test -count=1 -run='Alloc' -bench=. -benchmem -benchtime="${1:-5x}" ./gocore/...
