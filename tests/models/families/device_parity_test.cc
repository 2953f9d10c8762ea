// SPDX-License-Identifier: Apache-2.0
//
// A whole model of every family on a device says what it says on the reference backend: prompts, decode, both mixed,
// and a chunk after a prefix; and what it decodes greedily the CPU decodes. On the emulated device its own kernels run;
// on a GPU, with wide sizes, the libraries too.
#include <algorithm>
#include <cmath>
#include <cstdlib>
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
#include "tests/models/families/tiny_configs.h"
#include "tests/models/outline.h"
#include "tests/models/step_builder.h"

namespace hadal::models {
namespace {

using kernels::DType;
using testing::StepBuilder;

constexpr int32_t kBlockTokens = 16;
constexpr int32_t kBlocksPerSequence = 4;
constexpr int32_t kSequences = 4;
constexpr int32_t kMaxTokens = 64;

struct Shape {
  std::string name;
  std::string config;
  DType dtype;
};

// A model on dummy weights, the same for every backend.
class Subject {
 public:
  Subject(const Shape& shape, const std::string& backend) : backend_(*kernels::CreateBackend(backend, {.threads = 2})) {
    const config::ModelConfig config = *config::ParseModelConfig(shape.config);
    const Family& family = **FindFamily(config.architecture);
    outline_ = *NetworkOutline::Create(family, config, shape.dtype);
    weights_ = std::move(*checkpoint::WeightLoader::Create(checkpoint::WeightStore::Dummy(outline_->tensors(), 1),
                                                           config, backend_.get(), {.compute_dtype = shape.dtype}));
    auto network = *family.load({config, *weights_, *backend_}, {512, MlaForm::kAuto});
    windowed_ = network->kv_layout().window_tokens > 0;
    constexpr int32_t kBlocks = kSequences * kBlocksPerSequence;
    EXPECT_TRUE(network->AllocateKvCache({kBlocks, kBlockTokens, windowed_ ? kBlocks : 0}).ok());
    executor_ = std::make_unique<StepExecutor>(
        backend_.get(), std::move(network),
        StepBudget{kMaxTokens, kSequences, [this](int64_t n) { return outline_->WorkspaceBytes(n); }});
    EXPECT_TRUE(executor_->Prepare().ok());
  }

  // Log-probabilities of a few tokens in every row of every step: sequence, cached tokens, new ones.
  std::vector<float> Run() {
    std::vector<float> values;
    Step({{0, 0, 20}, {1, 0, 5}}, values);              // two prompts
    Step({{0, 20, 1}, {1, 5, 1}}, values);              // decode
    Step({{0, 21, 1}, {2, 0, 33}, {1, 6, 1}}, values);  // a prompt between decodes
    Step({{2, 33, 17}, {0, 22, 1}}, values);            // a chunk after a prefix
    return values;
  }

  // The most likely tokens after two prompts, each fed back, sequence by sequence within a step.
  std::vector<int32_t> Greedy(int32_t steps) {
    std::vector<int32_t> tokens = {3, 5}, all;
    for (int32_t step = 0; step < steps; ++step) {
      StepBuilder builder(kBlockTokens, kBlocksPerSequence, windowed_);
      for (int32_t s = 0; s < 2; ++s) builder.Add(s, step, {tokens[s]}).Sample();
      const auto output = executor_->Run(builder.Take());
      EXPECT_TRUE(output.ok()) << output.status();
      if (!output.ok()) return all;
      for (int32_t s = 0; s < 2; ++s) tokens[s] = output->samples[s].token_id;
      all.insert(all.end(), tokens.begin(), tokens.end());
    }
    return all;
  }

 private:
  struct Part {
    int32_t sequence, cached, count;
  };

