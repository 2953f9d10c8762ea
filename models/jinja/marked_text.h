// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace hadal::jinja {

// UTF-8 text of which every byte knows whether a client wrote it (input) or the template did. Cutting and joining keep
// the marks, so that a client's text stays apart from the template's control tokens whatever a template does with it.
// Value type; offsets are bytes.
class MarkedText {
 public:
  MarkedText() = default;
  MarkedText(std::string bytes, bool input) : bytes_(std::move(bytes)), first_(input) {}

  std::string_view bytes() const { return bytes_; }
  size_t size() const { return bytes_.size(); }
  bool empty() const { return bytes_.empty(); }

  // Whether a client wrote the byte; false at the end.
  bool IsInput(size_t offset) const;

  void Append(std::string_view bytes, bool input);
  void Append(const MarkedText& other) { AppendSlice(other, 0, other.size()); }
  // begin <= end <= other.size(); `other` may be this text.
  void AppendSlice(const MarkedText& other, size_t begin, size_t end);
  MarkedText Slice(size_t begin, size_t end) const;

  // Calls visit(bytes, input) for each stretch of one origin, in order.
  template <typename Visit>
  void ForEachRun(Visit visit) const {
    size_t begin = 0;
    bool input = first_;
    for (const size_t flip : flips_) {
      visit(std::string_view(bytes_).substr(begin, flip - begin), input);
      begin = flip;
      input = !input;
    }
    if (begin < bytes_.size()) visit(std::string_view(bytes_).substr(begin), input);
  }

 private:
  // The mark of the last byte; of an empty text, what it would start with.
  bool last() const { return first_ != (flips_.size() % 2 == 1); }

  std::string bytes_;
  bool first_ = false;
  std::vector<size_t> flips_;  // offsets in (0, size()) at which the origin changes, ascending
};

}  // namespace hadal::jinja
