// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace hadal::http {

// What a request wants of a content of known size (RFC 9110, 14). Bytes `begin` to `end` - 1.
struct ByteRange {
  enum class Kind {
    kWhole,          // no range is given, or one that may be passed over: another unit, several, malformed
    kPart,           // 206
    kUnsatisfiable,  // 416: it begins behind the end
  };

  Kind kind = Kind::kWhole;
  int64_t begin = 0;
  int64_t end = 0;
};

// `range`: the header of that name, "bytes=A-B", "bytes=A-" or "bytes=-LAST"; empty: none.
ByteRange ParseByteRange(std::string_view range, int64_t size);
// Value of the header Content-Range.
std::string ContentRange(const ByteRange& range, int64_t size);

}  // namespace hadal::http
