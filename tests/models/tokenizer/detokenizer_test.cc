// SPDX-License-Identifier: Apache-2.0
#include "models/tokenizer/detokenizer.h"

#include <gtest/gtest.h>

#include <random>

#include "base/utf8.h"
#include "tests/models/tokenizer/test_data.h"

namespace hadal::tokenizer {
namespace {

TEST(DetokenizerTest, HoldsBackUnfinishedCharacters) {
  const auto tokenizer = LoadTokenizer("deepseek_v3");
  Detokenizer detokenizer(*tokenizer, true);
  const std::string llama = "🦙";
  std::vector<std::string> outputs;
  for (const char byte : llama) outputs.push_back(detokenizer.Append(*tokenizer->TokenId(std::string(1, byte))));
  EXPECT_EQ(outputs, (std::vector<std::string>{"", "", "", llama}));
  EXPECT_EQ(detokenizer.Flush(), "");
}

TEST(DetokenizerTest, ReplacesWhatCannotBecomeACharacter) {
  const auto tokenizer = LoadTokenizer("deepseek_v3");
  Detokenizer detokenizer(*tokenizer, true);
  const auto append = [&](const char* byte) { return detokenizer.Append(*tokenizer->TokenId(byte)); };
  EXPECT_EQ(append("\xE4"), "");
  EXPECT_EQ(append("\xBD"), "");
  EXPECT_EQ(append("a"), "\uFFFDa");  // one for the maximal subpart E4 BD
  EXPECT_EQ(append("\xFF"), "\uFFFD");
  EXPECT_EQ(append("\xF0"), "");
  EXPECT_EQ(detokenizer.pending_bytes(), 1u);
  EXPECT_EQ(detokenizer.Flush(), "\uFFFD");
  EXPECT_EQ(append("b"), "b");
}

TEST(DetokenizerTest, OutputsJoinToTheDecodedText) {
  for (const char* style : {"deepseek_v3", "deepseek_llm", "qwen2"}) {
    const auto tokenizer = LoadTokenizer(style);
    std::mt19937 random(7);
    for (int round = 0; round < 500; ++round) {
      std::vector<int32_t> ids(20);
      // Single bytes often, so that characters break apart.
      for (int32_t& id : ids) id = static_cast<int32_t>(random() % (random() % 2 ? 300 : tokenizer->vocab_size() + 2));
      for (const bool skip : {false, true}) {
        Detokenizer detokenizer(*tokenizer, skip);
        std::string text;
        for (const int32_t id : ids) {
          const std::string part = detokenizer.Append(id);
          ASSERT_EQ(base::FindInvalidUtf8(part), std::string::npos);
          ASSERT_LE(detokenizer.pending_bytes(), 3u);
          text += part;
        }
        text += detokenizer.Flush();
        ASSERT_EQ(text, tokenizer->Decode(ids, skip));
      }
    }
  }
}

}  // namespace
}  // namespace hadal::tokenizer
