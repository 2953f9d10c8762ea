// SPDX-License-Identifier: Apache-2.0
#include "models/jinja/text_functions.h"

#include <algorithm>

namespace hadal::jinja {
namespace {

bool HasCharacter(std::string_view chars, std::string_view character) { return chars.find(character) != chars.npos; }

bool StripsAt(const MarkedText& text, size_t at, size_t length, const MarkedText* chars) {
  const std::string_view character = text.bytes().substr(at, length);
  if (chars != nullptr) return HasCharacter(chars->bytes(), character);
  int unused = 0;
  return IsSpace(base::DecodeUtf8(character.data(), &unused));
}

// Runs of what is no space: [begin, end).
std::vector<std::pair<size_t, size_t>> Words(std::string_view bytes) {
  std::vector<std::pair<size_t, size_t>> words;
  bool in_word = false;
  ForEachCharacter(bytes, [&](char32_t c, size_t begin, size_t end) {
    if (IsSpace(c)) {
      in_word = false;
    } else if (!std::exchange(in_word, true)) {
      words.emplace_back(begin, end);
    } else {
      words.back().second = end;
    }
    return true;
  });
  return words;
}

std::vector<MarkedText> SplitAtSpaces(const MarkedText& text, int64_t max_splits, bool from_back) {
  const auto words = Words(text.bytes());
  std::vector<MarkedText> parts;
  const size_t splits = max_splits < 0 ? words.size() : static_cast<size_t>(max_splits);
  if (words.size() <= splits + 1 || max_splits < 0) {
    for (const auto& [begin, end] : words) parts.push_back(text.Slice(begin, end));
    // Python leaves the spaces of an unsplit end, and takes those before it.
    if (max_splits >= 0 && words.size() == splits + 1 && !parts.empty()) {
      parts[from_back ? 0 : words.size() - 1] =
          from_back ? text.Slice(0, words.front().second) : text.Slice(words.back().first, text.size());
    }
    return parts;
  }
  if (from_back) {
    const size_t rest = words.size() - splits;
    parts.push_back(text.Slice(0, words[rest - 1].second));
    for (size_t i = rest; i < words.size(); ++i) parts.push_back(text.Slice(words[i].first, words[i].second));
  } else {
    for (size_t i = 0; i < splits; ++i) parts.push_back(text.Slice(words[i].first, words[i].second));
    parts.push_back(text.Slice(words[splits].first, text.size()));
  }
  return parts;
}

}  // namespace

MarkedText Strip(const MarkedText& text, const MarkedText* chars, bool front, bool back) {
  size_t begin = 0, end = text.size();
  while (front && begin < end) {
    const size_t length = CharacterLength(text.bytes(), begin);
    if (!StripsAt(text, begin, length, chars)) break;
    begin += length;
  }
  while (back && end > begin) {
    const size_t last = base::LastCharacter(text.bytes().substr(0, end));
    if (!StripsAt(text, last, end - last, chars)) break;
    end = last;
  }
  return text.Slice(begin, end);
}

std::vector<MarkedText> Split(Runtime* run, const MarkedText& text, const MarkedText* separator, int64_t max_splits,
                              bool from_back) {
  std::vector<MarkedText> parts;
  if (!run->SpendBytes(text.size())) return parts;
  if (separator == nullptr) return SplitAtSpaces(text, max_splits, from_back);
  if (separator->empty()) {
    run->Fail("empty separator");
    return parts;
  }
  const std::string_view bytes = text.bytes();
  const std::string_view cut = separator->bytes();
  const auto more = [&] { return max_splits < 0 || static_cast<int64_t>(parts.size()) < max_splits; };
  if (from_back) {
    size_t end = bytes.size();
    for (size_t at; more() && end >= cut.size() && (at = bytes.rfind(cut, end - cut.size())) != bytes.npos; end = at) {
      parts.push_back(text.Slice(at + cut.size(), end));
      if (!run->Spend(1)) return parts;
    }
    parts.push_back(text.Slice(0, end));
    std::reverse(parts.begin(), parts.end());
    return parts;
  }
  size_t begin = 0;
  for (size_t at; more() && (at = bytes.find(cut, begin)) != bytes.npos; begin = at + cut.size()) {
    parts.push_back(text.Slice(begin, at));
    if (!run->Spend(1)) return parts;
  }
  parts.push_back(text.Slice(begin, bytes.size()));
  return parts;
}

std::vector<MarkedText> SplitLines(const MarkedText& text, bool keep_ends) {
  std::vector<MarkedText> lines;
  const std::string_view bytes = text.bytes();
  size_t line = 0;
  size_t skip_to = 0;
  ForEachCharacter(bytes, [&](char32_t c, size_t begin, size_t end) {
    if (begin < skip_to) return true;
    const bool ends = (c >= 0x0A && c <= 0x0D) || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 || c == 0x2029;
    if (!ends) return true;
    if (c == '\r' && end < bytes.size() && bytes[end] == '\n') ++end;
    lines.push_back(text.Slice(line, keep_ends ? end : begin));
    line = skip_to = end;
    return true;
  });
  if (line < bytes.size()) lines.push_back(text.Slice(line, bytes.size()));
  return lines;
}

MarkedText Replace(Runtime* run, const MarkedText& text, const MarkedText& from, const MarkedText& to, int64_t count) {
  MarkedText out;
  if (!run->SpendBytes(text.size())) return out;
  const std::string_view bytes = text.bytes();
  size_t begin = 0;
  const auto grow = [&] { return run->SpendBytes(to.size()) && run->Reserve(out.size() + to.size()); };
  if (from.empty()) {  // in front of each character, and at the end
    for (; count != 0; --count) {
      if (!grow()) return out;
      out.Append(to);
      if (begin == bytes.size()) return out;
      const size_t end = begin + CharacterLength(bytes, begin);
      out.AppendSlice(text, begin, end);
      begin = end;
    }
  }
  for (size_t at; count != 0 && !from.empty() && (at = bytes.find(from.bytes(), begin)) != bytes.npos; --count) {
    if (!grow()) return out;
    out.AppendSlice(text, begin, at);
    out.Append(to);
    begin = at + from.size();
  }
  out.AppendSlice(text, begin, bytes.size());
  return out;
}

MarkedText Upper(const MarkedText& text) {
  return MapCharacters(text, [](char32_t c, size_t) { return FullUpper(c); });
}
MarkedText Lower(const MarkedText& text) {
  return MapCharacters(text, [](char32_t c, size_t) { return FullLower(c); });
}
MarkedText Capitalize(const MarkedText& text) {
  return MapCharacters(text, [](char32_t c, size_t position) { return position == 0 ? FullTitle(c) : FullLower(c); });
}

Value Justify(Runtime* run, const MarkedText& text, int64_t width, std::string_view fill, char align) {
  const auto length = static_cast<int64_t>(CountCharacters(text.bytes()));
  const int64_t missing = std::max<int64_t>(width - length, 0);
  if (!run->SpendBytes(static_cast<size_t>(missing)) || !run->Reserve(static_cast<size_t>(missing) * fill.size()))
    return Value();
  // Python puts the odd one to the left when the width is odd.
  const int64_t front = align == '>' ? missing : align == '<' ? 0 : missing / 2 + (missing & width & 1);
  MarkedText out;
  for (int64_t i = 0; i < front; ++i) out.Append(fill, false);
  out.Append(text);
  for (int64_t i = front; i < missing; ++i) out.Append(fill, false);
  return run->Text(std::move(out));
}

}  // namespace hadal::jinja
