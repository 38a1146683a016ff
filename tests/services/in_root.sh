#!/usr/bin/env bash
# in_root.sh ROOT DATA COMMAND…: runs a command inside a root that mkroot.sh made, with the folder DATA at /srv/data.
# The mounts live in a namespace of the command's own: they go with it, and several runs can share one root.
set -euo pipefail
exec unshare --mount --propagation private /bin/sh -euc '
  root=$1 data=$2
  shift 2
  mount -t proc proc "$root/proc"
  mount --rbind /dev "$root/dev"
  mkdir -p "$root/srv/data"
  mount --bind "$data" "$root/srv/data"
  exec chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 "$@"
' in_root "$@"
