// SPDX-License-Identifier: Apache-2.0
#include "models/jinja/marked_text.h"

#include <algorithm>

namespace hadal::jinja {

bool MarkedText::IsInput(size_t offset) const {
  if (offset >= bytes_.size()) return false;
  const auto flips = std::upper_bound(flips_.begin(), flips_.end(), offset) - flips_.begin();
  return first_ != (flips % 2 == 1);
}

void MarkedText::Append(std::string_view bytes, bool input) {
  if (bytes.empty()) return;
  if (bytes_.empty()) {
    first_ = input;
  } else if (last() != input) {
    flips_.push_back(bytes_.size());
  }
  bytes_.append(bytes);
}

void MarkedText::AppendSlice(const MarkedText& other, size_t begin, size_t end) {
  if (begin >= end) return;
  if (this == &other) {
    const MarkedText copy = other;
    AppendSlice(copy, begin, end);
    return;
  }
  auto flip = std::upper_bound(other.flips_.begin(), other.flips_.end(), begin);
  bool input = other.first_ != ((flip - other.flips_.begin()) % 2 == 1);
  while (begin < end) {
    const size_t stop = flip == other.flips_.end() ? end : std::min(*flip++, end);
    Append(std::string_view(other.bytes_).substr(begin, stop - begin), input);
    begin = stop;
    input = !input;
  }
}

MarkedText MarkedText::Slice(size_t begin, size_t end) const {
  MarkedText out;
  out.AppendSlice(*this, begin, end);
  return out;
}

}  // namespace hadal::jinja
