// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace hadal::models {

// A regular file mapped read-only. Immutable, thread-safe; unmapped when destroyed.
class MappedFile {
 public:
  // NotFound, PermissionDenied, InvalidArgument for something that is not a regular file or is empty.
  static absl::StatusOr<std::shared_ptr<const MappedFile>> Open(const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const std::string& path() const { return path_; }
  std::span<const std::byte> bytes() const { return bytes_; }
  // Asks the system to read the file ahead (madvise); returns at once, never fails.
  void Prefetch() const;

 private:
  MappedFile(std::string path, std::span<const std::byte> bytes) : path_(std::move(path)), bytes_(bytes) {}
  std::string path_;
  std::span<const std::byte> bytes_;
};

// The whole content of a regular file of at most `limit_bytes`. NotFound, PermissionDenied, or InvalidArgument naming
// the limit and the size.
absl::StatusOr<std::string> ReadTextFile(const std::string& path, int64_t limit_bytes);

}  // namespace hadal::models
