// SPDX-License-Identifier: Apache-2.0
//
// Cache blocks are handed from request to request without being cleared, and a request with broken weights or inputs
// may have left NaN in them. A kernel that multiplies a masked key by zero instead of skipping it would let that NaN
// reach another request. Here every byte of fresh memory is NaN, and nothing of it may show.

#include <algorithm>
#include <cmath>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/backend.h"
#include "models/checkpoint/weight_loader.h"
#include "models/checkpoint/weights.h"
#include "models/families/family.h"
#include "models/registry.h"
#include "models/step_executor.h"
#include "tests/models/families/poisoned_backend.h"
#include "tests/models/families/tiny_configs.h"
#include "tests/models/outline.h"
#include "tests/models/step_builder.h"

namespace hadal::models {
namespace {

using kernels::DType;
using testing::StepBuilder;

struct Shape {
  std::string name;
  const char* config;
  DType dtype;
  MlaForm form = MlaForm::kAuto;
};

constexpr int32_t kBlockTokens = 16;
constexpr int32_t kBlocksPerSequence = 8;

std::vector<int32_t> Tokens(int count, int first) {
  std::vector<int32_t> tokens(count);
  for (int i = 0; i < count; ++i) tokens[i] = (first + 37 * i) % 307;
  return tokens;
}

// Log-probabilities of a fixed program of steps: prompts, a chunk behind a prefix beside decode, decode at odd lengths.
std::vector<float> RunProgram(const Shape& shape, int poison, bool pretend_device = false) {
  const config::ModelConfig config = *config::ParseModelConfig(shape.config);
  const Family& family = **FindFamily(config.architecture);
  const auto outline = *NetworkOutline::Create(family, config, shape.dtype);
  testing::PoisonedBackend backend(*kernels::CreateBackend("cpu", {.threads = 2}), poison, pretend_device);
  auto weights = *checkpoint::WeightLoader::Create(checkpoint::WeightStore::Dummy(outline->tensors(), 1), config,
                                                   &backend, {.compute_dtype = shape.dtype});
  auto network = *family.load({config, *weights, backend}, {512, shape.form});
  const bool windowed = network->kv_layout().window_tokens > 0;
  EXPECT_TRUE(
      network->AllocateKvCache({3 * kBlocksPerSequence, kBlockTokens, windowed ? 3 * kBlocksPerSequence : 0}).ok());
  StepExecutor executor(&backend, std::move(network), {128, 3, [&](int64_t n) { return outline->WorkspaceBytes(n); }});
  EXPECT_TRUE(executor.Prepare().ok());

  std::vector<float> logprobs;
  const auto run = [&](StepBuilder& builder) {
    StepInput step = builder.Take();
    for (int32_t t = 0; t < step.tokens(); ++t) {
      SampleRow& row = step.samples.emplace_back();
      row.token_index = t;
      row.target_token = 5;
      row.top_logprobs = 0;
    }
    const auto output = executor.Run(step);
    ASSERT_TRUE(output.ok()) << output.status();
    for (const SampleResult& row : output->samples) {
      EXPECT_FALSE(row.faulty);
      logprobs.push_back(row.logprob);
    }
  };
  StepBuilder prompts(kBlockTokens, kBlocksPerSequence, windowed);
  prompts.Add(0, 0, Tokens(37, 3)).Add(2, 0, Tokens(17, 90));
  run(prompts);
  StepBuilder mixed(kBlockTokens, kBlocksPerSequence, windowed);
  mixed.Add(0, 37, Tokens(1, 8)).Add(1, 0, Tokens(1, 200)).Add(2, 17, Tokens(50, 4));
  run(mixed);
  StepBuilder decode(kBlockTokens, kBlocksPerSequence, windowed);
  decode.Add(2, 67, Tokens(1, 8)).Add(1, 1, Tokens(1, 2)).Add(0, 38, Tokens(1, 4));
  run(decode);
  return logprobs;
}

class MemoryTest : public ::testing::TestWithParam<Shape> {};

TEST_P(MemoryTest, UninitialisedBytesHaveNoInfluence) {
  const std::vector<float> clean = RunProgram(GetParam(), 0);
  const std::vector<float> poisoned = RunProgram(GetParam(), 0xff);
  ASSERT_EQ(clean.size(), poisoned.size());
  // The positions must matter, or the comparison says nothing.
  const auto [lowest, highest] = std::minmax_element(clean.begin(), clean.end());
  ASSERT_GT(*highest - *lowest, 0.05f);
  for (size_t i = 0; i < clean.size(); ++i) {
    ASSERT_TRUE(std::isfinite(clean[i])) << i;
    ASSERT_EQ(clean[i], poisoned[i]) << i;
  }
}

TEST_P(MemoryTest, WeightsThatWereJoinedAndUploadedGiveTheSame) {
  const std::vector<float> in_place = RunProgram(GetParam(), 0xff);
  const std::vector<float> uploaded = RunProgram(GetParam(), 0xff, true);
  ASSERT_EQ(in_place.size(), uploaded.size());
  const double tolerance = GetParam().dtype == DType::kF32 ? 1e-4 : 0.15;
  for (size_t i = 0; i < in_place.size(); ++i) ASSERT_NEAR(in_place[i], uploaded[i], tolerance) << i;
}

std::vector<Shape> Shapes() {
  std::vector<Shape> shapes;
  for (const auto& [dtype, suffix] :
       {std::pair<DType, std::string>{DType::kF32, "f32"}, {DType::kBF16, "bf16"}, {DType::kF16, "f16"}}) {
    for (const testing::TinyFamily& tiny : testing::TinyFamilies()) {
      const std::string name = std::string(tiny.name) + "_" + suffix;
      shapes.push_back({name, tiny.config, dtype});
      if (!std::holds_alternative<config::MlaConfig>(config::ParseModelConfig(tiny.config)->attention)) continue;
      shapes.push_back({name + "_absorbed", tiny.config, dtype, MlaForm::kAbsorbed});
      shapes.push_back({name + "_expanded", tiny.config, dtype, MlaForm::kExpanded});
    }
  }
  return shapes;
}

INSTANTIATE_TEST_SUITE_P(Families, MemoryTest, ::testing::ValuesIn(Shapes()),
                         [](const ::testing::TestParamInfo<Shape>& info) { return info.param.name; });

}  // namespace
}  // namespace hadal::models
