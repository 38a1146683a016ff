#!/usr/bin/env bash
# rgw.sh start FOLDER PORT TLS-PORT
#   A Ceph cluster of one monitor and one OSD (objects in its memory) and a RADOS gateway that speaks S3 on 127.0.0.1: on
#   PORT plainly, on TLS-PORT with the certificate FOLDER/cert.pem. FOLDER is emptied first and holds data, logs and
#   process ids.
# rgw.sh stop FOLDER
# $RGW_ACCESS_KEY, $RGW_SECRET_KEY: of the user that is made. The programs come from mkroot.sh.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
verb=$1 folder=$(realpath -m "$2")
root=${VARVE_SERVICES:-$HOME/.cache/varve-services}/forky

inside() { "$here/in_root.sh" "$root" "$folder" env CEPH_CONF=/srv/data/ceph.conf "$@"; }

# Without authentication between its parts, quick to agree with itself, and content to be alone.
write_configuration() {  # CLUSTER-ID MONITOR-PORT RGW-PORT TLS-PORT
  cat >"$folder/ceph.conf" <<C
[global]
fsid = $1
mon host = [v2:127.0.0.1:$2]
public network = 127.0.0.0/8
ms bind ipv6 = false
ms mon client mode = crc
auth cluster required = none
auth service required = none
auth client required = none
auth allow insecure global id reclaim = true
client mount timeout = 20
run dir = /srv/data/run
admin socket = /srv/data/run/\$name.asok
pid file = /srv/data/run/\$name.pid
log file = /srv/data/log/\$name.log
log to stderr = false
crash dir = /srv/data/log
mon allow pool size one = true
mon warn on pool no redundancy = false
mon data avail warn = 2
mon data avail crit = 1
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 1
osd pool default pgp num = 1
osd pool default pg autoscale mode = off
mon max pg per osd = 1000
paxos propose interval = 0.02
paxos min wait = 0.01
[mon]
mon data = /srv/data/mon
mon initial members = a
mon cluster log file = /srv/data/log/cluster.log
[osd]
osd data = /srv/data/osd
osd objectstore = memstore
memstore device bytes = 4294967296
osd boot delay = 0
osd crush chooseleaf type = 0
osd op num shards = 2
[client.rgw]
rgw frontends = beast endpoint=127.0.0.1:$3 ssl_endpoint=127.0.0.1:$4 ssl_certificate=/srv/data/cert.pem ssl_private_key=/srv/data/key.pem
rgw data = /srv/data/rgw
rgw thread pool size = 64
rgw crypt require ssl = false
rgw crypt s3 kms backend = testing
rgw crypt s3 kms encryption keys = testkey-1=YmluCmJvb3N0CmJvb3N0LWJ1aWxkCmNlcGguY29uZgo=
rgw lc debug interval = -1
C
}

# try TIMES COMMAND…: until it succeeds, five times a second.
try() {
  local times=$1 i
  shift
  for ((i = 0; i < times; ++i)); do
    if "$@" >/dev/null 2>&1; then return 0; fi
    sleep 0.2
  done
  return 1
}
osd_is_up() { inside timeout 10 ceph osd stat 2>/dev/null | grep -q '1 up'; }
gateway_answers() { curl --noproxy '*' -fs -m 5 -o /dev/null "http://127.0.0.1:$1/"; }
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

start() {
  local port=$1 tls_port=$2 monitor cluster osd class
  "$here/mkroot.sh" "$root" forky radosgw,ceph-mon,ceph-osd,ceph-common,python3-moto,python3-flask-cors,dash
  rm -rf "$folder"
  mkdir -p "$folder"/{mon,osd,run,log,rgw}
  monitor=$(free_port)
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$folder/key.pem" -out "$folder/cert.pem" \
    -days 2 -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1 2>/dev/null
  cluster=$(cat /proc/sys/kernel/random/uuid)
  osd=$(cat /proc/sys/kernel/random/uuid)
  write_configuration "$cluster" "$monitor" "$port" "$tls_port"
  inside monmaptool --create --clobber --fsid "$cluster" --addv a "[v2:127.0.0.1:$monitor]" /srv/data/monmap >/dev/null
  inside ceph-mon --mkfs -i a --monmap /srv/data/monmap
  inside ceph-mon -i a
  inside timeout 30 ceph osd new "$osd" 0 >/dev/null
  inside ceph-osd -i 0 --mkfs --osd-uuid "$osd" >/dev/null 2>"$folder/log/mkfs"
  inside ceph-osd -i 0 >/dev/null 2>>"$folder/log/mkfs"
  try 150 osd_is_up || { echo "rgw.sh: the OSD did not come up; see $folder/log" >&2; return 1; }
  inside timeout 60 radosgw-admin user create --uid=test --display-name=test \
    --access-key="$RGW_ACCESS_KEY" --secret-key="$RGW_SECRET_KEY" >/dev/null
  # Storage classes must be there before the gateway is.
  for class in STANDARD_IA GLACIER; do
    inside timeout 60 radosgw-admin zonegroup placement add --rgw-zonegroup default --placement-id default-placement \
      --storage-class $class >/dev/null
    inside timeout 60 radosgw-admin zone placement add --rgw-zone default --placement-id default-placement \
      --storage-class $class --data-pool default.rgw.buckets.data >/dev/null
  done
  inside radosgw -n client.rgw
  try 150 gateway_answers "$port" || { echo "rgw.sh: the gateway does not answer; see $folder/log" >&2; return 1; }
}

stop() {
  local name pid file
  for name in client.rgw osd.0 mon.a; do
    file=$folder/run/$name.pid
    [[ -f $file ]] || continue
    pid=$(<"$file")
    kill "$pid" 2>/dev/null || true
    # Nothing of it is kept, so there is no reason to wait long for an orderly end.
    try 5 eval "! kill -0 $pid" || kill -9 "$pid" 2>/dev/null || true
    rm -f "$file"
  done
}

case $verb in
  start)
    if ! start "$3" "$4"; then
      tail -n 20 "$folder"/log/* >&2 || true
      stop
      exit 1
    fi
    ;;
  stop) stop ;;
  *) echo "rgw.sh start FOLDER PORT TLS-PORT | stop FOLDER" >&2 && exit 2 ;;
esac
