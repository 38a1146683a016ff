#include "net/sftp_wire.h"

#include "base/text.h"

namespace varve::net {
namespace {

constexpr uint32_t kHasSize = 1, kHasOwner = 2, kHasPermissions = 4, kHasTimes = 8, kHasExtended = 0x80000000;
constexpr uint32_t kTypeMask = 0170000, kRegular = 0100000, kDirectory = 0040000, kSymlink = 0120000;
constexpr size_t kMostWords = 200;
constexpr size_t kMostHandle = 256;
constexpr size_t kMostExtensions = 256;

Result<ByteView> take_string(ByteReader& reader) {
  TRY_ASSIGN(const uint32_t size, reader.be<uint32_t>());
  return reader.take(size);
}

Result<SftpStatus> take_attributes(ByteReader& reader) {
  SftpStatus out;
  TRY_ASSIGN(const uint32_t flags, reader.be<uint32_t>());
  if (flags & kHasSize) {
    TRY_ASSIGN(out.size, reader.be<uint64_t>());
  }
  if (flags & kHasOwner) TRY_OK(reader.take(8));
  if (flags & kHasPermissions) {
    TRY_ASSIGN(const uint32_t mode, reader.be<uint32_t>());
    const uint32_t type = mode & kTypeMask;
    out.has_type = type != 0;
    out.is_regular = type == kRegular;
    out.is_directory = type == kDirectory;
    out.is_symlink = type == kSymlink;
  }
  if (flags & kHasTimes) {
    TRY_OK(reader.take(4));
    TRY_ASSIGN(out.modified, reader.be<uint32_t>());
  }
  if (flags & kHasExtended) {
    TRY_ASSIGN(const uint32_t count, reader.be<uint32_t>());
    if (count > kMostExtensions) return fail(Code::kDamaged, "too many attributes");
    for (uint32_t i = 0; i < 2 * count; ++i) TRY_OK(take_string(reader));
  }
  return out;
}

}  // namespace

SftpRequest::SftpRequest(SftpType type, uint32_t id) {
  packet_.resize(4);
  packet_.push_back(static_cast<std::byte>(type));
  u32(id);
}

SftpRequest& SftpRequest::u32(uint32_t value) {
  std::byte out[4];
  store_be(out, value);
  append(packet_, out);
  return *this;
}

SftpRequest& SftpRequest::u64(uint64_t value) {
  std::byte out[8];
  store_be(out, value);
  append(packet_, out);
  return *this;
}

SftpRequest& SftpRequest::string(std::string_view text) {
  u32(static_cast<uint32_t>(text.size()));
  append(packet_, as_bytes(text));
  return *this;
}

SftpRequest& SftpRequest::bytes(ByteView bytes) {
  append(packet_, bytes);
  return *this;
}

ByteView SftpRequest::finish() {
  store_be(packet_.data(), static_cast<uint32_t>(packet_.size() - 4));
  return packet_;
}

Result<SftpReply> parse_sftp_reply(Buffer packet) {
  ByteReader reader(packet);
  TRY_ASSIGN(const ByteView type, reader.take(1));
  TRY_ASSIGN(const uint32_t id, reader.be<uint32_t>());
  return SftpReply{static_cast<SftpType>(type[0]), id, std::move(packet)};
}

Result<SftpVerdict> parse_sftp_status(ByteView body) {
  ByteReader reader(body);
  TRY_ASSIGN(const uint32_t code, reader.be<uint32_t>());
  SftpVerdict out{static_cast<SftpCode>(code), ""};
  // Some servers leave the words out.
  if (auto words = take_string(reader)) out.words = printable(trim(as_text(*words).substr(0, kMostWords)));
  return out;
}

Result<std::string> parse_sftp_handle(ByteView body) {
  ByteReader reader(body);
  TRY_ASSIGN(const ByteView handle, take_string(reader));
  if (handle.empty() || handle.size() > kMostHandle) return fail(Code::kDamaged, "a handle of a wrong size");
  return std::string(as_text(handle));
}

Result<ByteView> parse_sftp_data(ByteView body) {
  ByteReader reader(body);
  return take_string(reader);
}

Result<SftpStatus> parse_sftp_attributes(ByteView body) {
  ByteReader reader(body);
  return take_attributes(reader);
}

Result<std::vector<SftpEntry>> parse_sftp_names(ByteView body) {
  ByteReader reader(body);
  TRY_ASSIGN(const uint32_t count, reader.be<uint32_t>());
  // Each takes twelve bytes at the least, so that a wrong count cannot ask for memory.
  if (count > reader.remaining() / 12) return fail(Code::kDamaged, "more names than there is room for");
  std::vector<SftpEntry> out;
  out.reserve(count);
  for (uint32_t i = 0; i < count; ++i) {
    TRY_ASSIGN(const ByteView name, take_string(reader));
    TRY_OK(take_string(reader));  // the line of `ls -l`
    TRY_ASSIGN(const SftpStatus status, take_attributes(reader));
    out.push_back({std::string(as_text(name)), status});
  }
  return out;
}

Result<std::vector<SftpExtension>> parse_sftp_extensions(ByteView body) {
  ByteReader reader(body);
  std::vector<SftpExtension> out;
  while (reader.remaining() > 0) {
    if (out.size() == kMostExtensions) return fail(Code::kDamaged, "too many extensions");
    TRY_ASSIGN(const ByteView name, take_string(reader));
    TRY_ASSIGN(const ByteView data, take_string(reader));
    out.push_back({std::string(as_text(name)), std::string(as_text(data))});
  }
  return out;
}

Result<SftpSpace> parse_sftp_space(ByteView body) {
  ByteReader reader(body);
  uint64_t fields[11];
  for (uint64_t& field : fields) {
    TRY_ASSIGN(field, reader.be<uint64_t>());
  }
  const uint64_t fragment = fields[1] != 0 ? fields[1] : fields[0], blocks = fields[4];
  SftpSpace out{fragment != 0 && blocks > UINT64_MAX / fragment ? UINT64_MAX : fragment * blocks, fields[8]};
  return out;
}

Result<SftpLimits> parse_sftp_limits(ByteView body) {
  ByteReader reader(body);
  SftpLimits out;
  for (uint64_t* field : {&out.packet, &out.read, &out.write, &out.handles}) {
    TRY_ASSIGN(*field, reader.be<uint64_t>());
  }
  return out;
}

}  // namespace varve::net
