#!/bin/bash
# Makes images from Debian packages that stand in for the public base images where those cannot be
# pulled, and prints the settings that put them in place of the digests in the Dockerfiles:
#
#   eval "$(tests/docker/stand_in_base.sh)"
#
# As bare as the originals: neither Python nor certificates. Needs mmdebstrap and a Debian archive.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
contexts=
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
for folder in base bullseye; do
  reference=$(sed -n 's/^FROM \(debian:[^ ]*\).*/\1/p' "$here/../../docker/$folder/Dockerfile" | head -n 1)
  suite=${reference#debian:}
  suite=${suite%%-*}
  tag=drydock-stand-in/$suite:1
  if ! docker image inspect "$tag" >/dev/null 2>&1; then
    echo "making a stand-in for $reference" >&2
    # The layout is the official one: no manuals, an empty archive cache, merged /usr since Debian 12.
    layout=(--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr --include=usr-is-merged)
    [ "$suite" != bullseye ] || layout=()
    SOURCE_DATE_EPOCH=1789600000 nice -n 10 mmdebstrap --quiet --variant=minbase --mode=auto \
      "${layout[@]}" \
      --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
      --dpkgopt='path-exclude=/usr/share/doc/*' --aptopt='APT::Sandbox::User "root"' \
      --aptopt='Acquire::Languages "none"' \
      "$suite" "$scratch/base.tar" >&2
    docker import --change 'CMD ["bash"]' "$scratch/base.tar" "$tag" >/dev/null
  fi
  contexts="$contexts $reference=docker-image://$tag"
done
cat <<SETTINGS
export DRYDOCK_BUILD_CONTEXTS='${contexts# }'
export DRYDOCK_SNAPSHOT=off
SETTINGS
