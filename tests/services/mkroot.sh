#!/usr/bin/env bash
# mkroot.sh FOLDER SUITE PACKAGE,PACKAGE…: the packages of another Debian suite, extracted below FOLDER to be run by
# chroot. Nothing of it is installed: no maintainer script runs, no service starts. A root that is there is kept.
# The archive is the one that this machine's own packages come from. Needs to be root.
set -euo pipefail
folder=$(realpath -m "$1") suite=$2 packages=$3
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
source tools/common.sh

# The stamp is written last, so a root that was left half-made, or made of other packages, is made again.
stamp="$suite $packages 2"
is_made() { [[ -f $folder/.varve-root && $(<"$folder/.varve-root") == "$stamp" ]]; }
if is_made; then exit 0; fi
[[ $(id -u) == 0 ]] || die "only root can make and use a root with $packages" "run the tests that need servers as root"

mkdir -p "$(dirname "$folder")"
exec 9>"$folder.lock"
flock -w 900 9 || die "another run has been making $folder for a quarter of an hour"
if is_made; then exit 0; fi

install_packages "to extract $packages" mmdebstrap util-linux
site=$(apt-get indextargets --format '$(SITE)' | sed -n 1p)
[[ -n $site ]] || die "apt knows no archive to take $packages from"
echo "extracting from $suite into $folder: ${packages//,/ }"
rm -rf "$folder" "$folder.new"
if ! mmdebstrap --mode=root --variant=extract --aptopt='APT::Install-Recommends "false"' \
  --aptopt='Acquire::Check-Valid-Until "false"' --aptopt='Acquire::Retries "3"' \
  --include="coreutils,libc-bin,$packages" "$suite" "$folder.new" "$site" >"$folder.log" 2>&1; then
  tail -n 15 "$folder.log" >&2
  die "$packages could not be extracted from $suite" "the whole log: $folder.log"
fi

# What the packages' scripts would have done, as far as servers need it.
for name in bin sbin lib lib64; do
  if [[ ! -e $folder.new/$name && -e $folder.new/usr/$name ]]; then ln -s "usr/$name" "$folder.new/$name"; fi
done
mkdir -p "$folder.new"/{dev,proc,sys,root,run,srv,tmp,var/tmp}
chmod 1777 "$folder.new/tmp" "$folder.new/var/tmp"
printf 'root:x:0:0:root:/root:/bin/sh\n' >"$folder.new/etc/passwd"
printf 'root:x:0:\n' >"$folder.new/etc/group"
printf '127.0.0.1 localhost\n' >"$folder.new/etc/hosts"
rm -rf "$folder.new/var/cache/apt" "$folder.new/var/lib/apt/lists"
echo "$stamp" >"$folder.new/.varve-root"
mv "$folder.new" "$folder"
