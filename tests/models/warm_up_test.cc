// SPDX-License-Identifier: Apache-2.0
#include "models/warm_up.h"

#include <algorithm>
#include <memory>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "models/decode_bucket.h"
#include "models/step_check.h"

namespace hadal::models {
namespace {

using ::testing::DoubleNear;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Checks every step as the real runner does, and fails one if asked to.
class CheckingModel : public Model {
 public:
  CheckingModel(const WarmUpLimits& limits, int32_t window_tokens)
      : checker_(StepLimits{.vocab_size = 307,
                            .max_model_len = 100,
                            .num_blocks = limits.cache.blocks,
                            .block_tokens = limits.cache.block_tokens,
                            .window_tokens = window_tokens,
                            .window_blocks = limits.cache.window_blocks,
                            .max_tokens = limits.max_tokens,
                            .max_sequences = limits.max_sequences}) {
    info_.name = "checked";
    info_.device = "cuda:0";
    info_.vocab_size = 307;
    info_.max_model_len = 100;
  }

  const ModelInfo& info() const override { return info_; }
  const KvLayout& kv_layout() const override { return kv_layout_; }
  int64_t WorkspaceBytes(int32_t, int32_t) const override { return 0; }
  absl::Status AllocateKvCache(const KvCacheSize&) override { return absl::OkStatus(); }
  void BeginWarmUp() override { warming_up = true; }
  void EndWarmUp() override { warming_up = false; }
  absl::StatusOr<StepHandle> Launch(StepInput input) override {
    EXPECT_TRUE(warming_up);
    if (absl::Status status = checker_.Check(input); !status.ok()) return status;
    largest = std::max(largest, input.tokens());
    for (const SampleRow& row : input.samples) masked = masked || row.allowed_tokens != nullptr;
    return StepHandle{++steps};
  }
  absl::StatusOr<StepOutput> Wait(StepHandle handle) override {
    if (handle.id == failing_step) return absl::InternalError("no kernel image");
    return StepOutput();
  }

  uint64_t steps = 0, failing_step = 0;
  int32_t largest = 0;
  bool masked = false, warming_up = false;

