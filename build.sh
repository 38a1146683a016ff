#!/usr/bin/env bash
# Installs what the build needs (Debian 12), builds, and leaves the release binary at build/varve.
# VARVE_NO_INSTALL=1 leaves the system's packages alone.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
source tools/common.sh

install_packages "to build" g++ cmake ninja-build ccache mold pkg-config libexpected-dev libtomlplusplus-dev \
  libcli11-dev libfmt-dev libspdlog-dev libhowardhinnant-date-dev libsqlite3-dev libprotobuf-dev protobuf-compiler \
  nlohmann-json3-dev libsodium-dev libssl-dev libzstd-dev liblz4-dev libxxhash-dev \
  libcurl4-openssl-dev libpugixml-dev libssh2-1-dev libpq-dev

# The tests stay configured once ./test.sh has asked for them; they are no part of this target.
if [[ -f build/CMakeCache.txt ]]; then configure release build; else configure release build -DVARVE_TESTS=OFF; fi
if [[ -t 1 ]]; then
  cmake --build build --target varve
elif ! cmake --build build --target varve >build/build.log 2>&1; then
  grep -E 'error|FAILED|warning: ' -A 5 build/build.log | head -n 80 >&2
  die "the build failed" "the whole log: build/build.log"
fi
echo "built: build/varve"
