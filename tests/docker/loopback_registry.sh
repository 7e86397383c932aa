#!/bin/bash
# Runs a container registry for tests until it is ended, on 127.0.0.1 only:
#
#   tests/docker/loopback_registry.sh PORT FOLDER
#
# The program is Debian's docker-registry: the installed one, or its package unpacked in FOLDER.
set -euo pipefail
port=$1
folder=$2
program=$(command -v docker-registry || true)
if [ -z "$program" ]; then
  # apt downloads into the folder it is started in.
  (cd "$folder" && apt-get -qq update && apt-get -qq download docker-registry) >&2
  dpkg-deb --extract "$folder"/docker-registry_*.deb "$folder/software"
  program=$folder/software/usr/bin/docker-registry
fi
cat >"$folder/config.yml" <<CONFIG
version: 0.1
log: {level: error, accesslog: {disabled: true}}
storage: {filesystem: {rootdirectory: "$folder/data"}}
http: {addr: "127.0.0.1:$port"}
CONFIG
exec "$program" serve "$folder/config.yml"
