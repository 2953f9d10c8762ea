// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "models/jinja/runtime.h"

// What filters and methods of str share. Every character of a result keeps the origin it had.
namespace hadal::jinja {

// Python's str.strip: without characters of `chars`, or without spaces when it is null.
MarkedText Strip(const MarkedText& text, const MarkedText* chars, bool front, bool back);
// str.split and rsplit; `separator` null splits at spaces. max_splits < 0: all.
std::vector<MarkedText> Split(Runtime* run, const MarkedText& text, const MarkedText* separator, int64_t max_splits,
                              bool from_back);
std::vector<MarkedText> SplitLines(const MarkedText& text, bool keep_ends);
MarkedText Replace(Runtime* run, const MarkedText& text, const MarkedText& from, const MarkedText& to, int64_t count);
// Each character through map(code_point, position), which gives a CasedCharacter.
template <typename Map>
MarkedText MapCharacters(const MarkedText& text, Map map);
MarkedText Upper(const MarkedText& text);
MarkedText Lower(const MarkedText& text);
MarkedText Capitalize(const MarkedText& text);
// With `fill` on both sides to `width` characters; `left` of the missing ones go to the front.
Value Justify(Runtime* run, const MarkedText& text, int64_t width, std::string_view fill, char align);

}  // namespace hadal::jinja

#include "models/jinja/characters.h"

namespace hadal::jinja {

template <typename Map>
MarkedText MapCharacters(const MarkedText& text, Map map) {
  MarkedText out;
  size_t position = 0;
  ForEachCharacter(text.bytes(), [&](char32_t c, size_t begin, size_t end) {
    const CasedCharacter mapped = map(c, position++);
    if (mapped.several.empty() && mapped.one == c) {
      out.AppendSlice(text, begin, end);
    } else {
      std::string bytes(mapped.several);
      if (bytes.empty()) base::AppendUtf8(mapped.one, &bytes);
      out.Append(bytes, text.IsInput(begin));
    }
    return true;
  });
  return out;
}

}  // namespace hadal::jinja
