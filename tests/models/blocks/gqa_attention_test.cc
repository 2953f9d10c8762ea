// SPDX-License-Identifier: Apache-2.0
#include "models/blocks/gqa_attention.h"

#include <cmath>

#include "models/blocks/kv_cache.h"
#include "tests/models/blocks/block_fixture.h"

namespace hadal::models {
namespace {

// Two query heads of width 2 on one key-value head, hidden width 2. The values are x, the queries are 0, so that every
// head gets the mean of the values it sees; the output matrix takes the first head.
class GqaAttentionTest : public testing::BlockTest {
 protected:
  GqaAttentionTest()
      : keys_({"keys", 1, 1, 2, kernels::DType::kF32}), values_({"values", 1, 1, 2, kernels::DType::kF32}) {
    config_.hidden_size = 2;
    config_.rms_norm_eps = 1e-12;
    gqa_ = {.heads = 2, .kv_heads = 1, .head_dim = 2, .rope = {.dim = 2}};
    loader_.Set("a.q_proj.weight", std::vector<float>(8, 0));
    loader_.Set("a.k_proj.weight", {1, 0, 0, 1});
    loader_.Set("a.v_proj.weight", {1, 0, 0, 1});
    loader_.Set("a.o_proj.weight", {1, 0, 0, 0, 0, 1, 0, 0});
    EXPECT_TRUE(keys_.Allocate(*backend_, {4, 4, 0}).ok());
    EXPECT_TRUE(values_.Allocate(*backend_, {4, 4, 0}).ok());
  }

  absl::StatusOr<std::unique_ptr<GqaAttention>> Load() {
    return GqaAttention::Load(load(), gqa_, "a", 0, *RopeCache::Create(load(), gqa_.rope, 16), &keys_, &values_);
  }

  config::GqaConfig gqa_;
  PagedCache keys_, values_;
};

TEST_F(GqaAttentionTest, SeesTheCacheAndNothingBehindItself) {
  const auto attention = Load();
  ASSERT_TRUE(attention.ok()) << attention.status();
  std::vector<float> x = {2, 10, 4, 30}, out(4);
  Step(0, 2, 4);
  ASSERT_EQ((*attention)->Forward(forward(), Rows(x, 2), Rows(out, 2)), absl::OkStatus());
  EXPECT_NEAR(out[0], 2, 1e-5);
  EXPECT_NEAR(out[1], 10, 1e-5);
  EXPECT_NEAR(out[2], 3, 1e-5);
  EXPECT_NEAR(out[3], 20, 1e-5);
  x = {9, 2};
  out.resize(2);
  Step(2, 1, 4);
  ASSERT_EQ((*attention)->Forward(forward(), Rows(x, 2), Rows(out, 2)), absl::OkStatus());
  EXPECT_NEAR(out[0], 5, 1e-5);
  EXPECT_NEAR(out[1], 14, 1e-5);
  EXPECT_EQ(arena_.used_bytes(), 0);
}

TEST_F(GqaAttentionTest, TakesBiasesAndHeadNormsWhereTheFamilyHasThem) {
  gqa_.qkv_bias = true;
  gqa_.qk_norm = true;
  EXPECT_EQ(Load().status(), absl::NotFoundError("a.q_proj.bias"));
  loader_.Set("a.q_proj.bias", {0, 0, 0, 0});
  loader_.Set("a.k_proj.bias", {0, 0});
  loader_.Set("a.v_proj.bias", {100, 0});
  EXPECT_EQ(Load().status(), absl::NotFoundError("a.q_norm.weight"));
  loader_.Set("a.q_norm.weight", {1, 1});
  loader_.Set("a.k_norm.weight", {1, 1});
  const auto attention = Load();
  ASSERT_TRUE(attention.ok()) << attention.status();
  std::vector<float> x = {2, 10}, out(2);
  Step(0, 1, 4);
  ASSERT_EQ((*attention)->Forward(forward(), Rows(x, 2), Rows(out, 2)), absl::OkStatus());
  EXPECT_NEAR(out[0], 102, 1e-4);
  // The key that was cached has length 1 per value, whatever x was.
  const auto* key = keys_.Layer(0).as<const float>();
  EXPECT_NEAR(key[0] * key[0] + key[1] * key[1], 2, 1e-5);
}

}  // namespace
}  // namespace hadal::models
