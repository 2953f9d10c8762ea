// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <limits>
#include <stdexcept>
#include <vector>

#include "models/blocks/network.h"

namespace hadal::models::testing {

// A network on a host-accessible backend whose logits are known: after token t, token (t + 1) % vocab has logit 2 and
// every other token 0. Some tokens are special: see the constants. One value a hidden row: the token id.
class FakeNetwork : public Network {
 public:
  static constexpr int32_t kVocab = 50;
  static constexpr int32_t kNanToken = 40;       // its row's logits are all NaN
  static constexpr int32_t kFailingToken = 41;   // a step that holds it fails
  static constexpr int32_t kThrowingToken = 42;  // a step that holds it throws

  FakeNetwork() { kv_layout_.caches.push_back({"fake", 2, 100}); }

  const KvLayout& kv_layout() const override { return kv_layout_; }
  int64_t vocab_size() const override { return kVocab; }
  int64_t hidden_size() const override { return 1; }
  absl::Status AllocateKvCache(int32_t num_blocks, int32_t block_tokens) override {
    return num_blocks > 1000 ? absl::ResourceExhaustedError("fake device is full") : absl::OkStatus();
  }
  void PlanStep(const StepInput& input, StepUpload& upload) override { ids_ = input.token_ids; }
  void BindStep(const StepUpload& upload, StepBatch& batch) override {}

  absl::StatusOr<kernels::TensorView> Forward(const ForwardContext& context) override {
    auto hidden = context.arena.Take(kernels::DType::kF32, {context.batch.tokens(), 1});
    if (!hidden.ok()) return hidden.status();
    for (size_t t = 0; t < ids_.size(); ++t) {
      if (ids_[t] == kFailingToken) return absl::InternalError("fake device failure");
      if (ids_[t] == kThrowingToken) throw std::runtime_error("fake exception");
      hidden->as<float>()[t] = static_cast<float>(ids_[t]);
    }
    return *hidden;
  }

  absl::Status Head(kernels::Backend& backend, const kernels::TensorView& hidden,
                    const kernels::TensorView& logits) override {
    max_head_rows = std::max(max_head_rows.load(), hidden.size(0));
    for (int64_t r = 0; r < hidden.size(0); ++r) {
      const int32_t token = static_cast<int32_t>(hidden.row<float>(r)[0]);
      for (int32_t v = 0; v < kVocab; ++v) {
        logits.row<float>(r)[v] = v == (token + 1) % kVocab ? 2.0f : 0.0f;
        if (token == kNanToken) logits.row<float>(r)[v] = std::numeric_limits<float>::quiet_NaN();
      }
    }
    return absl::OkStatus();
  }

  static int64_t WorkspaceBytes(int64_t tokens) { return ArenaBytes(kernels::DType::kF32, tokens); }

  std::atomic<int64_t> max_head_rows{0};

 private:
  KvLayout kv_layout_;
  std::vector<int32_t> ids_;
};

}  // namespace hadal::models::testing
