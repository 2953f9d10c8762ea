// SPDX-License-Identifier: Apache-2.0
//
// Bytes that the ops of a decode step read and write, against what no implementation can do without: the weights that
// its tokens meet, once, and their keys and values, once. Counted for published configurations on a backend without
// memory; docs/gpu-step.md has the table.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "gtest/gtest.h"
#include "models/blocks/meta_backend.h"
#include "models/checkpoint/recording_loader.h"
#include "models/families/family.h"
#include "models/registry.h"
#include "models/step_executor.h"
#include "tests/models/step_builder.h"

namespace hadal::models {
namespace {

using kernels::RaggedBatch;
using kernels::TensorView;

constexpr int32_t kContext = 1024, kBlockTokens = 64;

int64_t BytesOf(std::initializer_list<TensorView> views) {
  int64_t bytes = 0;
  for (const TensorView& view : views) bytes += view.present() ? view.bytes() : 0;
  return bytes;
}

// Keys that the queries of a batch see, at most `most` of a sequence; all queries of a sequence read them together.
int64_t Keys(const RaggedBatch& batch, int64_t most = kContext) {
  int64_t keys = 0;
  for (const int32_t context : batch.host_context_lens) keys += std::min<int64_t>(context, most);
  return keys;
}

struct StepBytes {
  int64_t weights = 0, cache = 0, activations = 0;
};

// Counts what each op reads and writes. A value that two ops share is counted twice, though a GPU may find it in its
// caches; weights are counted as often as an op reads them.
class ByteCounter : public MetaBackend {
 public:
  // With uniform routing a step's rows meet so many of the experts.
  static double DistinctExperts(double experts, double top_k, double tokens) {
    return experts * (1 - std::pow(1 - top_k / experts, tokens));
  }

  StepBytes bytes;
  int64_t tokens = 0;

 protected:
#define HADAL_COUNT_OP(Op)                                     \
  absl::Status Do##Op(const kernels::Op##Params& p) override { \
    Count(p);                                                  \
    return absl::OkStatus();                                   \
  }
  HADAL_FOR_EACH_OP(HADAL_COUNT_OP)
#undef HADAL_COUNT_OP

  // As a device does it that has one kernel for it: a head is read once, and written in place and to the cache.
  absl::Status DoRopeKvAppend(const kernels::RopeKvAppendParams& p) override {
    const TensorView& q = p.q_norm.x.present() ? p.q_norm.x : p.rope.q;
    bytes.weights += BytesOf({p.q_norm.weight, p.k_norm.weight});
    Move({q, q, p.append.k, p.append.v, p.append.slot_mapping, p.rope.positions});
    Move({p.k_norm.x.present() ? p.append.k : p.rope.k});
    CountTables(p.rope);
    bytes.cache += BytesOf({p.append.k, p.append.v});
    return absl::OkStatus();
  }

 private:
  void Move(std::initializer_list<TensorView> views) { bytes.activations += BytesOf(views); }

  void CountTables(const kernels::RopeParams& p) {
    bytes.activations += p.positions.size(0) * 2 * p.cos.size(1) * int64_t{sizeof(float)};
  }

