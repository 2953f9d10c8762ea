// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace hadal::service {

// A set of stop strings compiled into an Aho-Corasick automaton. Immutable; shared by the choices of a call.
class StopStrings {
 public:
  // Empty strings are ignored. Memory is proportional to the strings' total length.
  explicit StopStrings(const std::vector<std::string>& strings);

  bool empty() const { return strings_.empty(); }
  const std::vector<std::string>& strings() const { return strings_; }

 private:
  friend class StopMatcher;
  struct Edge {
    uint8_t byte = 0;
    int32_t target = 0;
  };
  struct Node {
    std::vector<Edge> edges;
    int32_t fail = 0;
    int32_t depth = 0;   // bytes of the text that may be the start of a stop string
    int32_t match = -1;  // longest stop string that ends here
  };
  int32_t Step(int32_t node, uint8_t byte) const;

  std::vector<std::string> strings_;
  std::vector<Node> nodes_;
};

// Looks for the first stop string in a text that arrives in pieces. The match that ends first wins, of those the
// longest. O(1) amortised per byte. Not thread-safe.
class StopMatcher {
 public:
  explicit StopMatcher(std::shared_ptr<const StopStrings> strings) : strings_(std::move(strings)) {}

  struct Result {
    bool matched = false;
    size_t match_begin = 0;  // offset in the whole text
    int32_t string_index = -1;
  };
  // Nothing may be fed after a match.
  Result Feed(std::string_view text);
  // Bytes at the end of the text that may still become a stop string.
  size_t held() const;

 private:
  std::shared_ptr<const StopStrings> strings_;  // may be null: no stop strings
  int32_t node_ = 0;
  size_t fed_ = 0;
};

}  // namespace hadal::service
