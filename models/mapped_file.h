// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstddef>
#include <memory>
#include <span>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace hadal::models {

enum class FileAccess {
  kMap,   // read by the system as it is touched; the page cache holds it
  kCopy,  // read whole into memory of our own: what happens to the file later does not matter
};

// The bytes of a regular file. Immutable, thread-safe; given back when destroyed.
//
// A mapped file that somebody truncates, or whose disk fails, raises SIGBUS when it is touched. The first mapping
// installs a handler for that: what is gone reads as zeros from then on, and CheckIntact tells. Faults elsewhere go to
// the handler that was there before. At most kMaxGuarded files are guarded at a time, further ones fault as usual.
class MappedFile {
 public:
  static constexpr int kMaxGuarded = 4096;

  // NotFound, PermissionDenied, InvalidArgument for something that is not a regular file or is empty, DataLoss for a
  // file that shrinks while it is copied.
  static absl::StatusOr<std::shared_ptr<const MappedFile>> Open(const std::string& path,
                                                                FileAccess access = FileAccess::kMap);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const std::string& path() const { return path_; }
  std::span<const std::byte> bytes() const { return bytes_; }
  // Asks the system to read a mapped file ahead (madvise); returns at once, never fails.
  void Prefetch() const;
  // DataLoss, naming the file, once bytes were read that are not there any more.
  absl::Status CheckIntact() const;

 private:
  struct Guard;

  MappedFile(std::string path, std::span<const std::byte> bytes) : path_(std::move(path)), bytes_(bytes) {}

  std::string path_;
  std::span<const std::byte> bytes_;
  Guard* guard_ = nullptr;  // null: copied, or too many
};

}  // namespace hadal::models
