// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "models/checkpoint/stored_dtype.h"
#include "models/mapped_file.h"

namespace hadal::checkpoint {

// One tensor of a file: row-major, little-endian. `bytes` points into the file's mapping.
struct TensorEntry {
  std::string name;
  StoredDType dtype = StoredDType::kF32;
  std::vector<int64_t> shape;  // empty for a scalar
  std::span<const std::byte> bytes;

  int64_t elements() const { return static_cast<int64_t>(bytes.size()) / StoredDTypeBytes(dtype); }
};

// Largest header that is read.
inline constexpr uint64_t kMaxSafetensorsHeaderBytes = 100'000'000;
// Largest rank of a tensor.
inline constexpr size_t kMaxTensorRank = 8;

struct SafetensorsHeader {
  std::vector<TensorEntry> tensors;             // by position in the file
  std::map<std::string, std::string> metadata;  // __metadata__
  uint64_t header_hash = 0;                     // FNV-1a of the header's bytes
  int64_t data_offset = 0;                      // where the data buffer starts in the file
};

// Checks a whole file held in memory: header length, JSON (no key twice), types, shapes, offsets that cover the data
// buffer exactly, without overlap or hole. Entries point into `file`. Errors name `path`, the tensor, expected and
// found. Memory use is proportional to the header, time to its length; the data is not touched.
absl::StatusOr<SafetensorsHeader> ParseSafetensors(std::span<const std::byte> file, absl::string_view path);

// A safetensors file, mapped or copied into memory. Immutable and thread-safe. Everything handed out points into the
// mapping, which lives as long as this object: keep the shared_ptr with each use. Of a file that shrinks while mapped
// the rest reads as zeros, and CheckIntact fails: replace checkpoints by renaming, never in place.
class SafetensorsFile {
 public:
  // NotFound, PermissionDenied, InvalidArgument (a directory, empty, or malformed).
  static absl::StatusOr<std::shared_ptr<const SafetensorsFile>> Open(
      const std::string& path, models::FileAccess access = models::FileAccess::kMap);

  const std::string& path() const { return mapping_->path(); }
  int64_t file_bytes() const { return static_cast<int64_t>(mapping_->bytes().size()); }
  const std::vector<TensorEntry>& tensors() const { return header_.tensors; }
  const std::map<std::string, std::string>& metadata() const { return header_.metadata; }
  uint64_t header_hash() const { return header_.header_hash; }
  // Null when there is none.
  const TensorEntry* Find(absl::string_view name) const;
  // Asks the system to read the file ahead; returns at once.
  void Prefetch() const { mapping_->Prefetch(); }
  absl::Status CheckIntact() const { return mapping_->CheckIntact(); }

 private:
  SafetensorsFile() = default;
  std::shared_ptr<const models::MappedFile> mapping_;
  SafetensorsHeader header_;
  absl::flat_hash_map<std::string, size_t> by_name_;
};

// Largest power of two, at most 4096, that divides the address of the tensor's first byte.
int64_t TensorAlignment(const TensorEntry& entry);

}  // namespace hadal::checkpoint
