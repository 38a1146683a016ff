// SQLite's own VFS for readers, with one courtesy: a reader that meets a half-written wal-index waits for the
// writer to finish it. SQLite's way is to take the write lock to see whether that writer died
// (walIndexReadHdr() in https://sqlite.org/src/file/src/wal.c), and a program without a busy timeout that
// begins to write at that instant is refused.
#pragma once

namespace varve::engine::sqlite {

// For sqlite3_open_v2(); registered when first asked for.
const char* reader_vfs();

// While it lives, this thread's readers are not given a WAL's write lock until they have gone without it for
// so long that the writer must be dead, and the index theirs to mend. Not for the first transaction of a
// connection, which may have to make the index.
class WriterFirst {
 public:
  WriterFirst();
  ~WriterFirst();
  WriterFirst(const WriterFirst&) = delete;
  WriterFirst& operator=(const WriterFirst&) = delete;
};

}  // namespace varve::engine::sqlite
