// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <limits>
#include <stdexcept>
#include <vector>

#include "models/blocks/network.h"

namespace hadal::models::testing {

// A network on a host-accessible backend whose logits are known: after token t, token (t + 1) % vocab has logit 2 and
// every other token 0. Some tokens are special: see the constants. One value a hidden row: the token id.
class FakeNetwork : public Network, private StepPlanner {
 public:
  static constexpr int32_t kVocab = 50;
  static constexpr int32_t kNanToken = 40;       // its row's logits are all NaN
  static constexpr int32_t kFailingToken = 41;   // a step that holds it fails
  static constexpr int32_t kThrowingToken = 42;  // a step that holds it throws

  // With a window, Forward checks that the window arrays that it has uploaded have arrived.
  explicit FakeNetwork(int32_t window_tokens = 0) {
    kv_layout_.caches.push_back({.name = "fake", .layers = 2, .bytes_per_entry_layer = 100});
    if (window_tokens == 0) return;
    kv_layout_.caches.push_back({.name = "window", .layers = 2, .bytes_per_entry_layer = 10, .windowed = true});
    kv_layout_.window_tokens = window_tokens;
  }

  const KvLayout& kv_layout() const override { return kv_layout_; }
  int64_t vocab_size() const override { return kVocab; }
  int64_t hidden_size() const override { return 1; }
  absl::Status AllocateKvCache(const KvCacheSize& size) override {
    return size.blocks > 1000 ? absl::ResourceExhaustedError("fake device is full") : absl::OkStatus();
  }
  StepPlanner* step_planner() override { return this; }

  absl::StatusOr<kernels::TensorView> Forward(const ForwardContext& context) override {
    if (kv_layout_.window_tokens > 0) {
      if (!std::equal(window_slots_.begin(), window_slots_.end(), slots_view_.as<int64_t>()) ||
          !std::equal(window_tables_.begin(), window_tables_.end(), tables_view_.as<int32_t>()) ||
          tables_view_.size(0) != context.batch.ragged.block_tables.size(0)) {
        return absl::InternalError("the window arrays did not arrive");
      }
    }
    auto hidden = context.arena.Take(kernels::DType::kF32, {context.batch.tokens(), 1});
    if (!hidden.ok()) return hidden.status();
    for (int64_t t = 0; t < context.batch.tokens(); ++t) {
      const int32_t id = context.batch.token_ids.as<int32_t>()[t];
      if (id == kFailingToken) return absl::InternalError("fake device failure");
      if (id == kThrowingToken) throw std::runtime_error("fake exception");
      hidden->as<float>()[t] = static_cast<float>(id);
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
  void Plan(const StepInput& input, StepUpload& upload) override {
    window_slots_ = input.window_slot_mapping;
    window_tables_ = input.window_block_tables;
    slots_handle_ = upload.Add(absl::MakeConstSpan(window_slots_));
    tables_handle_ = upload.Add(absl::MakeConstSpan(window_tables_));
  }
  void Bind(const StepUpload& upload, const StepBatch& batch) override {
    const auto tokens = static_cast<int64_t>(window_slots_.size());
    const int64_t sequences = batch.ragged.sequences();
    slots_view_ = upload.View(slots_handle_, {tokens});
    tables_view_ = upload.View(tables_handle_, {sequences, static_cast<int64_t>(window_tables_.size()) / sequences});
  }
  absl::Status VisitWorstSteps(const StepBatch&, absl::FunctionRef<absl::Status()> run) override { return run(); }

  KvLayout kv_layout_;
  std::vector<int64_t> window_slots_;
  std::vector<int32_t> window_tables_;
  StepUpload::Handle slots_handle_, tables_handle_;
  kernels::TensorView slots_view_, tables_view_;
};

}  // namespace hadal::models::testing
