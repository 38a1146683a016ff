#!/usr/bin/env python3
"""The command line as a person and a program meet it: errors and exit statuses, JSON as documented, completions, man page."""

import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import time
from pathlib import Path

from varve_harness import PASSPHRASE, TIMEOUT, VarveTest, main

ROOT = Path(os.environ.get("VARVE_SOURCE", Path(__file__).resolve().parents[2]))


def shape(value):
    """The keys of a JSON value, all the way down; of a list its first element's."""
    if isinstance(value, dict):
        return {k: shape(v) for k, v in value.items()}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return None


def documented():
    """'list --json' → the shape of its example in docs/cli.md."""
    page = (ROOT / "docs/cli.md").read_text()
    found = re.findall(r"(?ms)^#### (.*?)\n\n```json\n(.*?)```", page)
    return {title: json.loads(text) for title, text in found}


class CommandLine(VarveTest):
    def small_database(self, name="app.db"):
        self.sql(name, "CREATE TABLE orders(id INTEGER PRIMARY KEY, item TEXT); "
                       "INSERT INTO orders(item) VALUES ('tea'), ('milk'); CREATE TABLE customers(name TEXT);")

    def fails(self, status, message, hint, *arguments, **options):
        self.assertFails(self.run_varve(*arguments, **options), status, message, hint)
        outcome = self.run_varve("--json", *arguments, **options)
        self.assertEqual(outcome.status, status, msg=f"\n{outcome}")
        error = outcome.json["error"]
        self.assertEqual(outcome.json["format"], 1)
        self.assertIn(message, error["message"])
        self.assertIn(hint, error["hint"])

    # --- wrong usage: 2 ----------------------------------------------------------------------------------------
    def test_wrong_usage(self):
        self.small_database()
        for arguments, message, hint in [
            (["bakcup", "app.db"], 'unknown command "varve bakcup"', 'did you mean "varve backup"?'),
            (["backup", "app.db", "--tpye", "full"], "unknown option --tpye", "did you mean --type?"),
            (["backup", "app.db", "--type", "ful"], '"ful" is none of', "varve backup --help"),
            (["backup", "app.db", "--level", "x"], '"x" is not a whole number', "varve backup --help"),
            (["backup", "app.db", "--level", "99"], "--level 99 is out of bounds", "from 1 to 19"),
            (["backup", "app.db", "more"], 'does not expect "more"', "varve backup --help"),
            (["log"], "varve log needs a command", "follow"),
            (["key", "remove"], "varve key remove needs KEY", "--help"),
            (["restore", "app.db"], "where to?", "varve "),
            (["restore", "app.db", "--table", "orders"], "where shall the table go?", "--into app.db"),
            (["restore", "app.db", "--target", "x", "--to", "soon"], "soon", "5 minutes ago"),
            (["restore", "app.db", "--target", "x", "--into", "y", "--table", "t"], "exclude each other", "--target"),
            (["history", "app.db", "--since", "whenever"], "--since", "5 minutes ago"),
            (["gc", "--grace", "long"], "--grace", ""),
            (["list", "--repo", "nosuch"], 'no repository called "nosuch"', "./nosuch"),
            (["list", "--repo", "ftp://host/x"], "ftp", "file:///"),
            (["list", "--passphrase-file", "a", "--key-file", "b"], "more than one way", "keep one"),
            (["list", "--passphrase-file", "nosuch"], "there is no file nosuch", "--passphrase-file"),
            (["init", "--repo", "word"], 'no repository called "word"', "./word"),
        ]:
            with self.subTest(" ".join(arguments)):
                self.fails(2, message, hint, *arguments)
        self.assertFalse(self.repo.exists())

    def test_no_repository_named(self):
        self.small_database()
        self.fails(2, "no repository is named", "backup app.db --repo file:///srv/backups", "backup", "app.db",
                   env={"VARVE_REPO": None})

    def test_help_is_no_error(self):
        commands = re.findall(r"(?m)^### varve (.*)$", self.varve("docs", "markdown").out)
        self.assertGreater(len(commands), 20)
        for command in commands:
            help_text = self.varve(*command.split(), "--help").out
            self.assertIn(f"Usage: varve {command}", help_text)
            self.assertRegex(help_text, r"(?m)^Examples:\n  # .*\n  varve ")
            self.assertLessEqual(max(len(line) for line in help_text.splitlines() if "varve" not in line), 110)
        self.assertIn("Exit status:", self.varve("--help").out)
        self.assertEqual(self.varve(status=2).out, self.varve("--help").out)
        self.assertRegex(self.varve("--version").out, r"^varve \d+\.\d+\.\d+\n$")

    # --- other failures ----------------------------------------------------------------------------------------
    def test_no_repository_there(self):
        self.fails(3, "there is no folder", "", "list")
        self.repo.mkdir()
        self.fails(3, "there is no repository at", "varve init", "list")

    def test_wrong_and_missing_keys(self):
        self.init()
        self.fails(2, "wrong passphrase", "VARVE_PASSPHRASE", "list", env={"VARVE_PASSPHRASE": "wrong"})
        self.fails(2, "no passphrase is given", "--passphrase-file", "list", env={"VARVE_PASSPHRASE": None})
        self.path("empty").write_text("\n")
        self.fails(2, "empty is empty", "one line", "list", "--passphrase-file", "empty")
        self.path("two").write_text("a\nb\n")
        self.fails(2, "more than one line", "one line", "list", "--passphrase-file", "two")
        self.fails(2, "ended with 1", "", "list", "--passphrase-command", "false")

    def test_sources_that_are_not(self):
        self.init()
        self.fails(3, "there is no backup in this repository yet", "varve backup", "show", "latest")
        self.small_database()
        self.varve("backup", "app.db")
        name = self.varve("list", "--json").json["sources"][0]["name"]
        self.assertRegex(name, r"^app-[0-9a-f]{8}$")
        self.fails(3, 'no source "nosuch"', name, "list", "nosuch")
        self.fails(3, f'no source "{name[:-1]}"', f"did you mean {name}?", "list", name[:-1])
        self.fails(3, "neither a file nor a known source", name, "backup", "nosuch.db")
        self.fails(3, 'has no backup "1999"', "varve list", "show", "app.db", "1999")
        self.fails(3, 'has no backup "1999"', "varve list", "restore", "app.db", "--backup", "1999", "--target", "x.db")
        self.fails(2, "nothing says what to keep", "--keep-last", "expire", "app.db")
        self.path("text.db").write_text("this is no database, whatever its name is " * 50)
        self.fails(6, "not a SQLite database", "", "backup", "text.db")
        self.fails(8, "cannot be recovered", "nearest", "restore", "app.db", "--to", "2001-01-01T00:00:00Z", "--target", "x.db")
        self.fails(7, "exists", "--force", "restore", "app.db", "--target", "app.db")
        self.assertFalse(self.path("x.db").exists())

    def test_an_unwritable_folder(self):
        if os.geteuid() == 0 and subprocess.run(["chattr", "+i", str(self.folder / "home")], capture_output=True,
                                                timeout=10, check=False).returncode != 0:
            self.repo = Path("/proc/varve-test")  # root may write anywhere else
            self.env["VARVE_REPO"] = str(self.repo)
            outcome = self.run_varve("init")
        else:
            try:
                if os.geteuid() != 0:
                    (self.folder / "home").chmod(0o500)
                outcome = self.run_varve("init", "--repo", self.folder / "home" / "repository")
            finally:
                subprocess.run(["chattr", "-i", str(self.folder / "home")], capture_output=True, timeout=10, check=False)
                (self.folder / "home").chmod(0o700)
        self.assertIn(outcome.status, (3, 5), msg=f"\n{outcome}")
        self.assertRegex(outcome.err, "^error: ")

    def test_a_full_standard_output_is_told(self):
        self.init()
        with open("/dev/full", "wb") as full:
            run = subprocess.run([self.binary, "docs", "markdown"], env=self.env, cwd=self.folder, stdout=full,
                                 stderr=subprocess.PIPE, timeout=TIMEOUT, check=False)
        self.assertEqual(run.returncode, 5)
        self.assertIn(b"error: cannot write to standard output", run.stderr)

    # --- keys --------------------------------------------------------------------------------------------------
    def test_init_by_every_kind_of_key(self):
        no_passphrase = {"VARVE_PASSPHRASE": None}
        self.varve("init", "--repo", "./a", "--key-file", "a.key", "--generate", env=no_passphrase)
        self.assertEqual(self.path("a.key").stat().st_mode & 0o777, 0o600)
        self.varve("list", "--repo", "./a", "--key-file", "a.key", env=no_passphrase)
        self.varve("list", "--repo", "./a", "--key-command", "cat a.key", env=no_passphrase)
        self.fails(2, "there is no key file b.key", "--generate", "init", "--repo", "./b", "--key-file", "b.key",
                   env=no_passphrase)
        self.fails(7, "a.key exists already", "", "init", "--repo", "./b", "--key-file", "a.key", "--generate",
                   env=no_passphrase)
        self.path("p").write_text("a passphrase\n")
        self.path("p").chmod(0o600)
        self.varve("init", "--repo", "./c", "--passphrase-file", "p", env=no_passphrase)
        self.varve("list", "--repo", "./c", "--passphrase-command", "echo 'a passphrase'", env=no_passphrase)
        self.varve("init", "--repo", "./d", "--encryption", "none", env=no_passphrase)
        self.varve("list", "--repo", "./d", env=no_passphrase)
        self.fails(2, "not to be encrypted", "VARVE_PASSPHRASE", "init", "--repo", "./e", "--encryption", "none")
        self.fails(2, "does not fit", "", "init", "--repo", "./e", "--encryption", "key-file", "--passphrase-file", "p",
                   env=no_passphrase)

    def test_what_only_a_cluster_has_is_refused(self):
        self.sql("app.db", "CREATE TABLE t(a)")
        self.init()
        self.varve("backup", "app.db")
        for option in (["--delta"], ["--standby"], ["--start"], ["--port", "5433"], ["--action", "pause"],
                       ["--tablespace-map", "/a=/b"]):
            self.assertFails(self.run_varve("restore", "app.db", "--target", "x.db", *option), 2, "for PostgreSQL")
        self.assertFalse(self.path("x.db").exists())

    def test_the_kit(self):
        kit = self.init("--kit", "kit.txt", "--json").json["init"]
        self.assertEqual(kit["kit"], "kit.txt")
        text = self.path("kit.txt").read_text()
        self.assertEqual(self.path("kit.txt").stat().st_mode & 0o777, 0o600)
        self.assertIn("RECOVERY KIT", text)
        self.assertNotIn(PASSPHRASE, text)
        (self.repo / "varve.json").unlink()
        shutil.rmtree(self.repo / "keys")
        self.assertNotEqual(self.run_varve("list").status, 0)
        self.varve("key", "restore", "kit.txt")
        self.varve("list")

    def test_adding_and_removing_keys(self):
        self.init()
        self.varve("key", "add", "--new-key-file", "spare.key", "--generate", "--label", "spare")
        keys = self.varve("key", "list", "--json").json["keys"]
        self.assertEqual(sorted(k["kind"] for k in keys), ["key-file", "passphrase"])
        self.varve("list", "--key-file", "spare.key")
        self.varve("key", "remove", "spare", env={"VARVE_PASSPHRASE": PASSPHRASE})
        self.fails(2, "", "", "list", "--key-file", "spare.key")
        self.fails(7, "", "", "key", "remove", [k["id"] for k in keys if k["kind"] == "passphrase"][0])
        self.fails(3, '"nosuch" names none', "there are:", "key", "remove", "nosuch")

    def test_the_passphrase_does_not_reach_other_programs(self):
        self.init()
        self.varve("list", "--passphrase-command", "env", env={"SHOWN": "yes"}, status=2)
        tell = self.path("tell")
        tell.write_text(f"#!/bin/sh\nenv > '{self.path('seen')}'\ntr '\\0' '\\n' < /proc/$PPID/environ >> '{self.path('seen')}'\n"
                        f"echo '{PASSPHRASE}'\n")
        tell.chmod(0o700)
        self.varve("list", "--passphrase-command", str(tell))
        self.assertNotIn(PASSPHRASE, self.path("seen").read_text())
        self.assertIn("VARVE_REPO", self.path("seen").read_text())

    def test_the_terminal_is_asked_without_echo(self):
        self.init()
        pid, terminal = pty.fork()
        if pid == 0:
            os.chdir(self.folder)
            env = {k: v for k, v in self.env.items() if k != "VARVE_PASSPHRASE"}
            os.execve(self.binary, [self.binary, "list"], env)
        seen = b""
        typed = False
        end = time.monotonic() + TIMEOUT
        while time.monotonic() < end:
            if not select.select([terminal], [], [], 0.2)[0]:
                continue
            try:
                part = os.read(terminal, 4096)
            except OSError:
                break
            if not part:
                break
            seen += part
            if b"passphrase of file://" in seen and b": " in seen and not typed:
                time.sleep(0.3)  # the echo is off just after the question
                os.write(terminal, PASSPHRASE.encode() + b"\n")
                typed = True
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        os.close(terminal)
        self.assertEqual(status, 0, seen)
        self.assertNotIn(PASSPHRASE.encode(), seen)
        self.assertIn(b"no backups yet", seen)

    # --- configuration -----------------------------------------------------------------------------------------
    def test_names_from_the_configuration(self):
        self.small_database()
        self.path("secret").write_text("from the configuration\n")
        self.path("secret").chmod(0o600)
        self.path("varve.toml").write_text(
            '[repository.main]\nurl = "store"\npassphrase_file = "secret"\n'
            '[source.shop]\nengine = "sqlite"\npath = "app.db"\nrepositories = ["main"]\nplan = "p"\n'
            "[plan.p]\nretention = { last = 1 }\n")
        env = {"VARVE_PASSPHRASE": None, "VARVE_REPO": None}
        self.varve("init", env=env)
        elsewhere = {"cwd": self.folder / "home", "env": {**env, "VARVE_CONFIG": str(self.path("varve.toml"))}}
        first = self.varve("backup", "shop", "--json", **elsewhere).json["backup"]
        self.assertEqual(first["source"], "shop")
        second = self.varve("backup", "--json", **elsewhere).json["backup"]
        # The same database by its address is the same source.
        third = self.varve("backup", f"sqlite:{self.path('app.db')}", "--json", **elsewhere).json["backup"]
        self.assertEqual([second["source"], third["source"]], ["shop", "shop"])
        kept = self.varve("expire", "shop", "--json", **elsewhere).json["expire"]
        self.assertEqual([b["id"] for b in kept["backups"] if b["keep"]], [third["id"]])
        # Flag before environment before configuration.
        self.fails(3, "there is no folder", "", "list", "--repo", "./nosuch", **elsewhere)
        self.fails(2, "wrong passphrase", "", "list", env={**env, "VARVE_PASSPHRASE": "wrong"})

    def test_a_repository_that_lost_its_encryption_is_refused(self):
        self.path("varve.toml").write_text('[repository.main]\nurl = "store"\n')
        env = {"VARVE_PASSPHRASE": None, "VARVE_REPO": None}
        self.varve("init", "--encryption", "none", env=env)
        self.fails(2, "is not encrypted, and the configuration says it is", "somebody put another", "list", env=env)

    # --- JSON --------------------------------------------------------------------------------------------------
    def test_json_is_as_documented(self):
        self.small_database()
        told = documented()
        outputs = {}

        def run(title, *arguments, status=0):
            outcome = self.varve(*arguments, "--json", status=status)
            outputs[title] = [json.loads(line) for line in outcome.out.splitlines()][-1] if title == "log follow --json" \
                else outcome.json
            self.assertEqual(outputs[title]["format"], 1)
            return outputs[title]

        run("init --json", "init")
        run("check --json", "check", "app.db")
        run("backup --json", "backup", "app.db")
        run("show --json", "show", "latest")
        run("hold place --json", "hold", "place", "latest", "--reason", "a test")
        run("hold list --json", "hold", "list")
        run("log follow --json", "log", "follow", "app.db", "--once")
        self.sql("app.db", "DELETE FROM orders WHERE id = 1")
        run("log follow --json", "log", "follow", "app.db", "--once")
        run("list --json", "list")
        run("restore --json", "restore", "--target", "back.db")
        run("restore --table --json", "restore", "--table", "orders", "--target", "table.db")
        run("restore --dry-run --json", "restore", "--dry-run")
        run("history --json", "history")
        run("expire --json", "expire", "--keep-last", "1", "--dry-run")
        run("gc --json", "gc", "--dry-run")
        run("key list --json", "key", "list")
        run("key add --json", "key", "add", "--new-key-file", "k", "--generate")
        run("key kit --json", "key", "kit", "--kit", "kit.txt")
        run("copy --json", "copy", "--to", self.path("offsite"))
        run("verify --json", "verify")
        run("status --json", "status")
        outputs["Errors"] = self.run_varve("list", "nosuch", "--json").json
        self.assertEqual(sorted(told), sorted(outputs))
        for title, example in told.items():
            with self.subTest(title):
                self.compare(shape(example), shape(outputs[title]), title)

    def compare(self, told, given, where):
        """What is documented is there, and what is there is documented (lists may be empty on either side)."""
        if isinstance(told, dict) and isinstance(given, dict):
            self.assertEqual(sorted(told), sorted(given), where)
            for key in told:
                self.compare(told[key], given[key], f"{where}.{key}")
        elif isinstance(told, list) and isinstance(given, list) and told and given:
            self.compare(told[0], given[0], where + "[]")

    def test_json_survives_names_that_are_not_utf8(self):
        self.init()
        name = os.fsdecode(b"caf\xe9\x1b[31m.db")
        shutil.copy(self.make_plain(), self.path(name))
        outcome = self.varve("backup", os.fsencode(str(self.path(name))).decode("utf-8", "surrogateescape"), "--json")
        self.assertIn("\ufffd", outcome.json["backup"]["address"])
        text = self.varve("list").out
        self.assertNotIn("\x1b", text)

    def make_plain(self):
        self.sql("plain.db", "CREATE TABLE t(a); INSERT INTO t VALUES (1);", wal=False)
        return self.path("plain.db")

    def test_quiet_and_json_write_nothing_else(self):
        self.small_database()
        self.assertEqual(self.varve("init", "--quiet").out, "")
        outcome = self.varve("backup", "app.db", "--quiet")
        self.assertEqual((outcome.out, outcome.err), ("", ""))
        outcome = self.varve("backup", "app.db", "--json")
        self.assertEqual(outcome.err, "")
        outcome.json

    # --- how work ends -----------------------------------------------------------------------------------------
    def test_following_ends_well_when_stopped(self):
        self.small_database()
        self.init()
        for signal_number in (signal.SIGTERM, signal.SIGINT):
            running = self.start("log", "follow", "app.db")
            self.eventually(lambda: self.varve("list", "--json").json["sources"]
                            and any(w["live"] for w in self.varve("list", "--json").json["sources"][0]["windows"]),
                            what="following")
            self.fails(7, "", "", "log", "follow", "app.db")
            self.sql("app.db", "INSERT INTO orders(item) VALUES ('salt')")
            self.assertEqual(running.stop(signal_number), 0, str(running))
            self.assertIn("followed app.db", running.out)
        self.varve("restore", "app.db", "--target", "back.db")
        self.assertSameDatabase("app.db", "back.db")

    def test_the_way_back_is_told_and_works(self):
        self.small_database()
        self.init()
        self.varve("log", "follow", "app.db", "--once")
        running = self.start("log", "follow", "app.db")
        self.eventually(lambda: any(w["live"] for w in self.varve("list", "--json").json["sources"][0]["windows"]),
                        what="following")
        before = self.dump("app.db")
        self.sql("app.db", "DROP TABLE orders")
        self.eventually(lambda: "drop_table" in self.varve("history").out, what="the event")
        running.stop()
        text = self.varve("history", "app.db").out
        told = re.search(r"to go back to just before .*:\n  varve (.*)$", text, re.MULTILINE)
        self.assertTrue(told, text)
        self.varve(*told.group(1).split())
        self.assertEqual(self.dump("restored.db"), before)

    def test_interrupted(self):
        self.sql("big.db", "CREATE TABLE t(a); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000) "
                           "INSERT INTO t SELECT randomblob(1000) FROM n;")
        self.init()
        running = self.start("backup", "big.db", "--limit-rate", "1MiB")
        self.eventually(lambda: (self.repo / "pins").exists() and any((self.repo / "pins").iterdir()), what="the backup's pin")
        self.assertEqual(running.stop(signal.SIGINT), 130, str(running))
        self.assertIn("error: ", running.err)
        self.assertEqual(self.varve("list", "--json").json["sources"], [])

    def test_status_answers_the_four_questions(self):
        self.small_database()
        self.init()
        self.varve("backup", "app.db")
        text = self.varve("status").out
        for question in ("can I get it back?      yes", "to which moment?", "how long will it take?", "last proven?            never"):
            self.assertIn(question, text)
        self.varve("verify")
        self.assertNotIn("never", self.varve("status").out)
        status = self.varve("status", "--json").json["status"]["sources"][0]
        self.assertTrue(status["recoverable"])
        self.assertIsNotNone(status["proven_at"])

    # --- what is generated from the table of commands ----------------------------------------------------------
    def shell(self, *argv, input=None):
        return subprocess.run(argv, input=input, capture_output=True, text=True, timeout=TIMEOUT, check=False,
                              env={**self.env, "PATH": f"{Path(self.binary).parent}:{self.env['PATH']}", "TERM": "dumb"})

    def completion(self, shell):
        path = self.path(f"completion.{shell}")
        path.write_text(self.varve("completion", shell).out)
        return path

    def test_bash_completion(self):
        script = self.completion("bash")

        def complete(*words):
            run = self.shell("bash", "-ec", f"source {script}; COMP_WORDS=({' '.join(map(repr, words))}); "
                                            f"COMP_CWORD={len(words) - 1}; _varve; printf '%s\\n' \"${{COMPREPLY[@]}}\"")
            self.assertEqual((run.returncode, run.stderr), (0, ""))
            return run.stdout.split()

        self.assertEqual(complete("varve", "ba"), ["backup"])
        self.assertEqual(complete("varve", "log", ""), ["follow", "push", "fetch"])
        self.assertEqual(complete("varve", "backup", "--type", "in"), ["incremental"])
        self.assertIn("--passphrase-file", complete("varve", "backup", "--pass"))
        self.assertNotIn("docs", complete("varve", ""))
        self.assertEqual(complete("varve", "--repo", ""), [])

    def test_zsh_completion(self):
        script = self.completion("zsh")
        run = self.shell("zsh", "-fc", f"zmodload zsh/zpty; autoload -Uz compinit; compinit -u -D; source {script}; "
                                       "print ${_comps[varve]}")
        self.assertEqual((run.returncode, run.stdout.strip(), run.stderr), (0, "_varve", ""))
        self.assertEqual(self.shell("zsh", "-n", str(script)).stderr, "")

    def test_fish_completion(self):
        script = self.completion("fish")
        for line, expected in [("varve ba", "backup"), ("varve backup --type inc", "incremental"), ("varve log ", "follow")]:
            run = self.shell("fish", "--no-config", "-c", f"source {script}; complete -C '{line}'")
            self.assertEqual((run.returncode, run.stderr), (0, ""))
            self.assertIn(expected, run.stdout)

    def test_completion_of_another_shell(self):
        self.fails(2, "no completions", "bash, zsh, fish", "completion", "tcsh")

    def test_man_page(self):
        page = self.path("varve.1")
        page.write_text(self.varve("docs", "man").out)
        run = self.shell("mandoc", "-T", "lint", "-W", "warning", str(page))
        self.assertEqual((run.returncode, run.stdout), (0, ""), run.stdout)
        text = self.shell("mandoc", "-T", "utf8", str(page)).stdout
        for section in ("NAME", "EXIT STATUS", "ENVIRONMENT"):
            self.assertIn(section, re.sub(r".\x08", "", text))


if __name__ == "__main__":
    main()
