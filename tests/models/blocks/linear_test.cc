// SPDX-License-Identifier: Apache-2.0
//
// A weight reaches its op as it was loaded: values, scales and scheme. No scheme has scales yet, so a loader that adds
// some shows by the op's refusal that none of them is lost on the way.
#include "models/blocks/linear.h"

#include <vector>

#include "gtest/gtest.h"
#include "models/blocks/embedding.h"
#include "models/blocks/grouped_linear.h"
#include "models/blocks/meta_backend.h"
#include "models/checkpoint/recording_loader.h"

namespace hadal::models {
namespace {

using checkpoint::LoadedTensor;
using checkpoint::TensorSpec;
using kernels::DType;
using kernels::TensorView;

constexpr int64_t kOut = 6, kIn = 4, kExperts = 3;

// Gives every matrix a scale for each of its rows.
class ScalingLoader final : public checkpoint::RecordingLoader {
 public:
  using RecordingLoader::RecordingLoader;

  absl::StatusOr<LoadedTensor> Take(const TensorSpec& spec) override { return WithScales(RecordingLoader::Take(spec)); }
  absl::StatusOr<LoadedTensor> TakeStacked(const std::vector<TensorSpec>& specs) override {
    return WithScales(RecordingLoader::TakeStacked(specs));
  }
  absl::StatusOr<LoadedTensor> TakeGroups(const std::vector<std::vector<TensorSpec>>& groups) override {
    return WithScales(RecordingLoader::TakeGroups(groups));
  }

 private:
  static absl::StatusOr<LoadedTensor> WithScales(absl::StatusOr<LoadedTensor> tensor) {
    if (!tensor.ok() || tensor->view().rank < 2) return tensor;
    std::vector<int64_t> shape(tensor->view().sizes.begin(), tensor->view().sizes.begin() + tensor->view().rank - 1);
    tensor->weight.scales = TensorView(kScales, DType::kF32, shape);
    return tensor;
  }

  static constexpr float kScales[kExperts * kOut] = {};
};

// Keeps what was uploaded. Weights are joined when `host_accessible` is false.
class UploadingBackend final : public MetaBackend {
 public:
  explicit UploadingBackend(bool host_accessible) : host_accessible_(host_accessible) {}

  bool host_accessible() const override { return host_accessible_; }
  absl::Status Upload(void*, const void* source, int64_t bytes) override {
    const auto* words = static_cast<const int64_t*>(source);
    uploaded.assign(words, words + bytes / static_cast<int64_t>(sizeof(int64_t)));
    return absl::OkStatus();
  }

  std::vector<int64_t> uploaded;

 private:
  bool host_accessible_;
};

class LinearTest : public ::testing::TestWithParam<bool> {
 protected:
  LoadContext context(checkpoint::ParameterLoader& loader) { return {config_, loader, backend_}; }

  const char memory_[256] = {};
  const TensorView x_{memory_, DType::kBF16, {5, kIn}};
  const TensorView expert_start_{memory_, DType::kI32, {kExperts + 1}};

  config::ModelConfig config_;
  UploadingBackend backend_{GetParam()};
  checkpoint::RecordingLoader plain_{DType::kBF16};
  ScalingLoader scaled_{DType::kBF16};
};

INSTANTIATE_TEST_SUITE_P(InPlaceAndJoined, LinearTest, ::testing::Bool());

TEST_P(LinearTest, PassesTheWholeWeightOn) {
  const TensorView out(memory_, DType::kBF16, {5, kOut});
  const LinearSpec spec{.out = kOut, .in = kIn, .bias = true};
  EXPECT_EQ(Linear::Load(context(plain_), "a", spec)->Forward(backend_, x_, out), absl::OkStatus());
  EXPECT_EQ(Linear::Load(context(scaled_), "a", spec)->Forward(backend_, x_, out),
            absl::InvalidArgumentError("gemm: w.scales: expected none with scheme plain, found f32 [6]"));
}

TEST_P(LinearTest, MergedPassesTheWholeWeightOn) {
  const TensorView out(memory_, DType::kBF16, {5, kOut});
  const std::vector<MergedLinear::Part> parts = {{"a", 2}, {"b", 4}};
  EXPECT_EQ(MergedLinear::Load(context(plain_), parts, {.in = kIn})->Forward(backend_, x_, out), absl::OkStatus());
  const absl::Status refused = MergedLinear::Load(context(scaled_), parts, {.in = kIn})->Forward(backend_, x_, out);
  EXPECT_EQ(refused,
            absl::InvalidArgumentError(GetParam() ? "gemm: w.scales: expected none with scheme plain, found f32 [2]"
                                                  : "gemm: w.scales: expected none with scheme plain, found f32 [6]"));
}

TEST_P(LinearTest, ATiedHeadIsTheWholeTable) {
  config_.tie_word_embeddings = true;
  config_.vocab_size = kOut;
  config_.hidden_size = kIn;
  const TensorView logits(memory_, DType::kF32, {5, kOut});
  const auto head = [&](checkpoint::ParameterLoader& loader) {
    return LmHead::Load(context(loader), "norm", "head", *TokenEmbedding::Load(context(loader), "embed"));
  };
  EXPECT_EQ(head(plain_)->Forward(backend_, x_, logits), absl::OkStatus());
  EXPECT_EQ(head(scaled_)->Forward(backend_, x_, logits),
            absl::InvalidArgumentError("gemm: w.scales: expected none with scheme plain, found f32 [6]"));
}

TEST_P(LinearTest, GroupedPassesTheWholeWeightOn) {
  const TensorView out(memory_, DType::kBF16, {5, kOut});
  const GroupedLinear::Shape shape{.experts = kExperts, .out = kOut / 2, .in = kIn};
  const auto load = [&](checkpoint::ParameterLoader& loader) {
    return GroupedLinear::Load(context(loader), "experts", {"gate", "up"}, shape);
  };
  EXPECT_EQ(load(plain_)->Forward(backend_, x_, expert_start_, out), absl::OkStatus());
  const size_t lists = GetParam() ? 2 : 1;  // gate and up apart, or joined
  EXPECT_EQ(backend_.uploaded.size(), lists * kExperts);

  const auto scaled = load(scaled_);
  EXPECT_EQ(backend_.uploaded.size(), 2 * lists * kExperts);  // values and scales
  EXPECT_EQ(scaled->Forward(backend_, x_, expert_start_, out),
            absl::InvalidArgumentError(
                GetParam() ? "grouped_gemm: w.each.scales: expected none with scheme plain, found f32 [3]"
                           : "grouped_gemm: w.each.scales: expected none with scheme plain, found f32 [6]"));
  if (GetParam()) return;
  // Each expert's values and scales lie behind those of the expert before it.
  const std::vector<int64_t>& at = backend_.uploaded;
  EXPECT_EQ(at[1] - at[0], kOut * kIn * 2);
  EXPECT_EQ(at[kExperts + 1] - at[kExperts], kOut * 4);
}

}  // namespace
}  // namespace hadal::models
