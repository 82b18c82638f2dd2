#!/bin/sh
# Makes the Go code of proto/ anew. With --check: fails if the committed code differs from what the .proto files give.
#
# Needs protoc 3.21 or later (Debian: protobuf-compiler) and Go. The two plugins are pinned here; they are installed
# into the user's cache, never into the tree or GOBIN. Lines that name protoc's own version are left out of the output,
# so that another protoc gives the same bytes.
set -eu

GEN_GO=v1.36.12
GEN_GRPC=v1.6.2

cd "$(dirname "$0")/.."
out=gocore/control/controlpb
bin="${XDG_CACHE_HOME:-$HOME/.cache}/mooncake_te/bin"

case "${1-}" in
'') check=0 ;;
--check) check=1 ;;
*)
	echo "usage: proto/generate.sh [--check]" >&2
	exit 2
	;;
esac

if ! command -v protoc >/dev/null; then
	echo "proto/generate.sh: protoc not found; install it (Debian: apt-get install protobuf-compiler)" >&2
	exit 1
fi

# plugin NAME PACKAGE VERSION installs a plugin unless this version is there.
plugin() {
	if [ "$("$bin/$1" --version 2>/dev/null | sed 's/.* v\{0,1\}//')" != "${3#v}" ]; then
		mkdir -p "$bin"
		GOFLAGS= GOBIN="$bin" go install "$2@$3"
	fi
}
plugin protoc-gen-go google.golang.org/protobuf/cmd/protoc-gen-go "$GEN_GO"
plugin protoc-gen-go-grpc google.golang.org/grpc/cmd/protoc-gen-go-grpc "$GEN_GRPC"

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
protoc -I proto \
	--plugin="$bin/protoc-gen-go" --go_out="$tmp" --go_opt=module=mooncake_te \
	--plugin="$bin/protoc-gen-go-grpc" --go-grpc_out="$tmp" --go-grpc_opt=module=mooncake_te \
	proto/mooncake_te/v1/*.proto
for f in "$tmp/$out"/*.go; do
	sed '/^\/\/ [-[:space:]]*protoc  *v[0-9(]/d' "$f" >"$f.new"
	mv "$f.new" "$f"
done

if [ "$check" = 1 ]; then
	if ! diff -ru "$out" "$tmp/$out"; then
		echo "proto/generate.sh: $out differs from what proto/ gives; run proto/generate.sh and commit" >&2
		exit 1
	fi
	exit 0
fi
rm -rf "$out"
mkdir -p "$out"
cp "$tmp/$out"/*.go "$out"/
