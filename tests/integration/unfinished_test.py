"""What puts leave that never end is cleaned away by varve gc: temporary files in a folder, unfinished uploads in a bucket."""

import os
import re
import time
import urllib.parse

from varve_harness import VarveTest, main


class Unfinished(VarveTest):
    def setUp(self):
        super().setUp()
        self.init()
        self.sql("app.db", "CREATE TABLE t(x); INSERT INTO t VALUES (1);")
        self.varve("backup", "sqlite:app.db")

    def gc(self, *arguments):
        return self.varve("gc", *arguments, "--json").json["gc"]["unfinished_removed"]

    def test_temporary_files(self):
        if not self.place.is_folder:
            self.skipTest("a folder's")
        leftover = self.repo / ".varve-tmp" / "1-0123456789abcdef-7"
        leftover.write_bytes(b"half a pack")
        self.assertEqual(self.gc(), 0, "it may be written to still")
        self.assertEqual(self.gc("--unfinished", "0s", "--dry-run"), 0)
        self.assertTrue(leftover.exists())
        day_ago = time.time() - 25 * 3600
        os.utime(leftover, (day_ago, day_ago))
        self.assertEqual(self.gc("--dry-run"), 0)
        self.varve("gc")
        self.assertFalse(leftover.exists())
        leftover.write_bytes(b"half a pack")
        self.assertIn("1 put left", self.varve("gc", "--unfinished", "0s").out)
        self.assertFalse(leftover.exists())
        self.varve("verify")

    def test_uploads(self):
        if not self.place.url.startswith("s3://"):
            self.skipTest("a bucket's")
        import s3
        s3.SECRET_KEY = os.environ["AWS_SECRET_ACCESS_KEY"]
        port = int(re.search(r"127\.0\.0\.1:(\d+)", self.place.url)[1])
        bucket = urllib.parse.urlsplit(self.place.url).netloc

        def begin(key):
            s3.request(port, "POST", f"/{bucket}/{key}", "uploads=")

        def pending(prefix):
            return s3.request(port, "GET", f"/{bucket}", f"prefix={urllib.parse.quote(prefix, safe='')}&uploads=").count(b"<Upload>")

        for n in range(3):
            begin(f"{self.place.prefix}/packs/0b/orphan{n}")
        begin(f"{self.place.prefix}-beside/packs/0b/another")
        self.assertEqual(self.gc(), 0, "they are young")
        self.assertEqual(pending(self.place.prefix + "/"), 3)
        time.sleep(2)
        self.assertEqual(self.gc("--unfinished", "1s", "--dry-run"), 0)
        self.assertIn("3 puts left", self.varve("gc", "--unfinished", "1s").out)
        self.assertEqual(pending(self.place.prefix + "/"), 0)
        self.assertEqual(pending(self.place.prefix + "-beside/"), 1, "another repository's")
        self.varve("verify")


if __name__ == "__main__":
    main()
