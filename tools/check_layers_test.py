#!/usr/bin/env python3
"""Proves that check_layers.py refuses what it says it refuses, on small trees made for it."""

import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

TOOL = Path(__file__).resolve().parent / "check_layers.py"

CMAKE = {
    "base": "varve_module(base SOURCES error.cc)",
    "os": "varve_module(os SOURCES file.cc DEPENDS base TESTS file_test.cc)",
    "store": "varve_module(store SOURCES store.cc open.cc local/local.cc s3/s3.cc wrap/retry.cc DEPENDS os)",
    "repo": "varve_module(repo SOURCES pack.cc DEPENDS base store)",
    "engine": "varve_module(engine SOURCES sqlite/source.cc DEPENDS base)",
}
FILES = {
    "base/error.cc": '#include "base/error.h"\n',
    "base/error.h": "#include <string>\n",
    "os/file.cc": '#include "os/file.h"\n#include "base/error.h"\n',
    "os/file.h": "",
    "os/file_test.cc": '#include "contract/contract.h"\n#include <sqlite3.h>\n',
    "store/store.h": "",
    "store/open.h": "",
    "store/store.cc": '#include "store/store.h"\n',
    "store/open.cc": '#include "store/local/local.h"\n#include "store/s3/s3.h"\n#include "store/wrap/retry.h"\n',
    "store/local/local.h": '#include "store/store.h"\n',
    "store/local/local.cc": '#include "store/local/local.h"\n#include "os/file.h"\n',
    "store/s3/s3.h": "",
    "store/s3/s3.cc": '#include "store/s3/s3.h"\n',
    "store/wrap/retry.h": "",
    "store/wrap/retry.cc": '#include "store/wrap/retry.h"\n#include "store/store.h"\n',
    "repo/pack.cc": '#include "repo/format.pb.h"\n#include "store/store.h"\n#include <google/protobuf/message_lite.h>\n',
    "engine/engine.h": "",
    "engine/sqlite/source.cc": '#include "engine/engine.h"\n#include <sqlite3.h>\n',
}


class CheckLayers(unittest.TestCase):
    def breaches(self, files=None, cmake=None):
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            everything = {f"src/{p}": t for p, t in {**FILES, **(files or {})}.items()}
            everything |= {f"src/{m}/CMakeLists.txt": t for m, t in {**CMAKE, **(cmake or {})}.items()}
            everything["tests/contract/contract.h"] = ""
            for path, text in everything.items():
                (root / path).parent.mkdir(parents=True, exist_ok=True)
                (root / path).write_text(text)
            run = subprocess.run([sys.executable, TOOL, root], capture_output=True, text=True, check=False)
            self.assertEqual(run.stderr, "")
            lines = run.stdout.splitlines()
            self.assertEqual(run.returncode, 1 if lines else 0)
            return lines

    def assert_refused(self, where, why, files=None, cmake=None):
        lines = self.breaches(files, cmake)
        self.assertEqual(len(lines), 1, lines)
        self.assertIn(where, lines[0])
        self.assertIn(why, lines[0])

    def test_a_good_tree_passes(self):
        self.assertEqual(self.breaches(), [])

    def test_upward(self):
        self.assert_refused("src/base/error.h:2", "it is above",
                            {"base/error.h": '#include <string>\n#include "repo/pack.h"\n'})

    def test_sideways(self):
        self.assert_refused("src/repo/pack.cc:1", "side by side", {"repo/pack.cc": '#include "engine/engine.h"\n'})

    def test_drivers_do_not_know_each_other(self):
        self.assert_refused("src/store/s3/s3.cc:1", "must not know local/",
                            {"store/s3/s3.cc": '#include "store/local/local.h"\n'})
        self.assert_refused("src/store/wrap/retry.cc:1", "must not know s3/",
                            {"store/wrap/retry.cc": '#include "store/s3/s3.h"\n'})
        self.assert_refused("src/store/store.cc:1", "only store/open.cc does",
                            {"store/store.cc": '#include "store/local/local.h"\n'})

    def test_drivers_are_hidden_from_above(self):
        self.assert_refused("src/repo/pack.cc:1", "only open.h gives one",
                            {"repo/pack.cc": '#include "store/local/local.h"\n'})

    def test_the_common_part_knows_no_engine(self):
        self.assert_refused("src/engine/engine.h:1", "must not know sqlite/",
                            {"engine/engine.h": '#include "engine/sqlite/source.h"\n'})

    def test_libraries_stay_in_their_module(self):
        for include, where in [("<sqlite3.h>", "repo/pack.cc"), ("<openssl/evp.h>", "repo/pack.cc"),
                               ("<sodium.h>", "os/file.h"), ("<zstd.h>", "repo/pack.cc"), ("<xxhash.h>", "os/file.cc"),
                               ("<lz4hc.h>", "os/file.cc"), ("<google/protobuf/message.h>", "store/store.h"),
                               ("<toml++/toml.h>", "repo/pack.cc"), ("<CLI/CLI.hpp>", "store/open.cc")]:
            with self.subTest(include=include):
                self.assert_refused(f"src/{where}:1", "stays within", {where: f"#include {include}\n"})

    def test_generated_headers_stay_low(self):
        self.assert_refused("src/store/store.h:1", "stays within", {"store/store.h": '#include "repo/format.pb.h"\n'})

    def test_includes_are_written_from_src(self):
        self.assert_refused("src/os/file.cc:1", "not written from src/", {"os/file.cc": '#include "file.h"\n'})
        self.assert_refused("src/os/file.cc:1", "not written from src/",
                            {"os/file.cc": '#include "../base/error.h"\n'})
        self.assert_refused("src/os/file.cc:1", "with quotes", {"os/file.cc": "#include <base/error.h>\n"})

    def test_headers_of_tests_are_for_tests(self):
        helper = {"repo/test_pack.h": '#include "store/local/local.h"\n'}
        self.assertEqual(self.breaches(helper), [])
        self.assert_refused("src/repo/pack.cc:1", "for tests only",
                            {**helper, "repo/pack.cc": '#include "repo/test_pack.h"\n'})

    def test_a_comment_is_no_include(self):
        self.assertEqual(self.breaches({"base/error.h": '// #include "repo/x.h"\n/*\n#include "repo/x.h"\n*/\n'}), [])

    def test_cmake_against_the_order(self):
        self.assert_refused("src/base/CMakeLists.txt", "it is above",
                            cmake={"base": "varve_module(base SOURCES error.cc DEPENDS os)"})
        self.assert_refused("src/base/CMakeLists.txt", "no module",
                            cmake={"base": "varve_module(base SOURCES error.cc DEPENDS bose)"})

    def test_cmake_variables(self):
        lists = "set(depends base)\nif(X)\n list(APPEND depends engine)\nendif()\n"
        self.assert_refused("src/repo/CMakeLists.txt", "side by side", cmake={
            "repo": lists + "varve_module(repo SOURCES pack.cc DEPENDS ${depends} store)"})

    def test_an_include_that_cmake_does_not_cover(self):
        self.assert_refused("src/os/file.cc:2", "does not depend on base",
                            cmake={"os": "varve_module(os SOURCES file.cc TESTS file_test.cc)",
                                   "store": CMAKE["store"] + "\n"})

    def test_a_file_that_cmake_does_not_name(self):
        self.assert_refused("src/os/lost_test.cc", "no CMakeLists.txt names it", {"os/lost_test.cc": ""})

    def test_an_unknown_module(self):
        self.assert_refused("src/util/x.h", "in no layer", {"util/x.h": ""})


if __name__ == "__main__":
    unittest.main()
