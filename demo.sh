#!/usr/bin/env bash
# A tour in less than a minute: a database is backed up, followed, damaged, and brought back to the second before.
#   ./demo.sh            installs and builds what is missing first (some minutes the first time)
#   ./demo.sh s3         the same with the backups in a bucket, on a server that is fetched and started for it;
#                        also: azure, gcs, sftp
#   ./demo.sh postgres   the tour with a PostgreSQL server
# Everything happens in a temporary folder that is removed at the end. DEMO_PAUSE=0 goes through without pausing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
source tools/common.sh
source tools/demo_words.sh

case ${1:-sqlite} in
  sqlite) ;;
  postgres) exec tools/demo_postgres.sh ;;
  s3 | azure | gcs | sftp)
    variable=VARVE_TEST_${1^^}
    if [[ -z ${!variable:-} ]]; then
      install_packages "for the demo" python3 openssl openssh-server openssh-client libisal2
      exec python3 tests/services/with.py "$1" -- "$PWD/demo.sh" "$1"
    fi
    ;;
  *) die "there is no demo of $1" "./demo.sh shows SQLite into a folder; ./demo.sh s3, azure, gcs or sftp into a store; ./demo.sh postgres PostgreSQL" ;;
esac

install_packages "for the demo" sqlite3
./build.sh
PATH="$PWD/build:$PATH"

folder=$(mktemp -d)
repository=file://$folder/backups
if [[ -n ${variable:-} ]]; then
  # Below the address that with.py gives, before its settings.
  repository=${!variable%%\?*}/shop
  if [[ ${!variable} == *\?* ]]; then repository+="?${!variable#*\?}"; fi
fi
follower=
end() {
  if [[ -n $follower ]]; then
    kill "$follower" 2>/dev/null || true
    wait "$follower" 2>/dev/null || true
  fi
  rm -rf "$folder"
}
trap end EXIT
cd "$folder"
unset VARVE_CONFIG
export VARVE_REPO="$repository" VARVE_PASSPHRASE="a passphrase that only you know"

run() {
  printf '%s$ %s%s\n' "$green" "$*" "$off"
  "$@"
}
# What the follower says goes to a file; wait for what it has stored, not for luck.
eventually() {
  local tries
  for tries in $(seq 100); do
    if "$@" >/dev/null 2>&1; then return 0; fi
    sleep 0.1
  done
  die "this did not happen within 10 s: $*"
}
rows() { sqlite3 shop.db "SELECT count(*) FROM orders" 2>&1; }

chapter "1. A shop's database, in use: 200,000 orders in one SQLite file"
sqlite3 shop.db >/dev/null <<'SQL'
PRAGMA journal_mode = WAL;
CREATE TABLE customers(id INTEGER PRIMARY KEY, name TEXT NOT NULL, city TEXT);
CREATE TABLE orders(id INTEGER PRIMARY KEY, customer INTEGER REFERENCES customers, amount_cents INTEGER, note TEXT);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)
  INSERT INTO customers SELECT i, 'Customer ' || i, 'City ' || (i * 7 % 311) FROM n;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200000)
  INSERT INTO orders SELECT i, i * 13 % 20000 + 1, i * 7919 % 100000, 'order number ' || i || ' ' || hex(randomblob(12)) FROM n;
CREATE INDEX orders_by_customer ON orders(customer);
SQL
ls -lh shop.db | awk '{print $5, $9}'

chapter "2. A repository, encrypted with a passphrase"
run varve init --quiet --kit recovery-kit.txt
note "(the recovery kit, one page to print, is in recovery-kit.txt)"

chapter "3. Following: from here on every commit is kept, within a second"
printf '%s$ varve log follow sqlite:shop.db &%s\n' "$green" "$off"
varve log follow sqlite:shop.db >follow.log 2>&1 &
follower=$!
eventually bash -c 'varve list --json | grep -q "\"id\""'
for i in $(seq 40); do
  sqlite3 shop.db "INSERT INTO orders(customer, amount_cents, note) VALUES ($i, $i * 100, 'sold while followed, $i')"
done
note "40 more orders came in while it follows."
sleep 0.7
run varve backup sqlite:shop.db
run varve list

chapter "4. The accident: a DELETE with its WHERE forgotten"
sqlite3 shop.db ".dump orders" | sha256sum >before.sum
orders_before=$(rows)
printf '%s$ sqlite3 shop.db "DELETE FROM orders"%s\n' "$red" "$off"
sqlite3 shop.db "DELETE FROM orders"
sqlite3 shop.db "INSERT INTO customers(name, city) VALUES ('Customer who came after', 'Elsewhere')"
echo "orders before: $orders_before, now: $(rows)"
sleep 1.5

chapter "5. What happened? Which transaction?"
run varve history sqlite:shop.db --table orders --since "1 minute ago" | tail -n 6
txn=$(varve history sqlite:shop.db --table orders --json | tr '{' '\n' | grep '"kind": *"delete"' | tail -n 1 |
  grep -oE 'txn:[0-9]+' | grep -oE '[0-9]+')

chapter "6. The table as of just before it, beside the live ones: nothing else is touched"
run varve restore sqlite:shop.db --table orders --to "before:$txn" --into shop.db --as orders_restored
sqlite3 shop.db "SELECT 'restored: ' || count(*) || ' orders, worth ' || (sum(amount_cents) / 100) FROM orders_restored"

chapter "7. Or the whole database, as of that moment"
run varve restore sqlite:shop.db --to "before:$txn" --target shop-before.db
sqlite3 shop-before.db ".dump orders" | sha256sum >after.sum
if cmp -s before.sum after.sum; then
  echo "sqlite3's own dump of orders: equal to the one taken before the accident"
else
  die "the restored table differs from the one before the accident"
fi

chapter "8. Is the repository sound? Every byte read, decrypted and checked"
run varve verify
run varve status

printf '\n%sThat was all of it:%s varve init, varve log follow, varve restore. Next: README.md\n' "$bold" "$off"
