// SPDX-License-Identifier: Apache-2.0
// Normalisation form C: Unicode Standard, section 3.11 (canonical ordering D108-D109, composition D115-D117) and
// section 3.12 (Hangul).
#include "models/tokenizer/unicode/nfc.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "base/utf8.h"
#include "models/tokenizer/unicode/nfc_tables.h"

namespace hadal::unicode {
namespace {

constexpr char32_t kHangulBase = 0xAC00, kLeadBase = 0x1100, kVowelBase = 0x1161, kTrailBase = 0x11A7;
constexpr char32_t kLeads = 19, kVowels = 21, kTrails = 28, kSyllables = kLeads * kVowels * kTrails;
// No character below is decomposed, reordered or composed with what precedes it.
constexpr char32_t kFirstMark = 0x300;

struct Character {
  char32_t code_point;
  uint8_t combining_class;
};

uint8_t CombiningClass(char32_t c) {
  if (c < kFirstMark) return 0;
  const CombiningRange* end = kCombiningClasses + kCombiningClassesSize;
  const CombiningRange* it =
      std::upper_bound(kCombiningClasses, end, c, [](char32_t v, const CombiningRange& r) { return v < r.first; });
  return it != kCombiningClasses && c <= (it - 1)->last ? (it - 1)->combining_class : 0;
}

void AppendDecomposed(char32_t c, std::vector<Character>* out) {
  if (c >= kHangulBase && c < kHangulBase + kSyllables) {
    const char32_t s = c - kHangulBase;
    out->push_back({kLeadBase + s / (kVowels * kTrails), 0});
    out->push_back({kVowelBase + s % (kVowels * kTrails) / kTrails, 0});
    if (s % kTrails != 0) out->push_back({kTrailBase + s % kTrails, 0});
    return;
  }
  if (c >= 0xC0) {
    const Decomposition* end = kDecompositions + kDecompositionsSize;
    const Decomposition* it =
        std::lower_bound(kDecompositions, end, c, [](const Decomposition& d, char32_t v) { return d.code_point < v; });
    if (it != end && it->code_point == c) {
      for (const char32_t part : it->parts) {
        if (part != 0) out->push_back({part, CombiningClass(part)});
      }
      return;
    }
  }
  out->push_back({c, CombiningClass(c)});
}

// The composition of two characters, or 0.
char32_t Compose(char32_t a, char32_t b) {
  if (a >= kLeadBase && a < kLeadBase + kLeads && b >= kVowelBase && b < kVowelBase + kVowels) {
    return kHangulBase + ((a - kLeadBase) * kVowels + (b - kVowelBase)) * kTrails;
  }
  if (a >= kHangulBase && a < kHangulBase + kSyllables && (a - kHangulBase) % kTrails == 0 && b > kTrailBase &&
      b < kTrailBase + kTrails) {
    return a + (b - kTrailBase);
  }
  const Composition* end = kCompositions + kCompositionsSize;
  const Composition* it = std::lower_bound(
      kCompositions, end, std::pair(a, b),
      [](const Composition& x, const auto& v) { return std::pair<char32_t, char32_t>(x.first, x.second) < v; });
  return it != end && it->first == a && it->second == b ? it->composed : 0;
}

// Normalises a stretch that begins at a place nothing composes across.
void AppendNormalized(std::string_view text, std::vector<Character>* buffer, std::string* out) {
  std::vector<Character>& characters = *buffer;
  characters.clear();
  for (size_t i = 0; i < text.size();) {
    int length = 0;
    AppendDecomposed(base::DecodeUtf8(text.data() + i, &length), &characters);
    i += static_cast<size_t>(length);
  }
  for (size_t i = 0; i < characters.size();) {
    size_t end = i + 1;
    if (characters[i].combining_class != 0) {
      while (end < characters.size() && characters[end].combining_class != 0) ++end;
      std::stable_sort(characters.begin() + static_cast<ptrdiff_t>(i), characters.begin() + static_cast<ptrdiff_t>(end),
                       [](const Character& a, const Character& b) { return a.combining_class < b.combining_class; });
    }
    i = end;
  }
  size_t kept = 0;
  size_t starter = static_cast<size_t>(-1);
  for (const Character& c : characters) {
    if (starter != static_cast<size_t>(-1)) {
      const bool adjacent = starter + 1 == kept;
      const uint8_t last_class = adjacent ? 0 : characters[kept - 1].combining_class;
      // Blocked unless directly after the starter or of a higher class than the character before.
      if (adjacent || last_class < c.combining_class) {
        if (const char32_t composed = Compose(characters[starter].code_point, c.code_point)) {
          characters[starter].code_point = composed;
          continue;
        }
      }
    }
    if (c.combining_class == 0) starter = kept;
    characters[kept++] = c;
  }
  for (size_t i = 0; i < kept; ++i) base::AppendUtf8(characters[i].code_point, out);
}

// Whether the character stays as it is and takes no part in what precedes it: below U+0300 that is every character.
bool IsInert(char32_t c) { return c < kFirstMark; }

}  // namespace

std::string ToNfc(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  std::vector<Character> buffer;
  size_t done = 0;      // text before is in `out`
  size_t previous = 0;  // begin of the last inert character
  for (size_t i = 0; i < text.size();) {
    int length = 0;
    if (IsInert(base::DecodeUtf8(text.data() + i, &length))) {
      previous = i;
      i += static_cast<size_t>(length);
      continue;
    }
    // A stretch of other characters, with the inert one before it as the starter it may compose with.
    const size_t begin = std::max(previous, done);
    out.append(text.substr(done, begin - done));
    size_t end = i;
    while (end < text.size() && !IsInert(base::DecodeUtf8(text.data() + end, &length)))
      end += static_cast<size_t>(length);
    AppendNormalized(text.substr(begin, end - begin), &buffer, &out);
    done = previous = i = end;
  }
  out.append(text.substr(done));
  return out;
}

}  // namespace hadal::unicode
