// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "kernels/backend.h"
#include "models/blocks/context.h"
#include "models/checkpoint/parameter_loader.h"
#include "models/config/config.h"

namespace hadal::models::testing {

// Gives blocks float32 parameters that a test has set by name; one that is missing or of another size is an error.
class ValueLoader final : public checkpoint::ParameterLoader {
 public:
  void Set(const std::string& name, std::vector<float> values) { values_[name] = std::move(values); }
  const std::vector<std::string>& taken() const { return taken_; }

  kernels::DType compute_dtype() const override { return kernels::DType::kF32; }
  absl::StatusOr<checkpoint::LoadedTensor> Take(const checkpoint::TensorSpec& spec) override {
    taken_.push_back(spec.name);
    const auto found = values_.find(spec.name);
    if (found == values_.end()) return absl::NotFoundError(spec.name);
    if (static_cast<int64_t>(found->second.size()) != spec.elements()) return absl::InvalidArgumentError(spec.name);
    checkpoint::LoadedTensor tensor;
    kernels::TensorView& view = tensor.weight.values;
    view = kernels::TensorView(found->second.data(), kernels::DType::kF32, {spec.elements()});
    view.rank = 0;
    int64_t stride = spec.elements();
    for (int64_t size : spec.shape) {
      stride /= size;
      view.sizes[view.rank] = size;
      view.strides[view.rank++] = stride;
    }
    return tensor;
  }
  // The reference backend uses parameters where they lie, so blocks do not ask for these.
  absl::StatusOr<checkpoint::LoadedTensor> TakeStacked(const std::vector<checkpoint::TensorSpec>&) override {
    return absl::UnimplementedError("TakeStacked");
  }
  absl::StatusOr<checkpoint::LoadedTensor> TakeGroups(
      const std::vector<std::vector<checkpoint::TensorSpec>>&) override {
    return absl::UnimplementedError("TakeGroups");
  }
  absl::StatusOr<checkpoint::LoadedTensor> TakeExpertTable(const checkpoint::TensorSpec&, int64_t) override {
    return absl::UnimplementedError("TakeExpertTable");
  }
  bool DeclareTable(int64_t) override { return true; }

 private:
  std::map<std::string, std::vector<float>> values_;
  std::vector<std::string> taken_;
};

// A block alone: the reference backend, parameters by name, a step of one sequence.
class BlockTest : public ::testing::Test {
 protected:
  BlockTest() : backend_(*kernels::CreateBackend("reference", {})), arena_(backend_.get()) {
    EXPECT_TRUE(arena_.Reserve(1 << 20).ok());
  }

  LoadContext load() { return {config_, loader_, *backend_}; }
  ForwardContext forward() { return {*backend_, arena_, batch_}; }

  // A step of `count` tokens behind `cached` ones, in a cache of blocks of `block_tokens` in their order.
  void Step(int32_t cached, int32_t count, int32_t block_tokens) {
    ids_.assign(count, 0);
    positions_.clear();
    slots_.clear();
    for (int32_t p = cached; p < cached + count; ++p) {
      positions_.push_back(p);
      slots_.push_back(p);
    }
    starts_ = {0, count};
    contexts_ = {cached + count};
    table_.clear();
    for (int32_t b = 0; b * block_tokens < contexts_[0]; ++b) table_.push_back(b);
    using kernels::DType;
    using kernels::TensorView;
    batch_.token_ids = TensorView(ids_.data(), DType::kI32, {count});
    batch_.positions = TensorView(positions_.data(), DType::kI32, {count});
    batch_.slot_mapping = TensorView(slots_.data(), DType::kI64, {count});
    batch_.ragged = {TensorView(starts_.data(), DType::kI32, {2}), TensorView(contexts_.data(), DType::kI32, {1}),
                     TensorView(table_.data(), DType::kI32, {1, static_cast<int64_t>(table_.size())}), starts_,
                     contexts_};
  }

  // [rows, columns] over values that the test owns.
  static kernels::TensorView Rows(std::vector<float>& values, int64_t columns) {
    return kernels::TensorView(values.data(), kernels::DType::kF32,
                               {static_cast<int64_t>(values.size()) / columns, columns});
  }

  std::unique_ptr<kernels::Backend> backend_;
  Arena arena_;
  config::ModelConfig config_;
  ValueLoader loader_;
  StepBatch batch_;
  std::vector<int32_t> ids_, positions_, starts_, contexts_, table_;
  std::vector<int64_t> slots_;
};

}  // namespace hadal::models::testing
