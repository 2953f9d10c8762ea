// SPDX-License-Identifier: Apache-2.0
// The published vocabularies are no part of this repository: test_published_tokenizers.py checks them.
#include "models/tokenizer/fingerprint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <set>
#include <string>

#include "tests/models/tokenizer/test_data.h"

namespace hadal::tokenizer {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

json Source(const std::string& style) {
  return json::parse(ReadSource("tests/data/tokenizer/" + style + ".tokenizer.json"));
}

std::shared_ptr<const Tokenizer> Parse(const json& source) { return Tokenizer::FromJson(source.dump()).value(); }

// What a library does that takes every tokenizer for sentencepiece's: a byte-level vocabulary has no token for it.
json WithMetaspace(json source) {
  source["pre_tokenizer"] = {
      {"type", "Metaspace"}, {"replacement", "▁"}, {"prepend_scheme", "always"}, {"split", false}};
  return source;
}

TEST(FingerprintTest, OfEveryStyleIsItsOwnAndStable) {
  std::set<std::string> seen;
  for (const char* style : {"deepseek_v3", "deepseek_llm", "deepseek_coder", "qwen2", "llama3", "gpt2", "llama2"}) {
    const std::string fingerprint = Fingerprint(*Parse(Source(style)));
    EXPECT_THAT(fingerprint, ::testing::StartsWith("tk_"));
    EXPECT_EQ(fingerprint.size(), 19u);
    EXPECT_EQ(fingerprint, Fingerprint(*Parse(Source(style)))) << style;
    EXPECT_TRUE(seen.insert(fingerprint).second) << style << " is taken for another";
  }
}

TEST(FingerprintTest, ChangesWithWhateverChangesIds) {
  const json source = Source("deepseek_v3");
  const std::string original = Fingerprint(*Parse(source));
  json merges = source;
  merges["model"]["merges"].erase(merges["model"]["merges"].begin() + 50, merges["model"]["merges"].end());
  json digits = source;  // V3 takes up to three digits for a piece
  digits["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = "\\p{N}";
  EXPECT_NE(Fingerprint(*Parse(merges)), original);
  EXPECT_NE(Parse(digits)->Encode("3333").value(), Parse(source)->Encode("3333").value());
  EXPECT_NE(Fingerprint(*Parse(digits)), original);
}

TEST(FingerprintTest, TokenizersThatKeepTheirTextPass) {
  for (const char* style : {"deepseek_v3", "deepseek_llm", "deepseek_coder", "qwen2", "llama3", "gpt2", "llama2",
                            "llama2_first", "metaspace"}) {
    EXPECT_TRUE(CheckTokenizer(*Parse(Source(style)), 129280).ok())
        << style << ": " << CheckTokenizer(*Parse(Source(style)), 129280);
  }
}

// What reads the text and drops its spaces, as a pre-tokenizer of another kind does.
json WithoutSpaces(json source) {
  json split = {{"type", "Split"}, {"pattern", {{"Regex", "\\s"}}}, {"behavior", "Removed"}, {"invert", false}};
  json& sequence = source["pre_tokenizer"];
  if (sequence["type"] == "Sequence") {
    sequence["pretokenizers"].insert(sequence["pretokenizers"].begin(), split);
  } else {
    sequence = {{"type", "Sequence"}, {"pretokenizers", {split, sequence}}};
  }
  return source;
}

TEST(FingerprintTest, APreTokenizerThatDropsTextIsRefused) {
  const absl::Status status = CheckTokenizer(*Parse(WithoutSpaces(Source("deepseek_v3"))), 129280);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("tokenizer.json loses text: \"Hello world\" comes back from its ids as \"Helloworld\""));
}

// 6 of docs/overload.md, "What other servers do badly": of twelve damaged tokenizers, those with which a server starts.
// Elsewhere it starts where the ids fit the embedding.
TEST(PeerFailuresTest, ADamagedTokenizerIsServed) {
  int naive = 0, ours = 0;
  for (const char* style : {"deepseek_v3", "deepseek_llm", "deepseek_coder", "qwen2", "llama3", "gpt2"}) {
    for (const json& damaged : {WithMetaspace(Source(style)), WithoutSpaces(Source(style))}) {
      naive += damaged["model"]["vocab"].size() + damaged["added_tokens"].size() <= 129280;
      const auto tokenizer = Tokenizer::FromJson(damaged.dump());
      ours += tokenizer.ok() && CheckTokenizer(**tokenizer, 129280).ok();
    }
  }
  EXPECT_EQ(naive, 12) << "the scenario no longer shows the failure";
  EXPECT_EQ(ours, 0);
  RecordProperty("naive", naive);
}

}  // namespace
}  // namespace hadal::tokenizer
