// SPDX-License-Identifier: Apache-2.0
// Seeded mutations of a small tokenizer.json: every one is refused with a message or gives a tokenizer that works.
#include <gtest/gtest.h>

#include <cstdlib>
#include <random>

#include "base/utf8.h"
#include "models/chat/chat_template.h"
#include "tests/models/tokenizer/test_data.h"

namespace hadal::tokenizer {
namespace {

// clang-format off
constexpr char kSmall[] = R"json({
 "version": "1.0", "truncation": null, "padding": null,
 "added_tokens": [
  {"id": 0, "content": "<s>", "special": true, "normalized": false, "lstrip": false, "rstrip": false, "single_word": false},
  {"id": 20, "content": "<think>", "special": false, "normalized": true, "lstrip": true, "rstrip": true, "single_word": true},
  {"id": 21, "content": "ü", "special": false, "normalized": true}],
 "normalizer": {"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "Replace", "pattern": {"String": "x"}, "content": "yz"}]},
 "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
  {"type": "Split", "pattern": {"Regex": "\\p{N}{1,3}"}, "behavior": "Isolated", "invert": false},
  {"type": "Split", "pattern": {"Regex": " ?[^\\s\\p{L}]+|\\p{Lu}(?=a)|\\s+(?!\\S)"}, "behavior": "MergedWithPrevious", "invert": false},
  {"type": "Split", "pattern": {"String": "-"}, "behavior": "Removed", "invert": true},
  {"type": "Digits", "individual_digits": true},
  {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true}]},
 "post_processor": {"type": "TemplateProcessing",
  "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}], "pair": [],
  "special_tokens": {"<s>": {"id": "<s>", "ids": [0], "tokens": ["<s>"]}}},
 "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
 "model": {"type": "BPE", "dropout": null, "unk_token": "<s>", "continuing_subword_prefix": null, "end_of_word_suffix": null,
  "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
  "vocab": {"<s>": 0, "a": 1, "b": 2, "Ġ": 3, "ab": 4, "Ġa": 5, "Ġab": 6, "1": 7, "Ã": 8, "¼": 9, "Ã¼": 10, "-": 11, "c": 12},
  "merges": ["a b", ["Ġ", "a"], "Ġ ab", "Ã ¼"]}})json";

// Of characters, as sentencepiece has them.
constexpr char kCharacters[] = R"json({
 "added_tokens": [{"id": 0, "content": "<s>", "special": true, "normalized": false}, {"id": 20, "content": "<think>", "normalized": true}],
 "normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]},
 "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": true},
 "post_processor": null,
 "decoder": {"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"},
  {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
 "model": {"type": "BPE", "unk_token": "<s>", "fuse_unk": true, "byte_fallback": false,
  "vocab": {"<s>": 0, "a": 1, "b": 2, "▁": 3, "ab": 4, "▁a": 5, "▁ab": 6, "<0x0A>": 7, "ü": 8, "<0xFF>": 9},
  "merges": ["a b", "▁ a", "▁ ab", "▁a b"]}})json";
// clang-format on

constexpr char kConfig[] = R"({"bos_token": {"content": "<s>"}, "eos_token": "<s>", "add_bos_token": true,
 "model_max_length": 1024, "tokenizer_class": "LlamaTokenizerFast", "chat_template": [{"name": "default", "template": "<|im_start|>"}]})";
constexpr char kGeneration[] = R"({"bos_token_id": 0, "eos_token_id": [0, 20]})";

class Mutator {
 public:
  explicit Mutator(uint32_t seed) : random_(seed) {}

  std::string Mutate(std::string text) {
    for (uint32_t n = 1 + random_() % 3; n > 0; --n) MutateOnce(&text);
    return text;
  }

