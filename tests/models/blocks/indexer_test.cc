// SPDX-License-Identifier: Apache-2.0
#include "models/blocks/indexer.h"

#include "models/blocks/kv_cache.h"
#include "tests/models/blocks/block_fixture.h"

namespace hadal::models {
namespace {

// One head of width 2; the key is the normalised x, which is (1, -1) or (-1, 1).
class IndexerTest : public testing::BlockTest {
 protected:
  IndexerTest() : keys_({"keys", 1, 1, 2, kernels::DType::kF32}) {
    config_.hidden_size = 2;
    mla_.q_lora_rank = 2;
    mla_.indexer = config::IndexerConfig{.heads = 1, .head_dim = 2, .top_k = 2};
    loader_.Set("i.wq_b.weight", {1, 0, 0, 1});
    loader_.Set("i.wk.weight", {1, 0, 0, 1});
    loader_.Set("i.k_norm.weight", {1, 1});
    loader_.Set("i.k_norm.bias", {0, 0});
    loader_.Set("i.weights_proj.weight", {1, 1});
    EXPECT_TRUE(keys_.Allocate(*backend_, {4, 4, 0}).ok());
  }

  config::MlaConfig mla_;
  PagedCache keys_;
};

TEST_F(IndexerTest, ListsTheKeysThatAnswerTheQuery) {
  const auto rope = RopeCache::Create(load(), {.dim = 2}, 8);
  const auto indexer = Indexer::Load(load(), mla_, "i", 0, *rope, &keys_);
  ASSERT_TRUE(indexer.ok()) << indexer.status();
  EXPECT_EQ((*indexer)->top_k(), 2);
  Step(0, 5, 4);
  positions_.assign(5, 0);                                // nothing is turned
  std::vector<float> x = {4, 2, 1, 3, 7, 5, 2, 8, 0, 9};  // keys + - + - -
  ASSERT_EQ((*indexer)->AppendKeys(forward(), Rows(x, 2)), absl::OkStatus());
  EXPECT_NEAR(keys_.Layer(0).as<const float>()[0], 1, 1e-3);
  EXPECT_NEAR(keys_.Layer(0).as<const float>()[2], -1, 1e-3);

  MlaRun run;
  run.token_count = 5;
  run.sparse = true;
  run.ragged = batch_.ragged;
  std::vector<float> weights_x(10, 0.5f), q = {1, 0, 1, 0, 1, 0, -1, 0, 1, 0};
  std::vector<int32_t> selected(10);
  const kernels::TensorView lists(selected.data(), kernels::DType::kI32, {5, 2});
  ASSERT_EQ((*indexer)->Select(forward(), run, Rows(weights_x, 2), Rows(q, 2), lists), absl::OkStatus());
  // All of few; then the two best for a query of +, and for one of -.
  EXPECT_EQ(selected, (std::vector<int32_t>{0, -1, 0, 1, 0, 2, 1, 3, 0, 2}));
}

}  // namespace
}  // namespace hadal::models
