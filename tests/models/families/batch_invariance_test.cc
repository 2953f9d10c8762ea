// SPDX-License-Identifier: Apache-2.0
//
// What a row computes depends on its own tokens alone, to the last bit: not on the rows next to it, on the chunks its
// prompt came in, on a cached prefix, or on the number of threads. On the CPU this holds for every family and every
// instruction set; latent attention needs one form for all rows (see MlaForm).

#include <algorithm>
#include <bit>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_replace.h"
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
constexpr int32_t kBlocksPerSequence = 50;
constexpr int32_t kSequences = 65;
constexpr int32_t kTokens = 790;  // attention shares out the keys of so long a context among threads
constexpr int32_t kStepTokens = 1024;

std::vector<int32_t> Tokens(int count, int first) {
  std::vector<int32_t> tokens(count);
  for (int i = 0; i < count; ++i) tokens[i] = (first + 37 * i + i * i % 11) % 307;
  return tokens;
}

// The tiny configuration, with room for the subject.
std::string LongConfig(const std::string& text) {
  return absl::StrReplaceAll(text, {{"\"max_position_embeddings\": 512", "\"max_position_embeddings\": 1024"}});
}

struct Shape {
  std::string name;
  const char* config;
  DType dtype;
  std::string isa;
};

// A tiny model on dummy weights that runs one sequence, its subject, in different company.
class Bench {
 public:
  Bench(const Shape& shape, int threads)
      : backend_(*kernels::CreateBackend("cpu", {.threads = threads, .isa = shape.isa})) {
    const config::ModelConfig config = *config::ParseModelConfig(LongConfig(shape.config));
    const Family& family = **FindFamily(config.architecture);
    outline_ = *NetworkOutline::Create(family, config, shape.dtype);
    weights_ = std::move(*checkpoint::WeightLoader::Create(checkpoint::WeightStore::Dummy(outline_->tensors(), 1),
                                                           config, backend_.get(), {.compute_dtype = shape.dtype}));
    auto network = *family.load({config, *weights_, *backend_}, {1024, MlaForm::kAbsorbed});
    windowed_ = network->kv_layout().window_tokens > 0;
    const int32_t blocks = kSequences * kBlocksPerSequence;
    EXPECT_TRUE(network->AllocateKvCache({blocks, kBlockTokens, windowed_ ? blocks : 0}).ok());
    executor_ = std::make_unique<StepExecutor>(
        backend_.get(), std::move(network),
        StepBudget{kStepTokens, kSequences, [this](int64_t n) { return outline_->WorkspaceBytes(n); }});
    EXPECT_TRUE(executor_->Prepare().ok());
  }

  StepBuilder Step() const { return StepBuilder(kBlockTokens, kBlocksPerSequence, windowed_); }

  // Runs the step; returns what the rows of the sequence at `index` say, 21 log-probabilities and ids a row.
  std::vector<uint32_t> Run(StepBuilder& builder, int32_t index) {
    StepInput step = builder.Take();
    for (int32_t t = step.query_start[index]; t < step.query_start[index + 1]; ++t) {
      SampleRow& row = step.samples.emplace_back();
      row.token_index = t;
      row.target_token = 5;
      row.top_logprobs = 20;
    }
    const auto output = executor_->Run(step);
    EXPECT_TRUE(output.ok()) << output.status();
    std::vector<uint32_t> bits;
    for (const SampleResult& row : output->samples) {
      EXPECT_FALSE(row.faulty);
      bits.push_back(std::bit_cast<uint32_t>(row.logprob));
      for (const TokenLogprob& top : row.top) {
        bits.push_back(static_cast<uint32_t>(top.token_id));
        bits.push_back(std::bit_cast<uint32_t>(top.logprob));
      }
    }
    return bits;
  }

  // The subject alone, its tokens [begin, end) in chunks; [0, begin) must have run.
  std::vector<uint32_t> Alone(int32_t chunk, int32_t begin = 0, int32_t end = kTokens) {
    std::vector<uint32_t> bits;
    for (int32_t first = begin; first < end; first += chunk) {
      StepBuilder step = Step();
      step.Add(0, first, Subject(first, std::min(chunk, end - first)));
      const std::vector<uint32_t> part = Run(step, 0);
      bits.insert(bits.end(), part.begin(), part.end());
    }
    return bits;
  }