 private:
  void MutateOnce(std::string* text) {
    static const char* const kTokens[] = {"null",
                                          "true",
                                          "-1",
                                          "0",
                                          "4294967296",
                                          "1e308",
                                          "99999999999999999999",
                                          "{}",
                                          "[]",
                                          "\"\"",
                                          "\"a\"",
                                          "[[[[",
                                          "}}",
                                          "\\u0000",
                                          "\\ud800",
                                          "\xFF",
                                          "\"type\"",
                                          "\"Sequence\"",
                                          "\"ids\"",
                                          ",",
                                          ":",
                                          "\""};
    if (text->empty()) return;
    const size_t at = random_() % text->size();
    const size_t size = std::min<size_t>(1 + random_() % 12, text->size() - at);
    switch (random_() % 7) {
      case 0:
        (*text)[at] = static_cast<char>(random_());
        break;
      case 1:
        (*text)[at] = static_cast<char>((*text)[at] ^ (1 << random_() % 8));
        break;
      case 2:
        text->erase(at, size);
        break;
      case 3:
        text->insert(at, kTokens[random_() % std::size(kTokens)]);
        break;
      case 4:
        ReplaceValue(text, at, kTokens[random_() % std::size(kTokens)]);
        break;
      case 5:
        text->insert(at, text->substr(random_() % text->size(), random_() % 40));
        break;
      default:
        text->resize(at);
    }
  }

  // Replaces what stands between a colon or comma and the next one: mostly valid JSON with a wrong value.
  static void ReplaceValue(std::string* text, size_t at, const char* value) {
    const size_t begin = text->find_first_of(":,[", at);
    if (begin == text->npos) return;
    const size_t end = text->find_first_of(",}]", begin + 1);
    if (end != text->npos) text->replace(begin + 1, end - begin - 1, value);
  }

  std::mt19937 random_;
};

void CheckThatItWorks(const Tokenizer& tokenizer) {
  for (const std::string_view text : {"", "ab ba -1 <s><think> ü", " a\u0308\n  x 123", "\xFF", "Aa"}) {
    for (const bool allow : {false, true}) {
      const auto ids = tokenizer.Encode(text, {.add_special_tokens = true, .allow_added_tokens = allow});
      if (!ids.ok()) continue;
      for (const int32_t id : *ids) ASSERT_TRUE(tokenizer.IsValid(id));
      ASSERT_EQ(base::FindInvalidUtf8(tokenizer.Decode(*ids, true)), std::string::npos);
    }
  }
  ASSERT_LT(tokenizer.vocab_size(), 1 << 20) << "tables are bounded by what the file holds";
  const auto chat_template = chat::ChatTemplate::Detect(tokenizer);
  if (chat_template.ok()) {
    const chat::ChatMessage message{.role = "user", .content = "ab"};
    const auto prompt = chat_template->Render(absl::MakeConstSpan(&message, 1), {});
    ASSERT_TRUE(prompt.ok()) << prompt.status();
    EXPECT_TRUE(EncodePrompt(tokenizer, *prompt).status().code() != absl::StatusCode::kInternal);
  }
}

TEST(TokenizerMutationTest, NeverCrashesAndAlwaysExplains) {
  for (const char* json : {kSmall, kCharacters}) {
    const auto tokenizer = Tokenizer::FromJson(json, kConfig, kGeneration);
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  }
  const char* count = std::getenv("HADAL_FUZZ_ITERATIONS");
  const int iterations = count != nullptr ? std::atoi(count) : 10000;
  ASSERT_GT(iterations, 0);
  int accepted = 0;
  for (int i = 0; i < iterations; ++i) {
    Mutator mutator(static_cast<uint32_t>(i));
    std::string json = kSmall, config = kConfig, generation = kGeneration;
    switch (i % 8) {
      case 0:
        config = mutator.Mutate(config);
        break;
      case 1:
        generation = mutator.Mutate(generation);
        break;
      case 2:
      case 3:
        json = mutator.Mutate(kCharacters);
        break;
      default:
        json = mutator.Mutate(json);
    }
    SCOPED_TRACE("seed " + std::to_string(i));
    const auto tokenizer = Tokenizer::FromJson(json, config, generation);
    if (tokenizer.ok()) {
      ++accepted;
      CheckThatItWorks(**tokenizer);
    } else {
      ASSERT_EQ(tokenizer.status().code(), absl::StatusCode::kInvalidArgument) << tokenizer.status();
      ASSERT_NE(std::string(tokenizer.status().message()).find(".json"), std::string::npos) << tokenizer.status();
    }
    if (HasFatalFailure()) return;
  }
  RecordProperty("accepted", accepted);
  EXPECT_GT(accepted, 0);
  EXPECT_LT(accepted, iterations);
}

}  // namespace
}  // namespace hadal::tokenizer