  void Count(const kernels::EmbeddingParams& p) { Move({p.ids, p.out, p.out}); }
  void Count(const kernels::RmsNormParams& p) {
    bytes.weights += BytesOf({p.weight});
    Move({p.x, p.residual, p.residual, p.out});
  }
  void Count(const kernels::LayerNormParams& p) {
    bytes.weights += BytesOf({p.weight, p.bias});
    Move({p.x, p.out});
  }
  void Count(const kernels::GemmParams& p) {
    bytes.weights += p.w.bytes() + BytesOf({p.bias});
    Move({p.x, p.out});
    if (p.accumulate) Move({p.out});
  }
  void Count(const kernels::BatchedGemmParams& p) {
    bytes.weights += p.w.bytes();
    Move({p.x, p.out});
  }
  void Count(const kernels::GroupedGemmParams& p) {
    const auto experts = static_cast<double>(p.w.experts());
    const double top_k = static_cast<double>(p.x.size(0)) / static_cast<double>(tokens);
    bytes.weights += std::llround(static_cast<double>(p.w.each.bytes()) *
                                  DistinctExperts(experts, top_k, static_cast<double>(tokens)));
    Move({p.x, p.expert_start, p.out});
  }
  void Count(const kernels::RopeParams& p) {
    Move({p.q, p.q, p.k, p.k, p.positions});
    CountTables(p);
  }
  void Count(const kernels::KvAppendParams& p) {
    Move({p.k, p.v, p.slot_mapping});
    bytes.cache += BytesOf({p.k, p.v});
  }
  void Count(const kernels::SiluMulParams& p) { Move({p.gate, p.up, p.out}); }
  void Count(const kernels::CastParams& p) { Move({p.in, p.out}); }
  void Count(const kernels::PagedAttentionParams& p) {
    Move({p.q, p.out});
    bytes.cache += Keys(p.batch) * p.k_cache.size(2) * (p.k_cache.size(3) + p.v_cache.size(3)) *
                   kernels::DTypeBytes(p.k_cache.dtype);
  }
  void Count(const kernels::MlaAttentionParams& p) {
    Move({p.q_lat, p.q_pe, p.o_lat, p.selected});
    const int64_t most = p.selected.present() ? p.selected.size(1) : kContext;
    bytes.cache += Keys(p.batch, most) * p.cache.size(2) * kernels::DTypeBytes(p.cache.dtype);
  }
  void Count(const kernels::IndexTopKParams& p) {
    Move({p.q, p.weights, p.selected});
    bytes.cache += Keys(p.batch) / p.tokens_per_entry * p.keys.size(2) * kernels::DTypeBytes(p.keys.dtype);
  }
  void Count(const kernels::MoeRouteParams& p) {
    bytes.weights += BytesOf({p.correction_bias});
    Move({p.logits, p.ids, p.weights});
  }
  void Count(const kernels::MoePermuteParams& p) { Move({p.ids, p.x, p.x_sorted, p.row_of, p.expert_start}); }
  void Count(const kernels::MoeUnpermuteParams& p) { Move({p.y_sorted, p.row_of, p.weights, p.addend, p.out}); }
  void Count(const kernels::SampleParams& p) { Move({p.logits, p.out_tokens, p.out_logprobs, p.out_status}); }
  // Ops that no decode step of the families below has.
  template <typename Params>
  void Count(const Params&) {
    ADD_FAILURE() << "an op whose bytes are not counted: " << kernels::OpTraits<Params>::kName;
  }
};

std::string SourceFile(const std::string& path) {
  const char* source = std::getenv("HADAL_SOURCE_DIR");
  std::ifstream file(absl::StrCat(source != nullptr ? source : ".", "/", path));
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

struct Measured {
  StepBytes step, bound;
};

// Of `sequences` that decode, each with kContext tokens.
Measured Measure(const std::string& model, int32_t sequences) {
  const auto config = config::ParseModelConfig(SourceFile(absl::StrCat("tests/data/configs/", model, "/config.json")));
  EXPECT_TRUE(config.ok()) << config.status();
  const Family& family = **FindFamily(config->architecture);
  checkpoint::RecordingLoader loader(kernels::DType::kBF16);
  ByteCounter backend;
  auto network = family.load({*config, loader, backend}, {.max_model_len = 4096});
  EXPECT_TRUE(network.ok()) << network.status();
  const KvLayout layout = (*network)->kv_layout();
  EXPECT_EQ((*network)->AllocateKvCache({.blocks = 1 << 16, .block_tokens = kBlockTokens}), absl::OkStatus());

  StepBudget budget;
  budget.max_tokens = budget.max_sequences = 256;
  budget.network_workspace = [](int64_t) { return int64_t{1} << 50; };
  budget.bounds.context_tokens = 4096;
  StepExecutor executor(&backend, *std::move(network), budget);
  EXPECT_EQ(executor.Prepare(), absl::OkStatus());
  testing::StepBuilder decode(kBlockTokens, kContext / kBlockTokens);
  for (int32_t s = 0; s < sequences; ++s) decode.Add(s, kContext - 1, {7}).Sample();
  backend.tokens = sequences;
  backend.bytes = StepBytes();
  const auto output = executor.Run(decode.Take());
  EXPECT_TRUE(output.ok()) << output.status();

  Measured found{.step = backend.bytes};
  double distinct_share = 1;
  if (config->moe.has_value()) {
    const double experts = static_cast<double>(config->moe->routed_experts);
    distinct_share =
        ByteCounter::DistinctExperts(experts, static_cast<double>(config->moe->experts_per_token), sequences) / experts;
  }
  for (const checkpoint::TensorSpec& spec : loader.specs()) {
    if (spec.role == checkpoint::TensorRole::kEmbedding) continue;
    const auto bytes =
        static_cast<double>(checkpoint::KeptWeight(spec.role, spec.shape, kernels::DType::kBF16).bytes());
    found.bound.weights += std::llround(spec.role == checkpoint::TensorRole::kExpert ? bytes * distinct_share : bytes);
  }
  // All tokens are read, and the new one is written before.
  found.bound.cache = sequences * (int64_t{kContext} + 1) * layout.bytes_per_token();
  return found;
}

// Megabytes of activations that the page grants a row; -1, and why, when it has no such row.
double Documented(const std::string& page, const std::string& row) {
  const size_t at = page.find(row);
  EXPECT_NE(at, std::string::npos) << "docs/gpu-step.md lacks " << row;
  return at == std::string::npos ? -1 : std::strtod(page.c_str() + at + row.size(), nullptr);
}

// Fewer bytes of activations are welcome: then the page may say so.
TEST(StepBytesTest, ADecodeStepReadsWeightsAndCacheOnce) {
  const std::string page = SourceFile("docs/gpu-step.md");
  for (const char* model : {"DeepSeek-R1-Distill-Qwen-7B", "DeepSeek-R1-Distill-Llama-8B", "DeepSeek-R1-0528-Qwen3-8B",
                            "DeepSeek-V2-Lite", "DeepSeek-V3"}) {
    for (const int32_t sequences : {1, 32}) {
      SCOPED_TRACE(absl::StrCat(model, " ", sequences));
      const auto [step, bound] = Measure(model, sequences);
      const auto weights = static_cast<double>(step.weights);
      EXPECT_NEAR(weights, static_cast<double>(bound.weights), 1e-4 * weights);  // of experts, an average is rounded
      EXPECT_EQ(step.cache, bound.cache);
      const std::string row = absl::StrFormat("| %s | %d | %.2f | %.3f | ", model, sequences, weights / 1e9,
                                              static_cast<double>(step.cache) / 1e9);
      EXPECT_LE(static_cast<double>(step.activations) / 1e6, Documented(page, row) + 0.05) << row;
    }
  }
}

}  // namespace
}  // namespace hadal::models