 private:
  ModelInfo info_;
  KvLayout kv_layout_;
  StepChecker checker_;
};

TEST(WarmUpTest, ADeviceSeesEveryBatchSizeAndChunkLength) {
  const WarmUpLimits limits = {.max_tokens = 80, .max_sequences = 6, .cache = {32, 16}, .every_size = true};
  EXPECT_THAT(WarmUpSteps(limits, 100),
              ElementsAre(WarmUpStep{6, 0, 2}, WarmUpStep{1, 2, 1}, WarmUpStep{2, 2, 1}, WarmUpStep{4, 2, 1},
                          WarmUpStep{6, 2, 1}, WarmUpStep{1, 2, 1}, WarmUpStep{1, 2, 1}, WarmUpStep{1, 0, 16},
                          WarmUpStep{1, 0, 64}, WarmUpStep{1, 0, 80}, WarmUpStep{1, 40, 32}));
}

TEST(WarmUpTest, DecodeTakesTheSizesThatStepsArePaddedTo) {
  const WarmUpLimits limits = {.max_tokens = 400, .max_sequences = 200, .cache = {200, 16}, .every_size = true};
  std::vector<int32_t> sizes;
  for (const WarmUpStep& step : WarmUpSteps(limits, 100)) {
    if (step.cached == 2) sizes.push_back(step.sequences);
  }
  EXPECT_THAT(sizes, ElementsAre(1, 2, 4, 8, 16, 24, 32, 40, 48, 56, 64, 128, 200, 1, 1));
}

TEST(DecodeBucketTest, PadsToFewSizesAndWithExpertsToMore) {
  for (const auto& [sequences, dense, experts] :
       {std::tuple(1, 1, 1), {2, 2, 2}, {3, 4, 3}, {5, 8, 5}, {8, 8, 8}, {9, 16, 16}, {17, 24, 24}, {64, 64, 64}}) {
    EXPECT_EQ(DecodeBucket(sequences, /*experts=*/false), dense) << sequences;
    EXPECT_EQ(DecodeBucket(sequences, /*experts=*/true), experts) << sequences;
  }
}

TEST(DecodeBucketTest, TablesHaveFewWidths) {
  for (const auto& [columns, widened] : {std::pair(1, 16), {16, 16}, {17, 64}, {64, 64}, {65, 256}, {1025, 4096}}) {
    EXPECT_EQ(TableBucket(columns), widened) << columns;
  }
}

TEST(WarmUpTest, AProcessorSeesAShortPromptAndOneToken) {
  EXPECT_THAT(WarmUpSteps({.max_tokens = 80, .max_sequences = 6, .cache = {32, 16}}, 100),
              ElementsAre(WarmUpStep{1, 0, 32}, WarmUpStep{1, 32, 1}));
}

// What is left is told to clients as a time.
TEST(WarmUpTest, StepsCountByWhatTheyTake) {
  const auto told = [](const WarmUpLimits& limits) {
    CheckingModel model(limits, 0);
    std::vector<double> shares;
    EXPECT_TRUE(WarmUp(model, limits, [&](double share) { shares.push_back(share); }).ok());
    return shares;
  };
  // A prompt of 32 tokens and one token, where a pass over the weights takes as long as 16.
  EXPECT_THAT(told({.max_tokens = 80, .max_sequences = 6, .cache = {32, 16}}),
              ElementsAre(DoubleNear(48.0 / 65, 1e-9), 1));
  // On a device passes over the weights take most of the time while steps are small.
  const std::vector<double> small = told({.max_tokens = 80, .max_sequences = 6, .cache = {32, 16}, .every_size = true});
  EXPECT_NEAR(small[0], 1.0 / static_cast<double>(small.size()), 0.02);
}

TEST(WarmUpTest, StepsKeepToEveryLimit) {
  for (const int32_t window_blocks : {0, 1, 3, 40}) {
    for (const int32_t blocks : {1, 2, 50}) {
      for (const int32_t block_tokens : {1, 2, 16}) {
        for (const int32_t max_tokens : {1, 2, 7, 64}) {
          for (const int32_t max_sequences : {1, 5}) {
            for (const bool every_size : {false, true}) {
              SCOPED_TRACE(::testing::Message() << window_blocks << " " << blocks << " " << block_tokens << " "
                                                << max_tokens << " " << max_sequences << " " << every_size);
              const WarmUpLimits limits = {.max_tokens = max_tokens,
                                           .max_sequences = max_sequences,
                                           .cache = {blocks, block_tokens, window_blocks},
                                           .every_size = every_size};
              CheckingModel model(limits, window_blocks > 0 ? 4 : 0);
              const absl::StatusOr<int> steps = WarmUp(model, limits);
              ASSERT_TRUE(steps.ok()) << steps.status();
              EXPECT_EQ(static_cast<uint64_t>(*steps), model.steps);
              EXPECT_GE(model.largest, 1);
            }
          }
        }
      }
    }
  }
}

TEST(WarmUpTest, AFailureNamesTheStepAndTheDevice) {
  const WarmUpLimits limits = {.max_tokens = 80, .max_sequences = 6, .cache = {32, 16}, .every_size = true};
  CheckingModel model(limits, 0);
  std::vector<double> told;
  const absl::StatusOr<int> steps = WarmUp(model, limits, [&](double share) { told.push_back(share); });
  ASSERT_TRUE(steps.ok());
  EXPECT_EQ(static_cast<int>(told.size()), *steps) << "one by one";
  EXPECT_TRUE(std::is_sorted(told.begin(), told.end()));
  EXPECT_EQ(told.back(), 1);
  EXPECT_TRUE(model.masked);
  EXPECT_FALSE(model.warming_up);
  model.failing_step = model.steps + 4;
  const absl::Status failed = WarmUp(model, limits).status();
  EXPECT_EQ(failed.code(), absl::StatusCode::kInternal);
  EXPECT_FALSE(model.warming_up);
  EXPECT_THAT(std::string(failed.message()),
              HasSubstr("checked: warm-up on cuda:0: a step of 4 x 1 tokens after 2 others failed: no kernel image"));
}

}  // namespace
}  // namespace hadal::models
