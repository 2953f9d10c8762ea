// SPDX-License-Identifier: Apache-2.0
//
// The shapes of real models, dense and aligned: what a device hands to its libraries (cuBLASLt, FlashInfer) rather than
// to its own kernels, which the other tests reach through odd sizes and padding.
#include <cmath>
#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "tests/kernels/op_harness.h"

namespace hadal::kernels {
namespace {

constexpr DType kHalfTypes[] = {DType::kBF16, DType::kF16};

Tolerance AttentionTolerance(DType dtype) {
  return dtype == DType::kBF16 ? Tolerance{2e-2f, 1e-2f} : Tolerance{3e-3f, 2e-3f};
}

Tolerance SumTolerance(DType out, int64_t k) {
  const float sum = 0.64f * static_cast<float>(k) + 1.0f;
  if (out == DType::kBF16) return {1e-5f * sum, 8e-3f};
  if (out == DType::kF16) return {1e-5f * sum, 1e-3f};
  return {2e-6f * sum, 1e-5f};
}

struct Batch {
  const char* name;
  std::vector<int32_t> queries, contexts;
};

const std::vector<Batch>& Batches() {
  static const std::vector<Batch> batches = {
      {"decode", {1, 1, 1, 1}, {1, 64, 65, 300}},
      {"long decode", {1}, {1100}},
      {"chunk after a prefix", {40}, {170}},
      {"mixed, one sequence idle", {1, 0, 70, 1, 3}, {200, 9, 70, 1, 66}},
  };
  return batches;
}

int64_t Tokens(const Batch& batch) {
  int64_t tokens = 0;
  for (int32_t count : batch.queries) tokens += count;
  return tokens;
}

class DeviceShapesTest : public OpTest {
 protected:
  // Published sizes take a real device; elsewhere the same tests run on a part of them.
  bool on_gpu() const { return backend()->name() == "cuda" && std::getenv("HADAL_EMULATED_GPU") == nullptr; }
  int64_t Part(int64_t size) const { return on_gpu() ? size : size / 16; }
};
HADAL_INSTANTIATE_OP_TEST(DeviceShapesTest);

TEST_P(DeviceShapesTest, PagedAttention) {
  constexpr int64_t kBlockTokens = 64, kBlocks = 24;
  for (const Batch& batch : Batches()) {
    for (DType dtype : kHalfTypes) {
      for (const auto& [heads, kv_heads, dim] : std::vector<std::array<int64_t, 3>>{{4, 2, 64}, {6, 1, 128}}) {
        SCOPED_TRACE(absl::StrCat(batch.name, " ", DTypeName(dtype), " heads ", heads, "/", kv_heads, " dim ", dim));
        Compare<PagedAttentionParams>(
            [&](Arena& a) {
              return PagedAttentionParams{.q = a.Random(dtype, {Tokens(batch), heads, dim}),
                                          .k_cache = a.Random(dtype, {kBlocks, kBlockTokens, kv_heads, dim}),
                                          .v_cache = a.Random(dtype, {kBlocks, kBlockTokens, kv_heads, dim}),
                                          .out = a.Output(dtype, {Tokens(batch), heads, dim}),
                                          .batch = a.Ragged(batch.queries, batch.contexts, kBlockTokens, kBlocks),
                                          .scale = 1.0f / std::sqrt(static_cast<float>(dim))};
            },
            &Backend::PagedAttention, AttentionTolerance(dtype));
      }
    }
  }
}

TEST_P(DeviceShapesTest, MlaAttention) {
  constexpr int64_t kBlockTokens = 64, kBlocks = 24, kLatent = 512, kRope = 64, kHeads = 4;
  for (const Batch& batch : Batches()) {
    for (DType dtype : kHalfTypes) {
      SCOPED_TRACE(absl::StrCat(batch.name, " ", DTypeName(dtype)));
      Compare<MlaAttentionParams>(
          [&](Arena& a) {
            return MlaAttentionParams{.q_lat = a.Random(dtype, {Tokens(batch), kHeads, kLatent}),
                                      .q_pe = a.Random(dtype, {Tokens(batch), kHeads, kRope}),
                                      .cache = a.Random(dtype, {kBlocks, kBlockTokens, kLatent + kRope}),
                                      .o_lat = a.Output(dtype, {Tokens(batch), kHeads, kLatent}),
                                      .batch = a.Ragged(batch.queries, batch.contexts, kBlockTokens, kBlocks),
                                      .scale = 1.0f / std::sqrt(static_cast<float>(kLatent + kRope))};
          },
          &Backend::MlaAttention, AttentionTolerance(dtype));
    }
  }
}

// DeepSeek-V2-Lite has 16 heads, V3 has 128: whole tokens of one and of several tiles.
TEST_P(DeviceShapesTest, MlaAttentionWithTheHeadsOfRealModels) {
  constexpr int64_t kBlockTokens = 64, kBlocks = 24, kLatent = 512, kRope = 64;
  const std::vector<Batch> few = {{"decode", {1, 1}, {1, 65}}, {"chunk", {3}, {67}}};
  for (const Batch& batch : on_gpu() ? Batches() : few) {
    for (const int64_t heads : {16, 128}) {
      for (DType dtype : kHalfTypes) {
        SCOPED_TRACE(absl::StrCat(batch.name, " ", DTypeName(dtype), " heads ", heads));
        Compare<MlaAttentionParams>(
            [&](Arena& a) {
              return MlaAttentionParams{.q_lat = a.Random(dtype, {Tokens(batch), heads, kLatent}),
                                        .q_pe = a.Random(dtype, {Tokens(batch), heads, kRope}),
                                        .cache = a.Random(dtype, {kBlocks, kBlockTokens, kLatent + kRope}),
                                        .o_lat = a.Output(dtype, {Tokens(batch), heads, kLatent}),
                                        .batch = a.Ragged(batch.queries, batch.contexts, kBlockTokens, kBlocks),
                                        .scale = 1.0f / std::sqrt(static_cast<float>(kLatent + kRope))};
            },
            &Backend::MlaAttention, AttentionTolerance(dtype));
      }
    }
  }
}

// Prompts in the expanded form, as models/blocks/mla_attention.cc lays them out: the parts of a query are neighbours,
// and so are key and value of a head. On a GPU with lengths around and beyond the tiles of 128 queries and keys.
TEST_P(DeviceShapesTest, MlaPrefillWithTheHeadsOfRealModels) {
  constexpr int64_t kNope = 128, kRope = 64, kValue = 128, kLatent = 512;
  const std::vector<Batch> real = {{"prompts", {128, 1, 300, 2}, {128, 1, 300, 2}},
                                   {"chunks, one sequence idle", {129, 0, 70}, {258, 9, 71}},
                                   {"long prompt", {1100}, {1100}}};
  const std::vector<Batch> few = {{"prompts", {3, 1}, {3, 1}}, {"chunk", {2}, {4}}};
  for (const Batch& batch : on_gpu() ? real : few) {
    int64_t kv_tokens = 0;
    std::vector<int32_t> kv_start = {0};
    for (const int32_t context : batch.contexts) kv_start.push_back(static_cast<int32_t>(kv_tokens += context));
    for (const int64_t heads : {16, 128}) {
      for (DType dtype : kHalfTypes) {
        const bool slow = Tokens(batch) > 1000 && (heads > 16 || dtype != DType::kBF16);
        if (slow) continue;  // for the reference
        SCOPED_TRACE(absl::StrCat(batch.name, " ", DTypeName(dtype), " heads ", heads));
        Compare<MlaPrefillParams>(
            [&](Arena& a) {
              const TensorView q = a.Random(dtype, {Tokens(batch), heads, kNope + kRope});
              const TensorView kv = a.Random(dtype, {kv_tokens, heads, kNope + kValue});
              return MlaPrefillParams{.q_nope = q.Slice(2, 0, kNope),
                                      .q_pe = q.Slice(2, kNope, kRope),
                                      .k_nope = kv.Slice(2, 0, kNope),
                                      .k_pe = a.Random(dtype, {kv_tokens, kLatent + kRope}).Slice(1, kLatent, kRope),
                                      .v = kv.Slice(2, kNope, kValue),
                                      .kv_start = a.Ints({static_cast<int64_t>(kv_start.size())}, kv_start),
                                      .out = a.Output(dtype, {Tokens(batch), heads, kValue}),
                                      .batch = a.Ragged(batch.queries, batch.contexts, 64, 24),
                                      .scale = 1.0f / std::sqrt(static_cast<float>(kNope + kRope))};
            },
            &Backend::MlaPrefill, AttentionTolerance(dtype));
      }
    }
  }
}

// Projections of R1-Distill-Qwen-7B and DeepSeek-V2-Lite: [n, k].
TEST_P(DeviceShapesTest, GemmOfRealProjections) {
  for (const auto& [n, k] :
       std::vector<std::array<int64_t, 2>>{{4608, 3584}, {3584, 18944}, {3648, 2048}, {2048, 1408}}) {
    for (const int64_t m : {1, 8, 33}) {
      SCOPED_TRACE(absl::StrCat("n ", n, " k ", k, " m ", m));
      Compare<GemmParams>(
          [&](Arena& a) {
            return GemmParams{.x = a.Random(DType::kBF16, {m, Part(k)}),
                              .w = WeightView::Plain(a.Random(DType::kBF16, {Part(n), Part(k)}, 0.1f)),
                              .out = a.Output(DType::kBF16, {m, Part(n)})};
          },
          &Backend::Gemm, SumTolerance(DType::kBF16, Part(k)));
    }
  }
}

TEST_P(DeviceShapesTest, GemmWithBiasAndAccumulation) {
  for (DType in : kComputeDTypes) {
    for (DType out : {in, DType::kF32}) {
      for (int64_t m : {1, 8, 72}) {
        for (int variant = 0; variant < 4; ++variant) {
          SCOPED_TRACE(absl::StrCat(DTypeName(in), " to ", DTypeName(out), " m ", m, " variant ", variant));
          Compare<GemmParams>(
              [&](Arena& a) {
                GemmParams p;
                p.x = a.Random(in, {m, 128});
                p.w = WeightView::Plain(a.Random(in, {64, 128}));
                if (variant & 1) p.bias = a.Random(out, {64});
                p.accumulate = (variant & 2) != 0;
                p.out = p.accumulate ? a.Random(out, {m, 64}) : a.Output(out, {m, 64});
                if (p.accumulate) a.AlsoWritten(p.out);
                return p;
              },
              &Backend::Gemm, SumTolerance(out, 128));
        }
      }
    }
  }
}

TEST_P(DeviceShapesTest, BatchedGemmOfAbsorbedProjections) {
  constexpr int64_t kNope = 128, kLatent = 512;
  const auto check = [&](DType dtype, int64_t heads, int64_t tokens) {
    for (bool transpose : {true, false}) {
      SCOPED_TRACE(absl::StrCat(DTypeName(dtype), " heads ", heads, " tokens ", tokens, transpose ? " into" : " out of",
                                " the latent"));
      Compare<BatchedGemmParams>(
          [&](Arena& a) {
            // One kv_b_proj holds the rows of keys and values: [heads, nope + v, latent].
            const TensorView kv_b = a.Random(dtype, {heads, 2 * kNope, kLatent});
            return BatchedGemmParams{.x = a.Random(dtype, {tokens, heads, transpose ? kNope : kLatent}),
                                     .w = WeightView::Plain(kv_b).Rows(transpose ? 0 : kNope, kNope),
                                     .out = a.Output(dtype, {tokens, heads, transpose ? kLatent : kNope}),
                                     .transpose_w = transpose};
          },
          &Backend::BatchedGemm, SumTolerance(dtype, transpose ? kNope : kLatent));
    }
  };
  for (DType dtype : kComputeDTypes) {
    for (int64_t tokens : {1, 24}) check(dtype, 4, tokens);
  }
  for (const int64_t heads : {16, 128}) {
    for (int64_t tokens : {1, 24}) {
      if (on_gpu() || (heads == 16 && tokens == 1)) check(DType::kBF16, heads, tokens);
    }
  }
}

TEST_P(DeviceShapesTest, GroupedGemmOfManyExperts) {
  constexpr int64_t kExperts = 6, kHidden = 128, kInter = 192;
  for (DType dtype : kComputeDTypes) {
    SCOPED_TRACE(DTypeName(dtype));
    Compare<GroupedGemmParams>(
        [&](Arena& a) {
          const WeightView weights = WeightView::Plain(a.Random(dtype, {kExperts, kInter, kHidden}));
          std::vector<int64_t> addresses;
          for (int64_t e = 0; e < kExperts; ++e) addresses.push_back(Arena::Address(weights.At(e).values));
          const TensorView list = a.Longs({kExperts}, addresses);
          return GroupedGemmParams{.x = a.Random(dtype, {150, kHidden}),
                                   .expert_start = a.Ints({kExperts + 1}, {0, 1, 1, 130, 131, 149, 150}),
                                   .w = {.values = list, .scales = {}, .each = weights.At(0)},
                                   .out = a.Output(dtype, {150, kInter})};
        },
        &Backend::GroupedGemm, SumTolerance(dtype, kHidden));
  }
}

}  // namespace
}  // namespace hadal::kernels
