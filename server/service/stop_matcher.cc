// SPDX-License-Identifier: Apache-2.0
#include "server/service/stop_matcher.h"

#include <deque>

namespace hadal::service {

StopStrings::StopStrings(const std::vector<std::string>& strings) {
  nodes_.emplace_back();
  for (const std::string& string : strings) {
    if (string.empty()) continue;
    const int32_t index = static_cast<int32_t>(strings_.size());
    strings_.push_back(string);
    int32_t node = 0;
    for (char c : string) {
      const uint8_t byte = static_cast<uint8_t>(c);
      int32_t next = -1;
      for (const Edge& edge : nodes_[node].edges) {
        if (edge.byte == byte) next = edge.target;
      }
      if (next < 0) {
        next = static_cast<int32_t>(nodes_.size());
        nodes_[node].edges.push_back({byte, next});
        nodes_.emplace_back();
        nodes_[next].depth = nodes_[node].depth + 1;
      }
      node = next;
    }
    if (nodes_[node].match < 0) nodes_[node].match = index;
  }
  // Breadth first, so that a node's fail link is final before its children need it.
  std::deque<int32_t> order;
  for (const Edge& edge : nodes_[0].edges) order.push_back(edge.target);
  while (!order.empty()) {
    const int32_t node = order.front();
    order.pop_front();
    if (nodes_[node].match < 0) nodes_[node].match = nodes_[nodes_[node].fail].match;
    for (const Edge& edge : nodes_[node].edges) {
      nodes_[edge.target].fail = Step(nodes_[node].fail, edge.byte);
      order.push_back(edge.target);
    }
  }
}

int32_t StopStrings::Step(int32_t node, uint8_t byte) const {
  while (true) {
    for (const Edge& edge : nodes_[node].edges) {
      if (edge.byte == byte) return edge.target;
    }
    if (node == 0) return 0;
    node = nodes_[node].fail;
  }
}

StopMatcher::Result StopMatcher::Feed(std::string_view text) {
  Result result;
  if (strings_ == nullptr || strings_->empty()) return result;
  for (size_t i = 0; i < text.size(); ++i) {
    node_ = strings_->Step(node_, static_cast<uint8_t>(text[i]));
    const int32_t match = strings_->nodes_[node_].match;
    if (match >= 0) {
      result.matched = true;
      result.string_index = match;
      result.match_begin = fed_ + i + 1 - strings_->strings_[match].size();
      return result;
    }
  }
  fed_ += text.size();
  return result;
}

size_t StopMatcher::held() const {
  return strings_ == nullptr || strings_->empty() ? 0 : static_cast<size_t>(strings_->nodes_[node_].depth);
}

}  // namespace hadal::service
