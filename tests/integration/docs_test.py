#!/usr/bin/env python3
"""Documentation that runs. In docs/cli.md, docs/configuration.md, docs/runbooks/replication.md and README.md

  ```sh     is a block that runs as it stands: the blocks of a page make up one bash script (set -euo pipefail) in an
            empty folder, with varve in the PATH and nothing of this machine's settings;
  ```text   is shown only; so is every other kind of block.

The reference in docs/cli.md is what `varve docs markdown` writes; --update writes it there.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

from varve_harness import TIMEOUT, VarveTest, main, varve_binary

ROOT = Path(os.environ.get("VARVE_SOURCE", Path(__file__).resolve().parents[2]))
BEGIN = re.compile(r"<!-- reference: .*? -->\n")
END = "<!-- end of reference -->"
# A command that runs until somebody stops it is stopped, and must end well.
ENDLESS = re.compile(r"(?m)^(varve (?:log follow (?!.*(?:--once|&))|copy (?=.*--(?:every|follow))(?!.*&)).*)$")
# These need a PostgreSQL server: postgres_test.py and postgres_table_test.py try them.
BY_A_SERVER = re.compile(r"(?m)^varve (?:log (?:push|fetch) |restore .*--into-connection).*$")
STOPPED = r"timeout --foreground --preserve-status -s TERM 3 \1"


def shell_blocks(text):
    """(line, content) of every ```sh block."""
    blocks, inside, start = [], None, 0
    for number, line in enumerate(text.splitlines(), 1):
        fence = re.match(r"\s*```(.*)$", line)
        if fence and inside is None:
            inside, start = (fence.group(1).strip(), []), number
        elif fence:
            if inside[0] == "sh":
                blocks.append((start + 1, "\n".join(inside[1])))
            inside = None
        elif inside is not None:
            inside[1].append(line)
    return blocks


def with_reference(page, reference):
    begin = BEGIN.search(page)
    return page[: begin.end()] + "\n" + reference + page[page.index(END):]


class DocsTest(VarveTest):
    def run_page(self, name):
        page = ROOT / name
        blocks = shell_blocks(page.read_text())
        self.assertTrue(blocks, f"{name} has no sh block")
        work = self.folder / "work"
        work.mkdir()
        tools = self.folder / "bin"
        tools.mkdir()
        (tools / "varve").symlink_to(self.binary)
        script = "set -euo pipefail\n"
        for line, block in blocks:
            script += f"echo '### {name}:{line}' >&2\n{ENDLESS.sub(STOPPED, BY_A_SERVER.sub('true', block))}\n"
        env = {k: v for k, v in self.env.items() if not k.startswith("VARVE_")}
        env["PATH"] = f"{tools}:{env['PATH']}"
        run = subprocess.run(["bash", "-c", script], cwd=work, env=env, stdin=subprocess.DEVNULL, capture_output=True,
                             timeout=4 * TIMEOUT, check=False)
        said = run.stderr.decode(errors="replace")
        self.assertEqual(run.returncode, 0, f"{name}:\n{run.stdout.decode(errors='replace')[-3000:]}\n{said[-3000:]}")

    def test_command_line(self):
        self.run_page("docs/cli.md")

    def test_configuration(self):
        self.run_page("docs/configuration.md")

    def test_replication(self):
        self.run_page("docs/runbooks/replication.md")

    def test_readme(self):
        if (ROOT / "README.md").exists() and shell_blocks((ROOT / "README.md").read_text()):
            self.run_page("README.md")

    def test_the_reference_is_what_the_program_says(self):
        page = (ROOT / "docs/cli.md").read_text()
        self.assertEqual(page, with_reference(page, self.varve("docs", "markdown").out),
                         "docs/cli.md is not current: tests/integration/docs_test.py --update")

    def test_every_command_has_an_example(self):
        page = self.varve("docs", "markdown").out
        for section in re.split(r"(?m)^### ", page)[1:]:
            if section.startswith("varve "):
                self.assertIn("```sh\n", section, section[:200])


if __name__ == "__main__":
    if "--update" in sys.argv:
        cli = ROOT / "docs/cli.md"
        written = subprocess.run([varve_binary(), "docs", "markdown"], capture_output=True, text=True, check=True,
                                 timeout=TIMEOUT)
        cli.write_text(with_reference(cli.read_text(), written.stdout))
    else:
        main()
