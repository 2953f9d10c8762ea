// SPDX-License-Identifier: Apache-2.0
#include "models/tokenizer/unicode/unicode.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <string>

namespace hadal::unicode {
namespace {

constexpr std::string_view kCategoryNames[] = {"Cn", "Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Me", "Nd",
                                               "Nl", "No", "Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po", "Sm",
                                               "Sc", "Sk", "So", "Zs", "Zl", "Zp", "Cc", "Cf", "Cs", "Co"};

uint8_t BitsOfCategory(uint8_t category) {
  switch (kCategoryNames[category][0]) {
    case 'L':
      return kLetter;
    case 'M':
      return kMark;
    case 'N':
      return kNumber;
    case 'P':
      return kPunctuation;
    case 'S':
      return kSymbol;
    default:
      return 0;
  }
}

}  // namespace

const CharTable& CharTable::Get() {
  static const CharTable* const table = new CharTable();
  return *table;
}

CharTable::CharTable() {
  std::vector<uint8_t> bits(0x110000, 0);
  for (size_t i = 0; i < kCategoryStartsSize; ++i) {
    const size_t end = i + 1 < kCategoryStartsSize ? kCategoryStarts[i + 1].first : bits.size();
    std::fill(bits.begin() + kCategoryStarts[i].first, bits.begin() + static_cast<ptrdiff_t>(end),
              BitsOfCategory(kCategoryStarts[i].category));
  }
  for (const CodePointRange& range : SpaceRanges()) {
    for (uint32_t c = range.first; c <= range.last; ++c) bits[c] |= kSpace;
  }
  for (size_t i = 0; i < kExtraNumericSize; ++i) {
    for (uint32_t c = kExtraNumeric[i].first; c <= kExtraNumeric[i].last; ++c) bits[c] |= kExtraNumber;
  }
  bits['\r'] |= kNewline;
  bits['\n'] |= kNewline;

  std::map<std::string, uint16_t> known;
  for (size_t block = 0; block < std::size(index_); ++block) {
    std::string content(bits.begin() + static_cast<ptrdiff_t>(block << 8),
                        bits.begin() + static_cast<ptrdiff_t>((block + 1) << 8));
    auto [it, inserted] = known.emplace(std::move(content), static_cast<uint16_t>(known.size()));
    if (inserted) blocks_.insert(blocks_.end(), it->first.begin(), it->first.end());
    index_[block] = it->second;
  }
}

std::vector<CodePointRange> CategoryRanges(std::string_view name) {
  std::vector<CodePointRange> ranges;
  if (name.empty() || name.size() > 2) return ranges;
  for (size_t i = 0; i < kCategoryStartsSize; ++i) {
    if (kCategoryNames[kCategoryStarts[i].category].substr(0, name.size()) != name) continue;
    const uint32_t last = (i + 1 < kCategoryStartsSize ? kCategoryStarts[i + 1].first : 0x110000u) - 1;
    if (!ranges.empty() && ranges.back().last + 1 == kCategoryStarts[i].first) {
      ranges.back().last = last;
    } else {
      ranges.push_back({kCategoryStarts[i].first, last});
    }
  }
  return ranges;
}

std::vector<CodePointRange> SpaceRanges() {
  return {{0x9, 0xD},       {0x20, 0x20},     {0x85, 0x85},     {0xA0, 0xA0},     {0x1680, 0x1680},
          {0x2000, 0x200A}, {0x2028, 0x2029}, {0x202F, 0x202F}, {0x205F, 0x205F}, {0x3000, 0x3000}};
}

bool IsWordCharacter(char32_t c) {
  const CodePointRange* end = kWordRanges + kWordRangesSize;
  const CodePointRange* it =
      std::upper_bound(kWordRanges, end, c, [](char32_t v, const CodePointRange& r) { return v < r.first; });
  return it != kWordRanges && c <= (it - 1)->last;
}

}  // namespace hadal::unicode