  static std::vector<int32_t> Subject(int32_t first, int32_t count) {
    const std::vector<int32_t> all = Tokens(kTokens, 3);
    return {all.begin() + first, all.begin() + first + count};
  }

 private:
  std::unique_ptr<kernels::Backend> backend_;
  std::shared_ptr<NetworkOutline> outline_;
  std::unique_ptr<checkpoint::WeightLoader> weights_;
  std::unique_ptr<StepExecutor> executor_;
  bool windowed_ = false;
};

class BatchInvarianceTest : public ::testing::TestWithParam<Shape> {
 protected:
  void SetUp() override {
    const auto backend = kernels::CreateBackend("cpu", {.threads = 1, .isa = GetParam().isa});
    if (!backend.ok()) GTEST_SKIP() << backend.status();
  }
};

TEST_P(BatchInvarianceTest, ChunksPrefixHitsAndThreads) {
  const std::vector<uint32_t> whole = Bench(GetParam(), 1).Alone(kTokens);
  for (const int threads : {2, 5}) {
    Bench bench(GetParam(), threads);
    for (const int32_t chunk : threads == 2 ? std::vector<int32_t>{kTokens, 64} : std::vector<int32_t>{7}) {
      ASSERT_EQ(bench.Alone(chunk), whole) << "chunks of " << chunk << ", " << threads << " threads";
    }
    // A hit of a whole number of blocks, and decode from there.
    const size_t row = whole.size() / kTokens;
    for (int32_t cached = kBlockTokens; cached < kTokens; cached += 9 * kBlockTokens) {
      ASSERT_EQ(bench.Alone(kTokens, cached), std::vector<uint32_t>(whole.begin() + cached * row, whole.end()))
          << "hit of " << cached << ", " << threads << " threads";
    }
    ASSERT_EQ(bench.Alone(1, 740), std::vector<uint32_t>(whole.begin() + 740 * row, whole.end())) << threads;
  }
}

TEST_P(BatchInvarianceTest, Neighbours) {
  Bench bench(GetParam(), 2);
  const std::vector<uint32_t> whole = bench.Alone(kTokens);
  const auto row = [&](int32_t position) {
    const auto values = static_cast<int64_t>(whole.size()) / kTokens;
    return std::vector<uint32_t>(whole.begin() + position * values, whole.begin() + (position + 1) * values);
  };
  for (const int32_t others : {1, 7, 63}) {
    // Decode next to decodes and prompts of other lengths.
    for (const int32_t position : {0, 255, 256, 511, 789}) {
      StepBuilder step = bench.Step();
      for (int32_t s = 1; s <= others / 2; ++s) step.Add(s, 0, Tokens(1 + s % 3 * 9, s));
      step.Add(0, position, Bench::Subject(position, 1));
      for (int32_t s = others / 2 + 1; s <= others; ++s) step.Add(s, 0, Tokens(1, 2 * s));
      ASSERT_EQ(bench.Run(step, others / 2), row(position)) << others << " others, position " << position;
    }
  }
}

std::vector<Shape> Shapes() {
  std::vector<Shape> shapes;
  for (const std::string isa : {"portable", "avx2", "avx512", "avx512_bf16", "amx"}) {
    for (const testing::TinyFamily& tiny : testing::TinyFamilies()) {
      // Slow, and its loops are the same code.
      if (isa == "portable" && tiny.config != testing::kTinyQwen2 && tiny.config != testing::kTinyDeepseekV4) continue;
      shapes.push_back({std::string(tiny.name) + "_bf16_" + isa, tiny.config, DType::kBF16, isa});
      if (isa == "avx2") shapes.push_back({std::string(tiny.name) + "_f32_" + isa, tiny.config, DType::kF32, isa});
    }
  }
  return shapes;
}

INSTANTIATE_TEST_SUITE_P(Families, BatchInvarianceTest, ::testing::ValuesIn(Shapes()),
                         [](const ::testing::TestParamInfo<Shape>& info) { return info.param.name; });

}  // namespace
}  // namespace hadal::models
