# Shared by build.sh, test.sh and demo.sh; sourced from the root of the checkout, with `set -euo pipefail`.
# shellcheck shell=bash

# A machine's image may leave these unset; ccache and git want a home.
: "${HOME:=$(getent passwd "$(id -u)" | cut -d: -f6)}"
export HOME LC_ALL=C.UTF-8
# One compiler cache for every checkout of this machine.
export CCACHE_BASEDIR="$PWD" CCACHE_NOHASHDIR=1

die() {
  echo "error: $1" >&2
  if [[ -n ${2:-} ]]; then echo "hint: $2" >&2; fi
  exit 1
}

# install_packages WHAT PACKAGE…: installs those that are missing, by apt; WHAT says what for.
install_packages() {
  local what=$1 package missing=() as_root=()
  shift
  if [[ ${VARVE_NO_INSTALL:-} == 1 ]]; then return 0; fi
  if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    die "this is no Debian system, so nothing can be installed $what" \
      "install the equivalents of: $* ; then set VARVE_NO_INSTALL=1"
  fi
  local installed
  installed=" $(dpkg-query -W -f='${db:Status-Abbrev}${Package} ' "$@" 2>/dev/null || true)"
  for package in "$@"; do
    if [[ $installed != *" ii $package "* ]]; then missing+=("$package"); fi
  done
  if ((${#missing[@]} == 0)); then return 0; fi
  if [[ $(id -u) != 0 ]]; then
    # With a terminal sudo may ask for a password; without one it must not wait for an answer.
    if sudo -n true 2>/dev/null || { [[ -t 0 ]] && command -v sudo >/dev/null; }; then
      as_root=(sudo)
    else
      die "these packages are needed $what, and only root can install them: ${missing[*]}" \
        "run as root: apt-get install ${missing[*]}"
    fi
  fi
  echo "installing ${#missing[@]} Debian packages $what: ${missing[*]}"
  local log
  log=$(mktemp)
  local apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=600 -o Acquire::Retries=3)
  # The lists of a bare image are absent or old: fetch them when an install without doing so fails.
  if ! "${apt[@]}" -y --no-install-recommends install "${missing[@]}" >"$log" 2>&1; then
    if ! { "${apt[@]}" update && "${apt[@]}" -y --no-install-recommends install "${missing[@]}"; } >"$log" 2>&1; then
      tail -n 30 "$log" >&2
      die "apt could not install what is needed $what" "the whole log: $log"
    fi
  fi
  rm -f "$log"
}

# configure PRESET FOLDER [-DNAME=VALUE…]: configures when it was not, or not so; a copied checkout starts anew.
configure() {
  local preset=$1 folder=$2 option value stale=0
  shift 2
  if [[ -f $folder/CMakeCache.txt ]] && ! grep -qxF "CMAKE_HOME_DIRECTORY:INTERNAL=$PWD" "$folder/CMakeCache.txt"; then
    rm -rf "$folder"
  fi
  if [[ ! -f $folder/build.ninja || CMakePresets.json -nt $folder/build.ninja ]]; then stale=1; fi
  for option in "$@"; do
    value=${option#-D}
    if ((!stale)) && ! grep -q "^${value%%=*}:[A-Z]*=${value#*=}\$" "$folder/CMakeCache.txt"; then stale=1; fi
  done
  if ((!stale)); then return 0; fi
  mkdir -p "$folder"
  if ! cmake --preset "$preset" "$@" >"$folder/configure.log" 2>&1; then
    cat "$folder/configure.log" >&2
    die "cmake could not configure the preset $preset"
  fi
}
