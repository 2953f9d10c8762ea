// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace hadal::kv_events {

// Appends MessagePack values, each in its shortest form, to `out`, which must outlive it.
class MsgpackWriter {
 public:
  explicit MsgpackWriter(std::string* out) : out_(out) {}

  void Nil();
  void Uint(uint64_t value);
  void Double(double value);
  // UTF-8.
  void String(std::string_view value);
  // That many values follow.
  void Array(size_t size);

 private:
  // The first byte and the low `bytes` bytes of `value`, most significant first.
  void Put(uint8_t first, uint64_t value, int bytes);

  std::string* const out_;
};

}  // namespace hadal::kv_events
