// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/types/span.h"

namespace hadal::pipeline {

static_assert(std::endian::native == std::endian::little, "frames hold values as little-endian machines do");

template <typename T>
concept WireValue = std::is_arithmetic_v<T> && !std::is_same_v<T, bool>;

// Appends values to a buffer that the caller owns and may reuse.
class ByteWriter {
 public:
  explicit ByteWriter(std::vector<std::byte>* out) : out_(*out) {}

  template <WireValue T>
  void Put(T value) {
    PutBytes(&value, sizeof(value));
  }
  void PutBool(bool value) { Put<uint8_t>(value ? 1 : 0); }
  // The count as u32, then the values.
  template <WireValue T>
  void PutArray(absl::Span<const T> values) {
    Put(static_cast<uint32_t>(values.size()));
    PutBytes(values.data(), values.size() * sizeof(T));
  }
  template <WireValue T>
  void PutArray(const std::vector<T>& values) {
    PutArray(absl::MakeConstSpan(values));
  }
  void PutText(std::string_view text) { PutArray(absl::MakeConstSpan(text.data(), text.size())); }

 private:
  void PutBytes(const void* values, size_t bytes) {
    const size_t offset = out_.size();
    out_.resize(offset + bytes);
    if (bytes > 0) std::memcpy(out_.data() + offset, values, bytes);
  }

  std::vector<std::byte>& out_;
};

// Takes them out again. The first value that is not there, or is beyond its limit, makes all that follow zero and
// empty; Finish then says what it was. Nothing is allocated for a count that the bytes left do not hold.
class ByteReader {
 public:
  explicit ByteReader(absl::Span<const std::byte> bytes) : bytes_(bytes) {}

  template <WireValue T>
  T Get() {
    T value{};
    if (!Holds(sizeof(T))) return value;
    std::memcpy(&value, bytes_.data() + offset_, sizeof(T));
    offset_ += sizeof(T);
    return value;
  }
  bool GetBool() { return Get<uint8_t>() != 0; }

  // A count of what comes next, each of at least `bytes` bytes; 0 once something is wrong. `what` is for the message.
  uint32_t GetCount(const char* what, uint64_t limit, size_t bytes) {
    const auto count = Get<uint32_t>();
    if (!status_.ok()) return 0;
    if (count > limit) return Fail(absl::StrCat(what, ": ", count, " entries, limit ", limit));
    if (count * uint64_t{bytes} > left())
      return Fail(absl::StrCat(what, ": ", count, " entries in ", left(), " bytes"));
    return count;
  }
  template <WireValue T>
  void GetArray(const char* what, uint64_t limit, std::vector<T>* values) {
    values->resize(GetCount(what, limit, sizeof(T)));
    if (values->empty()) return;
    std::memcpy(values->data(), bytes_.data() + offset_, values->size() * sizeof(T));
    offset_ += values->size() * sizeof(T);
  }
  std::string GetText(const char* what, uint64_t limit) {
    const uint32_t count = GetCount(what, limit, 1);
    std::string text(reinterpret_cast<const char*>(bytes_.data()) + offset_, count);
    offset_ += count;
    return text;
  }

  // For values that are wrong by a rule of their own. Gives 0.
  uint32_t Fail(const std::string& message) {
    if (status_.ok()) status_ = absl::InvalidArgumentError(message);
    offset_ = bytes_.size();
    return 0;
  }

  bool ok() const { return status_.ok(); }
  size_t left() const { return bytes_.size() - offset_; }
  // InvalidArgument for what went wrong, or when bytes are left over.
  absl::Status Finish() const {
    if (!status_.ok() || left() == 0) return status_;
    return absl::InvalidArgumentError(absl::StrCat(left(), " bytes after the last value"));
  }

 private:
  bool Holds(size_t bytes) {
    if (!status_.ok()) return false;
    if (left() >= bytes) return true;
    Fail(absl::StrCat("it ends after ", bytes_.size(), " bytes, in the middle of a value"));
    return false;
  }

  absl::Span<const std::byte> bytes_;
  size_t offset_ = 0;
  absl::Status status_;
};

}  // namespace hadal::pipeline
