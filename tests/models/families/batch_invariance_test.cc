// SPDX-License-Identifier: Apache-2.0
//
// What a row computes depends on its own tokens alone, to the last bit: not on the rows next to it, on the chunks its
// prompt came in, on a cached prefix, on which rows ask for logits, or on the number of threads. On the CPU this holds
// for every family and every instruction set; latent attention needs one form for all rows (see MlaForm). On CUDA it
// holds for a batch-invariant backend: here on the emulated device with its own kernels, on a GPU (scripts/gpu-check)
// with the libraries too. HADAL_LONG_TESTS=1: a chunk of 2048, a hit of every block, every number of neighbours.

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <numeric>
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
constexpr int32_t kSequences = 65;

bool Set(const char* variable) { return std::getenv(variable) != nullptr; }

// How much is tried.
struct Extent {
  int32_t tokens = 790;  // attention shares out the keys of so long a context among threads
  std::vector<int32_t> chunks = {64, 7};
  std::vector<int32_t> hits;  // cached tokens
  int32_t decoded = 50;
  std::vector<int32_t> others = {1, 7, 63};
};

Extent ExtentOf(const std::string& backend) {
  Extent extent;
  int32_t blocks_between_hits = 9;
  if (backend == "cuda" && Set("HADAL_EMULATED_GPU")) {  // slow: more than one tile of keys, no more
    extent.tokens = 140;
    extent.chunks = {64};
    extent.decoded = 6;
    blocks_between_hits = 8;
    extent.others = {1, 6};
  } else if (Set("HADAL_LONG_TESTS")) {
    extent.tokens = 2100;
    extent.chunks = {2048, 64, 7, 1};
    blocks_between_hits = 1;
    extent.others.resize(63);
    std::iota(extent.others.begin(), extent.others.end(), 1);
  }
  for (int32_t block = blocks_between_hits; block * kBlockTokens < extent.tokens; block += blocks_between_hits) {
    extent.hits.push_back(block * kBlockTokens);
  }
  return extent;
}

std::vector<int32_t> Tokens(int count, int first) {
  std::vector<int32_t> tokens(count);
  for (int i = 0; i < count; ++i) tokens[i] = (first + 37 * i + i * i % 11) % 307;
  return tokens;
}

// The tiny configuration, with room for the subject.
std::string LongConfig(const std::string& text) {
  return absl::StrReplaceAll(text, {{"\"max_position_embeddings\": 512", "\"max_position_embeddings\": 4096"}});
}

struct Shape {
  std::string name;
  std::string config;
  DType dtype;
  std::string backend;
  std::string isa = "auto";
};

kernels::Backend::Options OptionsOf(const Shape& shape, int threads) {
  return {.threads = threads, .isa = shape.isa, .batch_invariant = true};
}

// A tiny model on dummy weights that runs one sequence, its subject, in different company.
class Bench {
 public:
  Bench(const Shape& shape, int threads)
      : extent_(ExtentOf(shape.backend)),
        blocks_per_sequence_((extent_.tokens + kBlockTokens - 1) / kBlockTokens),
        backend_(*kernels::CreateBackend(shape.backend, OptionsOf(shape, threads))) {
    const config::ModelConfig config = *config::ParseModelConfig(LongConfig(shape.config));
    const Family& family = **FindFamily(config.architecture);
    outline_ = *NetworkOutline::Create(family, config, shape.dtype);
    weights_ = std::move(*checkpoint::WeightLoader::Create(checkpoint::WeightStore::Dummy(outline_->tensors(), 1),
                                                           config, backend_.get(), {.compute_dtype = shape.dtype}));
    auto network = *family.load({config, *weights_, *backend_}, {4096, MlaForm::kAbsorbed});
    windowed_ = network->kv_layout().window_tokens > 0;
    const int32_t blocks = kSequences * blocks_per_sequence_;
    EXPECT_TRUE(network->AllocateKvCache({blocks, kBlockTokens, windowed_ ? blocks : 0}).ok());
    executor_ = std::make_unique<StepExecutor>(backend_.get(), std::move(network),
                                               StepBudget{extent_.tokens + 20 * kSequences, kSequences,
                                                          [this](int64_t n) { return outline_->WorkspaceBytes(n); }});
    EXPECT_TRUE(executor_->Prepare().ok());
  }

  StepBuilder Step() const { return StepBuilder(kBlockTokens, blocks_per_sequence_, windowed_); }

  const Extent& extent() const { return extent_; }

