#!/usr/bin/env bash
# Installs what is missing to build, test and run the demo: Debian packages (with sudo, unless root), Go modules and the
# Python environments of .ci/venv. Says what it does; does nothing, quickly, when all is there.
#
#   .ci/setup.sh [demo]     demo: without the linters
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
what=${1:-all}

die() {
  echo "mooncake_te: $*" >&2
  exit 1
}

# Debian package and the command it is needed for.
packages=()
need() {
  command -v "$2" >/dev/null || packages+=("$1")
}
need gcc gcc
need make make
need git git
need binutils readelf
need util-linux flock
if [ "$what" = all ]; then
  need g++ g++
  need shellcheck shellcheck
  need protobuf-compiler protoc
  need procps ps
  need iproute2 tc
  need nftables nft
  need spin spin
  need etcd-server etcd
  need openssl openssl
  # The stock Mooncake wheel does not import without them.
  for library in libcurl4:libcurl.so.4 libibverbs1:libibverbs.so.1 libnuma1:libnuma.so.1; do
    /sbin/ldconfig -p | grep -F "${library#*:}" >/dev/null || packages+=("${library%:*}")
  done
fi
# The C library's headers come as a package of their own, and Debian's Python without venv.
[ -e /usr/include/stdlib.h ] || packages+=(libc6-dev)
"${MOONCAKE_TE_PYTHON:-python3}" -c 'import ensurepip, venv' 2>/dev/null || packages+=(python3-venv)

if [ ${#packages[@]} -gt 0 ]; then
  command -v apt-get >/dev/null || die "please install: ${packages[*]} (this script knows only apt-get)."
  sudo=()
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || die "please install as root: apt-get install ${packages[*]}"
    sudo=(sudo)
  fi
  echo "mooncake_te: installing Debian packages: ${packages[*]}"
  "${sudo[@]}" apt-get -o Acquire::Retries=3 update -qq
  "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get -o Acquire::Retries=3 install -y --no-install-recommends "${packages[@]}"
fi

cd "$root"
wanted=$(sed -n 's/^go \([0-9]*\.[0-9]*\).*/\1/p' go.mod)
command -v go >/dev/null || die "Go >= $wanted is needed and there is no 'go' on PATH (https://go.dev/dl)."
have=$(go env GOVERSION) || die "'go env' failed; Go >= $wanted is needed (https://go.dev/dl)."
printf '%s\n%s\n' "$wanted" "${have#go}" | sort -V -C || die "Go >= $wanted is needed, found ${have#go} (https://go.dev/dl)."

modules() {
  local try progress=()
  [ ! -t 2 ] || progress=(-x) # names each file while it is fetched
  for try in 1 2 3; do
    go mod download "${progress[@]}" "$@" && return 0
    echo "mooncake_te: try $try of 3 failed: go mod download $*" >&2
    sleep $((try * 5))
  done
  die "could not download the Go modules; is the module proxy reachable (go env GOPROXY)?"
}
modules
if [ "$what" = all ]; then
  modules -modfile=.ci/tools/go.mod
  (cd tests/servers/etcd && modules)
  make --no-print-directory build/etcd
  .ci/venv lint >/dev/null
  .ci/venv stock >/dev/null
  (cd tools/gopy && modules)
  .ci/venv gopy >/dev/null
fi
.ci/venv test >/dev/null
