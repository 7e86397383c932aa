#!/bin/bash
# Makes an image from Debian packages that stands in for the public base image where that one cannot
# be pulled, and prints the settings that put it in place of the digest in the Dockerfiles:
#
#   eval "$(tests/docker/stand_in_base.sh)"
#
# As bare as the original: neither Python nor certificates. Needs mmdebstrap and a Debian archive.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
dockerfile=$here/../../docker/base/Dockerfile
reference=$(sed -n 's/^FROM \(debian:[^ ]*\).*/\1/p' "$dockerfile" | head -n 1)
suite=${reference#debian:}
suite=${suite%%-*}
tag=drydock-stand-in/$suite:1

if ! docker image inspect "$tag" >/dev/null 2>&1; then
  scratch=$(mktemp -d)
  trap 'rm -rf "$scratch"' EXIT
  echo "making a stand-in for $reference" >&2
  # The layout is the official one: merged /usr, no manuals, an empty archive cache.
  SOURCE_DATE_EPOCH=1789600000 nice -n 10 mmdebstrap --quiet --variant=minbase --mode=auto \
    --hook-dir=/usr/share/mmdebstrap/hooks/merged-usr --include=usr-is-merged \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    --dpkgopt='path-exclude=/usr/share/doc/*' --aptopt='APT::Sandbox::User "root"' \
    --aptopt='Acquire::Languages "none"' \
    "$suite" "$scratch/base.tar" >&2
  docker import --change 'CMD ["bash"]' "$scratch/base.tar" "$tag" >/dev/null
fi
cat <<SETTINGS
export DRYDOCK_BUILD_CONTEXTS='$reference=docker-image://$tag'
export DRYDOCK_SNAPSHOT=off
SETTINGS