  // Runs the step; returns what the rows of the sequence at `index` from `first_row` on say, 21 log-probabilities and
  // ids a row.
  std::vector<uint32_t> Run(StepBuilder& builder, int32_t index, int32_t first_row = 0) {
    StepInput step = builder.Take();
    for (int32_t t = step.query_start[index] + first_row; t < step.query_start[index + 1]; ++t) {
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
  std::vector<uint32_t> Alone(int32_t chunk, int32_t begin = 0) {
    std::vector<uint32_t> bits;
    const int32_t end = extent_.tokens;
    for (int32_t first = begin; first < end; first += chunk) {
      StepBuilder step = Step();
      step.Add(0, first, Subject(first, std::min(chunk, end - first)));
      const std::vector<uint32_t> part = Run(step, 0);
      bits.insert(bits.end(), part.begin(), part.end());
    }
    return bits;
  }

  std::vector<int32_t> Subject(int32_t first, int32_t count) const {
    const std::vector<int32_t> all = Tokens(extent_.tokens, 3);
    return {all.begin() + first, all.begin() + first + count};
  }

 private:
  Extent extent_;
  int32_t blocks_per_sequence_;
  std::unique_ptr<kernels::Backend> backend_;
  std::shared_ptr<NetworkOutline> outline_;
  std::unique_ptr<checkpoint::WeightLoader> weights_;
  std::unique_ptr<StepExecutor> executor_;
  bool windowed_ = false;
};

class BatchInvarianceTest : public ::testing::TestWithParam<Shape> {
 protected:
  void SetUp() override {
    const auto backend = kernels::CreateBackend(GetParam().backend, OptionsOf(GetParam(), 1));
    if (backend.ok()) return;
    if (GetParam().backend == "cuda" && Set("HADAL_REQUIRE_GPU")) FAIL() << backend.status();
    GTEST_SKIP() << "NOT TESTED HERE: " << backend.status();
  }

  bool on_cpu() const { return GetParam().backend == "cpu"; }
};

TEST_P(BatchInvarianceTest, ChunksPrefixHitsAndThreads) {
  Bench first(GetParam(), 1);
  const Extent& extent = first.extent();
  const std::vector<uint32_t> whole = first.Alone(extent.tokens);
  const size_t values = whole.size() / extent.tokens;
  const auto from = [&](int32_t position) {
    return std::vector<uint32_t>(whole.begin() + position * values, whole.end());
  };
  std::vector<int> threads = {2, 5};
  if (!on_cpu()) threads = {1};
  for (size_t t = 0; t < threads.size(); ++t) {
    Bench bench(GetParam(), threads[t]);
    if (on_cpu()) {
      ASSERT_EQ(bench.Alone(extent.tokens), whole) << threads[t] << " threads";
    }
    for (size_t c = t; c < extent.chunks.size(); c += threads.size()) {
      ASSERT_EQ(bench.Alone(extent.chunks[c]), whole)
          << "chunks of " << extent.chunks[c] << ", " << threads[t] << " threads";
    }
    // A hit of a whole number of blocks, and decode from there.
    for (const int32_t cached : extent.hits) {
      ASSERT_EQ(bench.Alone(extent.tokens, cached), from(cached))
          << "hit of " << cached << ", " << threads[t] << " threads";
    }
    ASSERT_EQ(bench.Alone(1, extent.tokens - extent.decoded), from(extent.tokens - extent.decoded)) << threads[t];
    // Logits of one row, as for an answer, instead of all rows, as for a prompt that is scored.
    StepBuilder step = bench.Step();
    const int32_t cached = extent.hits.back(), computed = extent.tokens - cached;
    step.Add(0, cached, bench.Subject(cached, computed));
    ASSERT_EQ(bench.Run(step, 0, computed - 1), from(extent.tokens - 1)) << "without logprobs of the prompt";
  }
}

TEST_P(BatchInvarianceTest, Neighbours) {
  Bench bench(GetParam(), 2);
  const int32_t tokens = bench.extent().tokens;
  const std::vector<uint32_t> whole = bench.Alone(tokens);
  const auto row = [&](int32_t position) {
    const auto values = static_cast<int64_t>(whole.size()) / tokens;
    return std::vector<uint32_t>(whole.begin() + position * values, whole.begin() + (position + 1) * values);
  };
  for (const int32_t others : bench.extent().others) {
    // Decode next to decodes and prompts of other lengths.
    for (const int32_t position : {0, 127, 128, 255, 256, 511, tokens - 1}) {
      if (position >= tokens) continue;
      StepBuilder step = bench.Step();
      for (int32_t s = 1; s <= others / 2; ++s) step.Add(s, 0, Tokens(1 + s % 3 * 9, s));
      step.Add(0, position, bench.Subject(position, 1));
      for (int32_t s = others / 2 + 1; s <= others; ++s) step.Add(s, 0, Tokens(1, 2 * s));
      ASSERT_EQ(bench.Run(step, others / 2), row(position)) << others << " others, position " << position;
    }
  }
}

std::vector<Shape> Shapes() {
  std::vector<Shape> shapes;
  for (const testing::TinyFamily& tiny : testing::TinyFamilies()) {
    const std::string name = tiny.name;
    for (const std::string isa : {"portable", "avx2", "avx512", "avx512_bf16", "amx"}) {
      // Slow, and its loops are the same code.
      if (isa == "portable" && name != "qwen2" && name != "deepseek_v4") continue;
      shapes.push_back({name + "_bf16_" + isa, tiny.config, DType::kBF16, "cpu", isa});
      if (isa == "avx2") shapes.push_back({name + "_f32_" + isa, tiny.config, DType::kF32, "cpu", isa});
    }
    shapes.push_back({name + "_bf16_cuda", tiny.config, DType::kBF16, "cuda"});
    const bool wide = name == "llama" || name == "qwen3" || name == "deepseek_v3" || name == "deepseek_v32";
    if (wide) shapes.push_back({name + "_bf16_wide_cuda", testing::Wide(tiny.config), DType::kBF16, "cuda"});
  }
  return shapes;
}

INSTANTIATE_TEST_SUITE_P(Families, BatchInvarianceTest, ::testing::ValuesIn(Shapes()),
                         [](const ::testing::TestParamInfo<Shape>& info) { return info.param.name; });

}  // namespace
}  // namespace hadal::models
