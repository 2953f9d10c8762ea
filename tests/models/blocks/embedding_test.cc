// SPDX-License-Identifier: Apache-2.0
#include "models/blocks/embedding.h"

#include "tests/models/blocks/block_fixture.h"

namespace hadal::models {
namespace {

class EmbeddingTest : public testing::BlockTest {
 protected:
  EmbeddingTest() {
    config_.vocab_size = 3;
    config_.hidden_size = 2;
    config_.rms_norm_eps = 0;
    loader_.Set("embed.weight", {1, 2, 3, 4, 5, 6});
    loader_.Set("norm.weight", {1, 1});
  }
};

TEST_F(EmbeddingTest, GathersRowsOfTheTable) {
  const auto embedding = TokenEmbedding::Load(load(), "embed");
  ASSERT_TRUE(embedding.ok()) << embedding.status();
  Step(0, 3, 4);
  ids_ = {2, 0, 2};
  std::vector<float> out(6);
  ASSERT_TRUE(embedding->Forward(*backend_, batch_.token_ids, Rows(out, 2)).ok());
  EXPECT_EQ(out, (std::vector<float>{5, 6, 1, 2, 5, 6}));
}

TEST_F(EmbeddingTest, TheHeadIsTheTableWhenTied) {
  config_.tie_word_embeddings = true;
  const auto embedding = TokenEmbedding::Load(load(), "embed");
  const auto head = LmHead::Load(load(), "norm", "lm_head", *embedding);
  ASSERT_TRUE(head.ok()) << head.status();
  EXPECT_EQ(loader_.taken(), (std::vector<std::string>{"embed.weight", "norm.weight"}));
  std::vector<float> hidden = {7, 7}, logits(3);  // normalised to ones
  ASSERT_TRUE(head->Forward(*backend_, Rows(hidden, 2), Rows(logits, 3)).ok());
  EXPECT_EQ(logits, (std::vector<float>{3, 7, 11}));
}

TEST_F(EmbeddingTest, TheHeadHasItsOwnMatrixWhenNot) {
  loader_.Set("lm_head.weight", {1, 0, 0, 1, 1, -1});
  const auto embedding = TokenEmbedding::Load(load(), "embed");
  const auto head = LmHead::Load(load(), "norm", "lm_head", *embedding);
  ASSERT_TRUE(head.ok()) << head.status();
  std::vector<float> hidden = {7, 7}, logits(3);
  ASSERT_TRUE(head->Forward(*backend_, Rows(hidden, 2), Rows(logits, 3)).ok());
  EXPECT_EQ(logits, (std::vector<float>{1, 1, 0}));
}

}  // namespace
}  // namespace hadal::models
