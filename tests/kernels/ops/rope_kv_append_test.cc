// SPDX-License-Identifier: Apache-2.0
//
// rope_kv_append in the forms of the model families, on every backend, against the reference, which runs the parts.
#include "kernels/ops/rope_kv_append.h"

#include "absl/strings/str_cat.h"
#include "tests/kernels/op_harness.h"

namespace hadal::kernels {
namespace {

constexpr int64_t kTokens = 5;

// A norm may round to the other side first; then the rotation adds a share of that difference.
Tolerance AfterNorm(DType dtype) {
  if (dtype == DType::kBF16) return {3 * 0x1p-7f, 3 * 0x1p-7f};
  if (dtype == DType::kF16) return {3 * 0x1p-10f, 3 * 0x1p-10f};
  return {1e-5f, 1e-5f};
}

Tolerance OfRope(DType dtype) {
  if (dtype == DType::kBF16) return {1e-6f, 0x1p-7f};
  if (dtype == DType::kF16) return {1e-6f, 0x1p-10f};
  return {1e-6f, 1e-5f};
}

class RopeKvAppendTest : public OpTest {
 protected:
  // Two positions lie outside the tables, one slot is padding and one beyond the cache.
  static RopeParams Rotation(Arena& a, const TensorView& q, const TensorView& k, int64_t half, RopeLayout layout) {
    return {.q = q,
            .k = k,
            .positions = a.Ints({kTokens}, {0, 8, 3, 11, -1}),
            .cos = a.Random(DType::kF32, {9, half}),
            .sin = a.Random(DType::kF32, {9, half}),
            .layout = layout};
  }
  static TensorView Slots(Arena& a, bool wide) {
    return wide ? a.Longs({kTokens}, {11, -1, 0, 5, 12}) : a.Ints({kTokens}, {11, -1, 0, 5, 12});
  }
  static RmsNormParams Norm(Arena& a, DType dtype, const TensorView& x) {
    return {.x = x, .residual = {}, .weight = a.Random(dtype, {x.size(2)}), .out = x, .eps = 1e-5f};
  }
};
HADAL_INSTANTIATE_OP_TEST(RopeKvAppendTest);

// One product's rows hold queries, keys and values.
TEST_P(RopeKvAppendTest, GroupedQueries) {
  constexpr int64_t kHeads = 6, kKvHeads = 2;
  for (const int64_t dim : {2, 10, 64, 128}) {
    for (DType dtype : kComputeDTypes) {
      for (const bool normed : {false, true}) {
        for (DType cache : {dtype, DType::kF32}) {
          SCOPED_TRACE(
              absl::StrCat(DTypeName(dtype), " dim ", dim, normed ? ", normed" : "", ", cache ", DTypeName(cache)));
          Compare<RopeKvAppendParams>(
              [&](Arena& a) {
                const TensorView qkv = a.Random(dtype, {kTokens, (kHeads + 2 * kKvHeads) * dim}, 1.0f, 3);
                a.AlsoWritten(qkv);
                const TensorView heads = qkv.SplitLast(dim);
                const TensorView q = heads.Slice(1, 0, kHeads), k = heads.Slice(1, kHeads, kKvHeads);
                RopeKvAppendParams p;
                if (normed) p.q_norm = Norm(a, dtype, q);
                if (normed) p.k_norm = Norm(a, dtype, k);
                p.rope = Rotation(a, q, k, dim / 2, RopeLayout::kHalfSplit);
                p.append = {.k = k,
                            .v = heads.Slice(1, kHeads + kKvHeads, kKvHeads),
                            .k_cache = a.Random(cache, {3, 4, kKvHeads, dim}),
                            .v_cache = a.Random(cache, {3, 4, kKvHeads, dim}),
                            .slot_mapping = Slots(a, dim == 64)};
                a.AlsoWritten(p.append.k_cache);
                a.AlsoWritten(p.append.v_cache);
                return p;
              },
              &Backend::RopeKvAppend, normed ? AfterNorm(dtype) : OfRope(dtype));
        }
      }
    }
  }
}

// The latent row is normed in front and rotated behind; queries keep the part that has no position.
TEST_P(RopeKvAppendTest, LatentAttention) {
  constexpr int64_t kHeads = 3, kNope = 20;
  for (const auto& [rank, rope] : std::vector<std::pair<int64_t, int64_t>>{{512, 64}, {33, 6}}) {
    for (RopeLayout layout : {RopeLayout::kHalfSplit, RopeLayout::kInterleaved}) {
      for (DType dtype : kComputeDTypes) {
        SCOPED_TRACE(absl::StrCat(DTypeName(dtype), " rank ", rank));
        Compare<RopeKvAppendParams>(
            [&, rank = rank, rope = rope](Arena& a) {
              const TensorView q = a.Random(dtype, {kTokens, kHeads, kNope + rope}, 1.0f, 2);
              const TensorView latent = a.Random(dtype, {kTokens, 1, rank + rope}, 1.0f, 5);
              a.AlsoWritten(q);
              a.AlsoWritten(latent);
              RopeKvAppendParams p;
              p.k_norm = Norm(a, dtype, latent.Slice(2, 0, rank));
              p.rope = Rotation(a, q.Slice(2, kNope, rope), latent.Slice(2, rank, rope), rope / 2, layout);
              p.append = {.k = latent,
                          .v = {},
                          .k_cache = a.Random(dtype, {3, 4, 1, rank + rope}),
                          .v_cache = {},
                          .slot_mapping = Slots(a, true)};
              a.AlsoWritten(p.append.k_cache);
              return p;
            },
            &Backend::RopeKvAppend, AfterNorm(dtype));
      }
    }
  }
}

// Keys that serve as values too, rotated in their last columns; queries normed without a weight.
TEST_P(RopeKvAppendTest, HybridAttentionAndKeysAlone) {
  constexpr int64_t kHeads = 4, kDim = 48, kRotated = 16;
  for (DType dtype : kComputeDTypes) {
    for (const bool queries : {true, false}) {
      SCOPED_TRACE(absl::StrCat(DTypeName(dtype), queries ? " with" : " without", " queries"));
      Compare<RopeKvAppendParams>(
          [&](Arena& a) {
            const TensorView q = a.Random(dtype, {kTokens, kHeads, kDim}), k = a.Random(dtype, {kTokens, 1, kDim});
            if (queries) a.AlsoWritten(q);
            a.AlsoWritten(k);
            RopeKvAppendParams p;
            if (queries) {
              p.q_norm = {.x = q, .residual = {}, .weight = {}, .out = q};
              p.k_norm = Norm(a, DType::kF32, k);
              p.k_norm.float32_product = true;
            }
            p.rope =
                Rotation(a, queries ? q.Slice(2, kDim - kRotated, kRotated) : TensorView(),
                         queries ? k.Slice(2, kDim - kRotated, kRotated) : k, kRotated / 2, RopeLayout::kInterleaved);
            p.append = {.k = k,
                        .v = {},
                        .k_cache = a.Random(dtype, {3, 4, 1, kDim}),
                        .v_cache = {},
                        .slot_mapping = Slots(a, true)};
            a.AlsoWritten(p.append.k_cache);
            return p;
          },
          &Backend::RopeKvAppend, queries ? AfterNorm(dtype) : OfRope(dtype));
    }
  }
}

TEST_P(RopeKvAppendTest, NoTokensNoWork) {
  Compare<RopeKvAppendParams>(
      [&](Arena& a) {
        RopeKvAppendParams p;
        const TensorView k = a.Random(DType::kBF16, {0, 1, 8});
        p.rope = {.q = a.Random(DType::kBF16, {0, 2, 8}),
                  .k = k,
                  .positions = a.Ints({0}, {}),
                  .cos = a.Random(DType::kF32, {9, 4}),
                  .sin = a.Random(DType::kF32, {9, 4})};
        p.append = {.k = k,
                    .v = {},
                    .k_cache = a.Random(DType::kBF16, {3, 4, 1, 8}),
                    .v_cache = {},
                    .slot_mapping = a.Longs({0}, {})};
        return p;
      },
      &Backend::RopeKvAppend, {});
}

TEST_P(RopeKvAppendTest, PartsThatDoNotBelongTogetherAreNamed) {
  Arena a(backend());
  const TensorView q = a.Random(DType::kBF16, {kTokens, 2, 8}), k = a.Random(DType::kBF16, {kTokens, 1, 12});
  const TensorView other = a.Random(DType::kBF16, {kTokens, 1, 8});
  RopeKvAppendParams good;
  good.rope = Rotation(a, q, k.Slice(2, 4, 8), 4, RopeLayout::kHalfSplit);
  good.append = {
      .k = k, .v = {}, .k_cache = a.Random(DType::kBF16, {3, 4, 1, 12}), .v_cache = {}, .slot_mapping = Slots(a, true)};
  ASSERT_EQ(backend()->RopeKvAppend(good), absl::OkStatus());
  const auto message = [&](const std::function<void(RopeKvAppendParams&)>& spoil) {
    RopeKvAppendParams p = good;
    spoil(p);
    const absl::Status status = backend()->RopeKvAppend(p);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    return std::string(status.message());
  };
  const auto starts = [](const std::string& text, const std::string& with) { return text.rfind(with, 0) == 0; };
  EXPECT_TRUE(
      starts(message([&](auto& p) { p.rope.k = other; }), "rope_kv_append: rope.k: expected columns of append.k"));
  EXPECT_TRUE(starts(message([&](auto& p) { p.rope.k = {}; }), "rope_kv_append: rope.k: expected a tensor"));
  EXPECT_TRUE(starts(message([&](auto& p) { p.rope.inverse = true; }), "rope_kv_append: rope.inverse"));
  EXPECT_TRUE(starts(message([&](auto& p) { p.k_norm = Norm(a, DType::kBF16, other); }), "rope_kv_append: k_norm.x"));
  EXPECT_TRUE(starts(message([&](auto& p) { p.q_norm = Norm(a, DType::kBF16, other); }), "rope_kv_append: rope.q"));
  EXPECT_TRUE(starts(message([&](auto& p) {
                       p.k_norm = Norm(a, DType::kBF16, k);
                       p.k_norm.out = other;
                     }),
                     "rms_norm: out"));
  EXPECT_TRUE(starts(message([&](auto& p) {
                       p.q_norm = Norm(a, DType::kBF16, q);
                       p.q_norm.residual = q;
                     }),
                     "rope_kv_append: q_norm: expected a norm in place"));
}

}  // namespace
}  // namespace hadal::kernels
