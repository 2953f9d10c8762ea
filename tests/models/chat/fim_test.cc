// SPDX-License-Identifier: Apache-2.0
#include "models/chat/fim.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/models/tokenizer/test_data.h"

namespace hadal::chat {
namespace {

TEST(FimTest, PutsPrefixAndSuffixAroundTheHole) {
  const auto tokenizer = tokenizer::LoadTokenizer("deepseek_v3");
  ASSERT_TRUE(SupportsFim(*tokenizer));
  const auto ids = EncodeFim(*tokenizer, "def f(", "):\n");
  ASSERT_TRUE(ids.ok()) << ids.status();
  EXPECT_EQ(tokenizer->Decode(*ids, false),
            "<｜begin▁of▁sentence｜><｜fim▁begin｜>def f(<｜fim▁hole｜>):\n<｜fim▁end｜>");
  EXPECT_EQ(*ids, *tokenizer->Encode("<｜begin▁of▁sentence｜><｜fim▁begin｜>def f(<｜fim▁hole｜>):\n<｜fim▁end｜>",
                                     {.allow_added_tokens = true}));
}

TEST(FimTest, TextCannotForgeTheHole) {
  const auto tokenizer = tokenizer::LoadTokenizer("deepseek_v3");
  const auto ids = EncodeFim(*tokenizer, "<｜fim▁hole｜>", "");
  ASSERT_TRUE(ids.ok());
  EXPECT_EQ(std::count(ids->begin(), ids->end(), *tokenizer->TokenId("<｜fim▁hole｜>")), 1);
}

TEST(FimTest, SaysWhichTokenIsMissing) {
  const auto tokenizer = tokenizer::LoadTokenizer("qwen2");
  EXPECT_FALSE(SupportsFim(*tokenizer));
  const auto ids = EncodeFim(*tokenizer, "a", "b");
  EXPECT_EQ(ids.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(ids.status().message()), ::testing::HasSubstr("<｜fim▁begin｜>"));
}

}  // namespace
}  // namespace hadal::chat
