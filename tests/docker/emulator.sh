#!/bin/bash
# Prints the path of an emulator that runs 64-bit ARM programs here: the system's own, or Debian
# trixie's, unpacked in the user's cache. Nothing is installed, registered or run as root.
#
#   emulator=$(tests/docker/emulator.sh)
#
# It must be QEMU 10 or newer: version 7.2 ends LiteRT's vectorised kernels with a segmentation fault.
# Needs a host with apt and a Debian archive where the system has none that new.
set -euo pipefail

new_enough() {
  local version
  version=$("$1" --version | sed -n '1s/.*version \([0-9]*\).*/\1/p')
  [ "${version:-0}" -ge 10 ]
}

# Another libc is in the container than here.
is_static() { ldd "$1" 2>&1 | grep -Eq 'statically linked|not a dynamic executable'; }

cache=${XDG_CACHE_HOME:-$HOME/.cache}/drydock/emulator
for found in "$cache/qemu-aarch64" "$(command -v qemu-aarch64-static || true)" \
  "$(command -v qemu-aarch64 || true)"; do
  if [ -x "$found" ] && is_static "$found" && new_enough "$found"; then
    echo "$found"
    exit 0
  fi
done

if ! command -v apt-get >/dev/null || ! command -v dpkg-deb >/dev/null; then
  echo "error: there is no qemu-aarch64 10 or newer, and no apt-get to fetch it with" >&2
  exit 3
fi
mirror=$(sed -n 's/^URIs: *//p; s/^deb \(\[[^]]*\] \)\{0,1\}\([^ ]*\).*/\2/p' \
  /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null | grep '/debian/\{0,1\}$' | head -n 1 || true)
mkdir -p "$cache"
scratch=$(mktemp -d "$cache/partial.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
mkdir -p "$scratch/lists/partial" "$scratch/archives/partial" "$scratch/none" "$scratch/unpacked"
: >"$scratch/status"
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
echo "deb [signed-by=$keyring] $mirror trixie main" >"$scratch/sources.list"
cat >"$scratch/apt.conf" <<APT
Dir::State "$scratch/"; Dir::State::status "$scratch/status"; Dir::Cache "$scratch/";
Dir::Etc::sourcelist "$scratch/sources.list"; Dir::Etc::sourceparts "$scratch/none/";
Dir::Etc::preferences "$scratch/none/x"; Dir::Etc::preferencesparts "$scratch/none/";
Acquire::Languages "none"; APT::Sandbox::User "root";
APT
echo "fetching an emulator from Debian trixie" >&2
cd "$scratch"
APT_CONFIG=$scratch/apt.conf apt-get update -qq >&2
APT_CONFIG=$scratch/apt.conf apt-get download -qq qemu-user >&2
dpkg-deb --fsys-tarfile ./qemu-user_*.deb | tar -x -C unpacked ./usr/bin/qemu-aarch64
mv unpacked/usr/bin/qemu-aarch64 "$cache/qemu-aarch64"
echo "$cache/qemu-aarch64"
