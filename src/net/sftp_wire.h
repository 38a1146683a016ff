// The packets of SFTP version 3 (draft-ietf-secsh-filexfer-02) and of OpenSSH's extensions to it. Parsers
// trust nothing: anything that is not whole is kDamaged.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"

namespace varve::net {

enum class SftpType : uint8_t {
  kInit = 1,
  kVersion = 2,
  kOpen = 3,
  kClose = 4,
  kRead = 5,
  kWrite = 6,
  kLstat = 7,
  kFstat = 8,
  kOpendir = 11,
  kReaddir = 12,
  kRemove = 13,
  kMkdir = 14,
  kRmdir = 15,
  kRealpath = 16,
  kStat = 17,
  kRename = 18,
  kStatus = 101,
  kHandle = 102,
  kData = 103,
  kName = 104,
  kAttributes = 105,
  kExtended = 200,
  kExtendedReply = 201,
};

enum class SftpCode : uint32_t {
  kOk = 0,
  kEof = 1,
  kNoSuchFile = 2,
  kPermissionDenied = 3,
  kFailure = 4,
  kBadMessage = 5,
  kNoConnection = 6,
  kConnectionLost = 7,
  kUnsupported = 8,
  // Of later versions, but some servers say them in this one.
  kNoSuchPath = 10,
  kExists = 11,
  kWriteProtected = 12,
  kNoSpace = 14,
  kQuotaExceeded = 15,
};

// What is known of a file, as lstat tells it.
struct SftpStatus {
  uint64_t size = 0;
  uint32_t modified = 0;  // seconds since 1970, by the server's clock
  bool is_regular = false, is_directory = false, is_symlink = false;
  bool has_type = false;  // whether the server told what it is at all
};

struct SftpEntry {
  std::string name;
  SftpStatus status;
};

// A request under construction: append the fields, then finish().
class SftpRequest {
 public:
  SftpRequest(SftpType type, uint32_t id);  // kInit: id is the version
  SftpRequest& u32(uint32_t value);
  SftpRequest& u64(uint64_t value);
  SftpRequest& string(std::string_view text);
  SftpRequest& bytes(ByteView bytes);  // without a length before it
  ByteView finish();                   // with the length; the request stays the owner
  void reserve(size_t size) { packet_.reserve(size); }

 private:
  Buffer packet_;
};

// A packet without its length.
struct SftpReply {
  SftpType type = SftpType::kStatus;
  uint32_t id = 0;  // kVersion: the version
  Buffer packet;    // whole, from the type on
  ByteView body() const { return ByteView(packet).subspan(5); }
};
Result<SftpReply> parse_sftp_reply(Buffer packet);

struct SftpVerdict {
  SftpCode code = SftpCode::kOk;
  std::string words;  // the server's, printable and short; may be empty
};
Result<SftpVerdict> parse_sftp_status(ByteView body);
Result<std::string> parse_sftp_handle(ByteView body);
Result<ByteView> parse_sftp_data(ByteView body);  // a view into body
Result<SftpStatus> parse_sftp_attributes(ByteView body);
Result<std::vector<SftpEntry>> parse_sftp_names(ByteView body);

struct SftpExtension {
  std::string name, data;
};
Result<std::vector<SftpExtension>> parse_sftp_extensions(ByteView body);  // of kVersion

struct SftpSpace {
  uint64_t available = 0;    // bytes, for who is logged in
  uint64_t file_system = 0;  // its id
};
Result<SftpSpace> parse_sftp_space(ByteView body);  // of statvfs@openssh.com

struct SftpLimits {
  uint64_t packet = 0, read = 0, write = 0, handles = 0;  // 0: no limit is told
};
Result<SftpLimits> parse_sftp_limits(ByteView body);  // of limits@openssh.com

}  // namespace varve::net