  void Step(const std::vector<Part>& parts, std::vector<float>& values) {
    StepBuilder builder(kBlockTokens, kBlocksPerSequence, windowed_);
    for (const auto& [sequence, cached, count] : parts) {
      std::vector<int32_t> tokens(count);
      for (int32_t i = 0; i < count; ++i) tokens[i] = (sequence * 71 + (cached + i) * 37 + 5) % 307;
      builder.Add(sequence, cached, tokens);
    }
    StepInput input = builder.Take();
    for (int32_t row = 0; row < input.tokens(); ++row) {
      for (const int32_t target : {3, 101, 250}) {
        SampleRow& sample = input.samples.emplace_back();
        sample.token_index = row;
        sample.target_token = target;
        sample.top_logprobs = 0;
      }
    }
    const auto output = executor_->Run(input);
    ASSERT_TRUE(output.ok()) << output.status();
    for (const SampleResult& sample : output->samples) {
      EXPECT_FALSE(sample.faulty);
      values.push_back(sample.logprob);
    }
  }

  std::unique_ptr<kernels::Backend> backend_;
  std::shared_ptr<NetworkOutline> outline_;
  std::unique_ptr<checkpoint::WeightLoader> weights_;
  std::unique_ptr<StepExecutor> executor_;
  bool windowed_ = false;
};

class DeviceParityTest : public ::testing::TestWithParam<Shape> {
 protected:
  void SetUp() override {
    const auto backend = kernels::CreateBackend("cuda", {});
    if (backend.ok()) return;
    if (std::getenv("HADAL_REQUIRE_GPU") != nullptr) FAIL() << backend.status();
    GTEST_SKIP() << "NOT TESTED HERE: " << backend.status();
  }
};

TEST_P(DeviceParityTest, AWholeModelSaysTheSame) {
  const std::vector<float> expected = Subject(GetParam(), "reference").Run();
  const std::vector<float> found = Subject(GetParam(), "cuda").Run();
  ASSERT_EQ(found.size(), expected.size());
  // Sums in another order; in bf16 each of the ops also rounds, and rounds differently at times.
  const float bound = GetParam().dtype == DType::kF32 ? 1e-3f : 0.1f;
  float largest = 0;
  for (size_t i = 0; i < found.size(); ++i) largest = std::max(largest, std::abs(found[i] - expected[i]));
  RecordProperty("largest_difference", std::to_string(largest));
  EXPECT_LE(largest, bound);
}

// In f32, where no two tokens of these models come near each other.
class GreedyDeviceParityTest : public DeviceParityTest {};

TEST_P(GreedyDeviceParityTest, TokensAreTheProcessors) {
  constexpr int32_t kSteps = 12;
  const std::vector<int32_t> expected = Subject(GetParam(), "cpu").Greedy(kSteps);
  ASSERT_EQ(expected.size(), size_t{2 * kSteps});
  EXPECT_EQ(Subject(GetParam(), "cuda").Greedy(kSteps), expected);
}

std::vector<Shape> Shapes() {
  std::vector<Shape> shapes;
  for (const testing::TinyFamily& tiny : testing::TinyFamilies()) {
    const std::string name = tiny.name;
    shapes.push_back({name + "_f32_cuda", tiny.config, DType::kF32});
    shapes.push_back({name + "_bf16_cuda", tiny.config, DType::kBF16});
    shapes.push_back({name + "_bf16_wide_cuda", testing::Wide(tiny.config), DType::kBF16});
  }
  return shapes;
}

std::vector<Shape> ShapesInF32() {
  std::vector<Shape> shapes = Shapes();
  std::erase_if(shapes, [](const Shape& shape) { return shape.dtype != DType::kF32; });
  return shapes;
}

std::string NameOf(const ::testing::TestParamInfo<Shape>& info) { return info.param.name; }

INSTANTIATE_TEST_SUITE_P(Families, DeviceParityTest, ::testing::ValuesIn(Shapes()), NameOf);
INSTANTIATE_TEST_SUITE_P(Families, GreedyDeviceParityTest, ::testing::ValuesIn(ShapesInF32()), NameOf);

}  // namespace
}  // namespace hadal::models
