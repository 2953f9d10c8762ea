// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <unistd.h>

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "kernels/half.h"
#include "models/checkpoint/stored_dtype.h"

namespace hadal::checkpoint {

// A folder of its own, removed with its contents.
class TempDir {
 public:
  TempDir() {
    std::string pattern = std::filesystem::temp_directory_path() / "hadal_loader_XXXXXX";
    path_ = mkdtemp(pattern.data());
  }
  ~TempDir() {
    std::error_code error;
    std::filesystem::remove_all(path_, error);
  }
  const std::string& path() const { return path_; }
  std::string File(const std::string& name) const { return path_ + "/" + name; }
  void Write(const std::string& name, const std::string& content) const {
    std::ofstream(File(name), std::ios::binary) << content;
  }

 private:
  std::string path_;
};

// Bytes of a safetensors file with any header text.
inline std::string SafetensorsBytes(const std::string& header, const std::string& data) {
  const uint64_t length = header.size();
  std::string bytes(8, '\0');
  std::memcpy(bytes.data(), &length, 8);
  return bytes + header + data;
}

// Writes valid safetensors files.
class SafetensorsBuilder {
 public:
  void AddRaw(const std::string& name, const std::string& dtype, const std::vector<int64_t>& shape,
              const std::string& bytes) {
    entries_.push_back(absl::StrCat("\"", name, "\":{\"dtype\":\"", dtype, "\",\"shape\":[", absl::StrJoin(shape, ","),
                                    "],\"data_offsets\":[", data_.size(), ",", data_.size() + bytes.size(), "]}"));
    data_ += bytes;
  }
  void AddF32(const std::string& name, const std::vector<int64_t>& shape, const std::vector<float>& values) {
    AddRaw(name, "F32", shape, std::string(reinterpret_cast<const char*>(values.data()), values.size() * 4));
  }
  void AddBF16(const std::string& name, const std::vector<int64_t>& shape, const std::vector<float>& values) {
    std::string bytes;
    for (float value : values) Append(kernels::ToBF16(value).bits, bytes);
    AddRaw(name, "BF16", shape, bytes);
  }
  void AddF16(const std::string& name, const std::vector<int64_t>& shape, const std::vector<float>& values) {
    std::string bytes;
    for (float value : values) Append(kernels::ToF16(value).bits, bytes);
    AddRaw(name, "F16", shape, bytes);
  }
  // Header padded with spaces so that the data starts at a multiple of `alignment` plus `offset`.
  std::string Bytes(size_t alignment = 8, size_t offset = 0) const {
    std::string header = absl::StrCat("{\"__metadata__\":{\"format\":\"pt\"}", entries_.empty() ? "" : ",",
                                      absl::StrJoin(entries_, ","), "}");
    while ((header.size() + 8) % alignment != offset) header += ' ';
    return SafetensorsBytes(header, data_);
  }

 private:
  static void Append(uint16_t bits, std::string& bytes) { bytes.append(reinterpret_cast<const char*>(&bits), 2); }
  std::vector<std::string> entries_;
  std::string data_;
};

// `count` values in [-1, 1).
inline std::vector<float> RandomValues(size_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<float> values(count);
  for (float& value : values) value = static_cast<float>(static_cast<int32_t>(random())) * 0x1p-31f;
  return values;
}

}  // namespace hadal::checkpoint
