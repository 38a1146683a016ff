#!/usr/bin/env bash
# The tour with PostgreSQL (./demo.sh postgres): a server of our own is backed up and shipped, a table is dropped by
# mistake, found in the history, and brought back as of the moment before, beside the live server.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source tools/common.sh
source tools/demo_words.sh

install_packages "for the demo" postgresql-15 util-linux
./build.sh

bin=/usr/lib/postgresql/15/bin
folder=$(mktemp -d)
data=$folder/server restored=$folder/restored
chmod 755 "$folder"
# The user postgres need not see the checkout.
install -m 755 build/varve "$folder/varve"
as=()
if [[ $(id -u) == 0 ]]; then
  # PostgreSQL does not run as root.
  as=(setpriv --reuid=postgres --regid=postgres --init-groups)
  chown postgres: "$folder"
fi
end() {
  for place in "$data" "$restored"; do
    if [[ -f $place/postmaster.pid ]]; then "${as[@]}" "$bin/pg_ctl" -D "$place" -m immediate stop >/dev/null 2>&1 || true; fi
  done
  rm -rf "$folder"
}
trap end EXIT
cd "$folder"
unset VARVE_REPO VARVE_PASSPHRASE
export VARVE_CONFIG="$folder/varve.toml" PATH="$folder:$PATH"
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')

run() {
  printf '%s$ %s%s\n' "$green" "$*" "$off"
  "${as[@]}" "$@"
}
sql() { "${as[@]}" "$bin/psql" -XAtq -h "$folder" -p "$port" -U postgres -d postgres -c "$1"; }

chapter "A PostgreSQL server that ships its WAL"
"${as[@]}" "$bin/initdb" -D "$data" -U postgres -A trust --data-checksums --no-sync >/dev/null
(umask 077 && echo "a passphrase that only you know" >passphrase)
cat >varve.toml <<EOF
[repository.main]
url = "file://$folder/backups"
passphrase_file = "$folder/passphrase"

[source.shop]
engine = "postgres"
connection = "host=$folder port=$port user=postgres"
repositories = ["main"]
EOF
if [[ $(id -u) == 0 ]]; then chown postgres: passphrase varve.toml; fi
cat >>"$data/postgresql.conf" <<EOF
port = $port
listen_addresses = ''
unix_socket_directories = '$folder'
archive_mode = on
archive_command = '$folder/varve --config $folder/varve.toml log push shop %p'
EOF
note "archive_command = 'varve log push shop %p'"
run varve init --quiet
"${as[@]}" "$bin/pg_ctl" -D "$data" -l "$folder/log" -w start >/dev/null
"${as[@]}" "$bin/pgbench" -i -s 10 -q -h "$folder" -p "$port" -U postgres postgres >/dev/null 2>&1
sql "CREATE TABLE orders AS SELECT g AS id, md5(g::text) AS item FROM generate_series(1, 50000) g"
note "a cluster of $(sql "SELECT pg_size_pretty(sum(pg_database_size(oid))) FROM pg_database"), with 50,000 orders"

chapter "A full backup, an hour's work, an incremental one"
run varve backup shop
"${as[@]}" "$bin/pgbench" -t 2000 -c 2 -h "$folder" -p "$port" -U postgres postgres >/dev/null 2>&1
run varve backup shop

chapter "The mistake"
before=$(sql "SELECT count(*), sum(hashtext(item)) FROM orders")
note "DROP TABLE orders;"
sql "DROP TABLE orders"
sql "INSERT INTO pgbench_history VALUES (1, 1, 1, 1)"
sql "SELECT pg_switch_wal()" >/dev/null
for _ in $(seq 100); do
  if [[ $(sql "SELECT count(*) FROM pg_ls_archive_statusdir() WHERE name LIKE '%.ready'") == 0 ]]; then break; fi
  sleep 0.1
done

chapter "Who did it, and when?"
run varve history shop --table orders
transaction=$("${as[@]}" varve history shop --table orders --json | python3 -c '
import json, sys
print([e["xid"] for e in json.load(sys.stdin)["events"] if e["kind"] == "drop_table"][-1])')

chapter "The table alone, from the moment before, back into the live server"
run varve restore shop --table orders --to "before:$transaction" --into-connection "host=$folder port=$port user=postgres"
after=$(sql "SELECT count(*), sum(hashtext(item)) FROM orders")

chapter "The whole cluster as of then, started beside it"
other=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
run varve restore shop --target "$restored" --to "before:$transaction" --start --port "$other"

if [[ $before == "$after" ]]; then
  printf '\n%severy order is back: %s%s\n' "$bold" "${after%%|*} rows, and the same content" "$off"
else
  printf '\n%sthe restored table differs: %s, not %s%s\n' "$red" "$after" "$before" "$off"
  exit 1
fi
