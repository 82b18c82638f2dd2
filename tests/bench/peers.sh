#!/usr/bin/env bash
# Installs the wheels that `make bench` measures beside this package, in an environment of their own
# (build/bench-peers): stock Mooncake without CUDA, NIXL with its UCX; and what they and the yardsticks need of Debian.
# torch and numpy are those of the `test` environment: NIXL's own would bring gigabytes of CUDA packages.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cd "$root"
packages=(iperf3 libibverbs1 libnuma1 libcurl4) # the Mooncake wheel does not import without the libraries
missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
  sudo=()
  [ "$(id -u)" -eq 0 ] || sudo=(sudo)
  "${sudo[@]}" apt-get -o Acquire::Retries=3 update -qq
  "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}"
fi
below=$(.ci/venv test)
folder=build/bench-peers
if ! cmp -s tests/bench/peers.txt "$folder/installed"; then
  rm -rf "$folder"
  "$below/bin/python" -m venv "$folder"
  "$folder/bin/python" -m pip --disable-pip-version-check install --quiet --no-deps -r tests/bench/peers.txt
  "$below/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))' \
    >"$(echo "$folder"/lib/python*/site-packages)/below.pth"
  cp tests/bench/peers.txt "$folder/installed"
fi
"$folder/bin/python" - <<'END'
import importlib

for name in ("mooncake.engine", "nixl._api"):
    try:
        importlib.import_module(name)
    except Exception as error:
        print(f"{name} does not import, `make bench` leaves it out: {type(error).__name__}: {error}")
    else:
        print(f"{name} is ready")
END
