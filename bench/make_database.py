#!/usr/bin/env python3
"""Makes a SQLite database of about the given size, as applications have them: the same bytes at each call.

    bench/make_database.py PATH MIB            makes it
    bench/make_database.py PATH --change 0.002 changes that share of the orders, chosen at random

Customers with names and addresses, orders with notes, events with a JSON document and a random token, and accounts as
pgbench fills them (balances and padding). Three indexes. Words follow a distribution like that of a language.
"""

import argparse
import itertools
import json
import os
import random
import sqlite3
import sys

SYLLABLES = ["ba", "con", "der", "el", "for", "gra", "hin", "is", "ka", "lo", "mer", "nu", "or", "pre", "qui", "ran", "se",
             "ti", "un", "ver", "wa", "xe", "yo", "zen", "st", "ing", "er", "tion", "al", "ment"]
SCHEMA = """
CREATE TABLE customers(id INTEGER PRIMARY KEY, name TEXT, email TEXT, street TEXT, city TEXT, created INTEGER);
CREATE TABLE orders(id INTEGER PRIMARY KEY, customer_id INTEGER, status TEXT, total REAL, created INTEGER, note TEXT);
CREATE TABLE events(id INTEGER PRIMARY KEY, order_id INTEGER, kind TEXT, at INTEGER, payload TEXT, token BLOB);
CREATE TABLE accounts(aid INTEGER PRIMARY KEY, bid INTEGER, abalance INTEGER, filler TEXT);
CREATE INDEX orders_customer ON orders(customer_id);
CREATE INDEX events_order ON events(order_id);
CREATE UNIQUE INDEX customers_email ON customers(email);
"""
KINDS = ["created", "paid", "packed", "shipped", "delivered", "returned"]
START = 1_600_000_000


class Maker:
    def __init__(self, seed):
        self.random = random.Random(seed)
        self.words = ["".join(self.random.choices(SYLLABLES, k=self.random.randint(1, 4))) for _ in range(20000)]
        self.cumulated = list(itertools.accumulate(1 / (i + 3) for i in range(len(self.words))))
        self.pool, self.used = [], 0

    def text(self, low, high):
        if self.used + high > len(self.pool):
            self.pool, self.used = self.random.choices(self.words, cum_weights=self.cumulated, k=200000), 0
        n = self.random.randint(low, high)
        self.used += n
        return " ".join(self.pool[self.used - n:self.used])

    def rows(self, first, count):
        """Rows of each table for orders first … first + count − 1."""
        r = self.random
        customers, orders, events, accounts = [], [], [], []
        for i in range(first, first + count):
            if i % 4 == 0:
                name = self.text(2, 3).title()
                customers.append((i // 4, name, f"{name.split()[0].lower()}.{i // 4}@example.com",
                                  f"{r.randint(1, 200)} {self.text(1, 2)} street", self.text(1, 1).title(), START + 40 * i))
            orders.append((i, r.randint(0, i // 4), r.choice(KINDS), r.randint(100, 500000) / 100, START + 40 * i,
                           self.text(0, 12)))
            for e in range(r.randint(1, 3)):
                document = json.dumps({"actor": self.text(1, 1), "channel": r.choice(["web", "app", "phone"]),
                                       "amount": r.randint(1, 9999), "comment": self.text(2, 10)})
                events.append((i * 4 + e, i, KINDS[e], START + 40 * i + 7000 * e, document, r.randbytes(16)))
            accounts.append((i, i % 100, r.randint(-5000, 5000), " " * 84))
        return customers, orders, events, accounts


def make(path, mib):
    if os.path.exists(path):
        sys.exit(f"{path} exists already")
    db = sqlite3.connect(path, isolation_level=None)
    db.executescript("PRAGMA page_size=4096; PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; PRAGMA cache_size=-200000;")
    db.executescript(SCHEMA)
    maker, first, step = Maker(1), 0, 20000
    while os.path.getsize(path) < mib << 20:
        db.execute("BEGIN")
        for table, rows in zip(("customers", "orders", "events", "accounts"), maker.rows(first, step)):
            db.executemany(f"INSERT INTO {table} VALUES ({','.join('?' * len(rows[0]))})", rows)
        db.execute("COMMIT")
        first += step
    db.execute("PRAGMA journal_mode=WAL").fetchall()
    db.close()


def change(path, share, seed):
    r = random.Random(seed)
    db = sqlite3.connect(path, isolation_level=None)
    last = db.execute("SELECT max(id) FROM orders").fetchone()[0]
    db.execute("BEGIN")
    for i in sorted(r.sample(range(last + 1), max(1, int(last * share)))):
        db.execute("UPDATE orders SET status=?, total=? WHERE id=?", (r.choice(KINDS), r.randint(100, 500000) / 100, i))
        db.execute("UPDATE accounts SET abalance=abalance+? WHERE aid=?", (r.randint(-100, 100), i))
    db.execute("COMMIT")
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    db.close()


def main():
    parser = argparse.ArgumentParser(description="A SQLite database for the benchmarks.")
    parser.add_argument("path")
    parser.add_argument("mib", nargs="?", type=int, default=1024)
    parser.add_argument("--change", type=float, metavar="SHARE", help="change this share of the orders and accounts")
    parser.add_argument("--seed", type=int, default=7, help="of the change")
    arguments = parser.parse_args()
    if arguments.change is None:
        make(arguments.path, arguments.mib)
    else:
        change(arguments.path, arguments.change, arguments.seed)


if __name__ == "__main__":
    main()
