// SPDX-License-Identifier: Apache-2.0
#include "base/utf8.h"

#include <algorithm>
#include <cstring>

namespace hadal::base {
namespace {

struct Sequence {
  int length;  // bytes that belong together: the character, or the maximal subpart of an ill-formed sequence
  bool valid;
  bool complete;  // false: the text ends inside a sequence that is fine so far
};

Sequence NextSequence(const unsigned char* p, size_t size) {
  const unsigned char lead = p[0];
  if (lead < 0x80) return {1, true, true};
  int length = 0;
  unsigned char low = 0x80, high = 0xBF;
  if (lead >= 0xC2 && lead <= 0xDF) {
    length = 2;
  } else if (lead >= 0xE0 && lead <= 0xEF) {
    length = 3;
    if (lead == 0xE0) low = 0xA0;
    if (lead == 0xED) high = 0x9F;
  } else if (lead >= 0xF0 && lead <= 0xF4) {
    length = 4;
    if (lead == 0xF0) low = 0x90;
    if (lead == 0xF4) high = 0x8F;
  } else {
    return {1, false, true};
  }
  for (int i = 1; i < length; ++i) {
    if (static_cast<size_t>(i) >= size) return {i, false, false};
    if (p[i] < low || p[i] > high) return {i, false, true};
    low = 0x80;
    high = 0xBF;
  }
  return {length, true, true};
}

bool IsContinuation(char byte) { return (static_cast<unsigned char>(byte) & 0xC0) == 0x80; }

size_t AsciiRun(const char* p, size_t size) {
  size_t i = 0;
  while (i + 8 <= size) {
    uint64_t word;
    std::memcpy(&word, p + i, 8);
    if (word & 0x8080808080808080ull) break;
    i += 8;
  }
  while (i < size && static_cast<unsigned char>(p[i]) < 0x80) ++i;
  return i;
}

}  // namespace

void AppendUtf8(char32_t c, std::string* out) {
  if (c < 0x80) {
    out->push_back(static_cast<char>(c));
  } else if (c < 0x800) {
    out->push_back(static_cast<char>(0xC0 | c >> 6));
    out->push_back(static_cast<char>(0x80 | (c & 0x3F)));
  } else if (c < 0x10000) {
    out->push_back(static_cast<char>(0xE0 | c >> 12));
    out->push_back(static_cast<char>(0x80 | (c >> 6 & 0x3F)));
    out->push_back(static_cast<char>(0x80 | (c & 0x3F)));
  } else {
    out->push_back(static_cast<char>(0xF0 | c >> 18));
    out->push_back(static_cast<char>(0x80 | (c >> 12 & 0x3F)));
    out->push_back(static_cast<char>(0x80 | (c >> 6 & 0x3F)));
    out->push_back(static_cast<char>(0x80 | (c & 0x3F)));
  }
}

int64_t CountCharacters(std::string_view text) {
  return std::count_if(text.begin(), text.end(), [](char byte) { return !IsContinuation(byte); });
}

std::string_view Utf8Prefix(std::string_view text, size_t max_bytes) {
  if (text.size() <= max_bytes) return text;
  size_t end = max_bytes;
  while (end > 0 && IsContinuation(text[end])) --end;
  return text.substr(0, end);
}

size_t FindInvalidUtf8(std::string_view text) {
  size_t i = 0;
  while (i < text.size()) {
    i += AsciiRun(text.data() + i, text.size() - i);
    if (i == text.size()) break;
    const Sequence s = NextSequence(reinterpret_cast<const unsigned char*>(text.data()) + i, text.size() - i);
    if (!s.valid) return i;
    i += s.length;
  }
  return std::string_view::npos;
}

size_t AppendReplacingInvalid(std::string_view bytes, bool last, std::string* out) {
  size_t i = 0;
  while (i < bytes.size()) {
    const size_t ascii = AsciiRun(bytes.data() + i, bytes.size() - i);
    out->append(bytes.data() + i, ascii);
    i += ascii;
    if (i == bytes.size()) break;
    const Sequence s = NextSequence(reinterpret_cast<const unsigned char*>(bytes.data()) + i, bytes.size() - i);
    if (!s.complete && !last) break;
    if (s.valid) {
      out->append(bytes.data() + i, s.length);
    } else {
      out->append("\xEF\xBF\xBD");
    }
    i += s.length;
  }
  return i;
}

std::string ToValidUtf8(std::string_view bytes) {
  std::string text;
  text.reserve(bytes.size());
  AppendReplacingInvalid(bytes, /*last=*/true, &text);
  return text;
}

}  // namespace hadal::base
