// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "gtest/gtest.h"
#include "server/engine/block_events.h"

namespace hadal::testing {

// Keeps what a prefix cache tells of its blocks, and checks that it may be told. Now and then it says that it has lost
// something, so that all is told anew.
class BlockRecorder : public engine::BlockEvents {
 public:
  struct Block {
    uint64_t parent = 0;
    uint64_t salt = 0;
    std::vector<int32_t> tokens;
  };

  // `first_loss`: rounds after which something is lost, then after twice as many and so on, so that a large cache is not
  // told again and again; 0: never.
  explicit BlockRecorder(int first_loss = 0) : next_loss_(first_loss) {}

  void OnStored(uint64_t node, uint64_t parent, uint64_t salt, absl::Span<const int32_t> tokens) override {
    EXPECT_GT(node, last_) << "blocks are told in the order of their numbers";
    EXPECT_LT(parent, node);
    EXPECT_TRUE(parent == 0 || salt == 0) << "a salt belongs to a first block";
    EXPECT_TRUE(blocks.emplace(node, Block{parent, salt, {tokens.begin(), tokens.end()}}).second);
    last_ = node;
  }
  void OnRemoved(uint64_t node) override { EXPECT_EQ(blocks.erase(node), 1u) << "block " << node << " is not known"; }
  void OnReset() override {
    blocks.clear();
    last_ = 0;
    ++resets;
  }
  bool EndRound() override {
    if (++rounds_ != next_loss_) return true;
    next_loss_ *= 2;
    return false;
  }

  std::map<uint64_t, Block> blocks;  // by node
  int resets = 0;

 private:
  int64_t next_loss_;
  int64_t rounds_ = 0;
  uint64_t last_ = 0;
};

}  // namespace hadal::testing
