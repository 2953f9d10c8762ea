// SPDX-License-Identifier: Apache-2.0
// What tokenizer.json may not say, and how it is refused.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/models/tokenizer/test_data.h"

namespace hadal::tokenizer {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;

// A complete tokenizer over the bytes a, b and space.
json Minimal() {
  return json::parse(R"({
    "added_tokens": [{"id": 4, "content": "<s>", "special": true}],
    "normalizer": null,
    "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "use_regex": true},
    "post_processor": null,
    "decoder": {"type": "ByteLevel"},
    "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "Ġ": 2, "ab": 3}, "merges": ["a b"]}})");
}

std::string ErrorOf(const json& value) {
  const auto tokenizer = Tokenizer::FromJson(value.dump());
  if (tokenizer.ok()) return "accepted";
  EXPECT_EQ(tokenizer.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(tokenizer.status().message());
}

TEST(TokenizerJsonTest, AcceptsTheMinimalFile) {
  const auto tokenizer = Tokenizer::FromJson(Minimal().dump());
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  EXPECT_EQ(*(*tokenizer)->Encode("ab ba"), (std::vector<int32_t>{3, 2, 1, 0}));
}

TEST(TokenizerJsonTest, AcceptsMergesAsPairs) {
  json value = Minimal();
  value["model"]["merges"] = json::parse(R"([["a", "b"]])");
  EXPECT_EQ(*(*Tokenizer::FromJson(value.dump()))->Encode("ab"), (std::vector<int32_t>{3}));
}

TEST(TokenizerJsonTest, RefusesWhatIsNoJsonObject) {
  EXPECT_THAT(std::string(Tokenizer::FromJson("{").status().message()), HasSubstr("tokenizer.json: not valid JSON"));
  EXPECT_THAT(std::string(Tokenizer::FromJson("").status().message()), HasSubstr("tokenizer.json: not valid JSON"));
  EXPECT_THAT(std::string(Tokenizer::FromJson("[]").status().message()),
              HasSubstr("expected an object, found an array"));
  EXPECT_THAT(std::string(Tokenizer::FromJson(std::string(100000, '[')).status().message()),
              HasSubstr("not valid JSON"));
}

struct Case {
  const char* name;
  const char* pointer;
  const char* value;
  const char* expected;
};

class RefusalTest : public ::testing::TestWithParam<Case> {};

TEST_P(RefusalTest, NamesThePlaceAndTheValue) {
  json value = Minimal();
  value[json::json_pointer(GetParam().pointer)] = json::parse(GetParam().value);
  EXPECT_THAT(ErrorOf(value), HasSubstr(GetParam().expected));
}

INSTANTIATE_TEST_SUITE_P(
    Fields, RefusalTest,
    ::testing::Values(
        Case{"ModelType", "/model/type", R"("Unigram")", "model.type: expected \"BPE\""},
        Case{"Vocab", "/model/vocab", "[]", "model.vocab: expected an object, found an array"},
        Case{"EmptyVocab", "/model/vocab", "{}", "model.vocab: holds no token"},
        Case{"TokenId", "/model/vocab/a", R"("0")", "model.vocab[\"a\"]: expected an integer, found \"0\""},
        Case{"NegativeId", "/model/vocab/a", "-1", "has the id -1"},
        Case{"HugeId", "/model/vocab/a", "2000000000", "has the id 2000000000"},
        Case{"IdTwice", "/model/vocab/a", "1", "id 1 is used twice"},
        Case{"Merges", "/model/merges", "null", "model.merges: expected an array, found null"},
        Case{"MergeForm", "/model/merges/0", R"("ab")", "model.merges[0]: expected"},
        Case{"MergeNumber", "/model/merges/0", "7", "model.merges[0]: expected"},
        Case{"MergeTriple", "/model/merges/0", R"(["a","b","a"])", "model.merges[0]: expected"},
        Case{"MergeUnknown", "/model/merges/0", R"("a c")", "\"c\" is not in model.vocab"},
        Case{"MergeResult", "/model/merges/0", R"("b a")", "the result \"ba\" is not in model.vocab"},
        Case{"MergeTwice", "/model/merges/1", R"("a b")", "are merged twice"},
        Case{"Dropout", "/model/dropout", "0.1", "model.dropout: expected null"},
        Case{"Prefix", "/model/continuing_subword_prefix", R"("##")", "continuing_subword_prefix: expected null"},
        Case{"Suffix", "/model/end_of_word_suffix", R"("</w>")", "end_of_word_suffix: expected null"},
        Case{"ByteFallback", "/model/byte_fallback", "true", "byte_fallback is true"},
        Case{"UnknownToken", "/model/unk_token", R"("<unk>")", "\"<unk>\" is not in the vocabulary"},
        Case{"AddedId", "/added_tokens/0/id", "2", "belongs to another token"},
        Case{"AddedHugeId", "/added_tokens/0/id", "99999999999", "has the id 99999999999"},
        Case{"AddedContent", "/added_tokens/0/content", "\"\"", "content has 0 bytes"},
        Case{"AddedByte", "/added_tokens/0", R"({"id": 0, "content": "a", "special": true})",
             "cannot be told from ordinary text"},
        Case{"AddedMismatch", "/added_tokens/0", R"({"id": 9, "content": "ab"})",
             "has the id 9 here and 3 in model.vocab"},
        Case{"AddedTwice", "/added_tokens/1", R"({"id": 5, "content": "<s>"})", "listed twice"},
        Case{"AddedFlag", "/added_tokens/0/lstrip", "1", "added_tokens[0].lstrip: expected true or false"},
        Case{"Normalizer", "/normalizer", R"({"type": "Lowercase"})",
             "normalizer: type \"Lowercase\" is not supported"},
        Case{"PreTokenizer", "/pre_tokenizer", R"({"type": "Metaspace"})",
             "pre_tokenizer: type \"Metaspace\" is not supported"},
        Case{"NoPreTokenizer", "/pre_tokenizer", "null", "pre_tokenizer: expected a pre-tokenizer"},
        Case{"NoByteLevel", "/pre_tokenizer", R"({"type": "Digits"})", "has no ByteLevel"},
        Case{"AfterByteLevel", "/pre_tokenizer",
             R"({"type": "Sequence", "pretokenizers": [{"type": "ByteLevel"}, {"type": "Digits"}]})",
             "pretokenizers[1]: \"Digits\" comes after ByteLevel"},
        Case{
            "Pattern", "/pre_tokenizer",
            R"({"type": "Sequence", "pretokenizers": [{"type": "Split", "pattern": {"Regex": "(a"}, "behavior": "Isolated"}]})",
            "pretokenizers[0].pattern.Regex: split pattern (a does not compile"},
        Case{"Behavior", "/pre_tokenizer", R"({"type": "Split", "pattern": {"String": "a"}, "behavior": "isolated"})",
             "pre_tokenizer.behavior: expected Isolated"},
        Case{"PostProcessor", "/post_processor", R"({"type": "BertProcessing"})",
             "post_processor: type \"BertProcessing\""},
        Case{"Template", "/post_processor", R"({"type": "TemplateProcessing", "single": [], "special_tokens": {}})",
             "the sequence A must appear exactly once"},
        Case{
            "TemplateToken", "/post_processor",
            R"({"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "x"}}], "special_tokens": {"x": {"ids": [77]}}})",
            "expected the id of a token, found 77"},
        Case{"Decoder", "/decoder", R"({"type": "WordPiece"})", "decoder: type \"WordPiece\" is not supported"},
        Case{"NoDecoder", "/decoder", "null", "decoder: expected the decoder ByteLevel, or one"},
        Case{"BothDecoders", "/decoder",
             R"({"type": "Sequence", "decoders": [{"type": "ByteLevel"}, {"type": "Metaspace"}]})",
             "decoder: must have ByteLevel, or else"},
        Case{"NeitherDecoder", "/decoder", R"({"type": "Fuse"})", "decoder: must have ByteLevel, or else"},
        Case{"DecoderStrip", "/decoder", R"({"type": "Strip", "content": " ", "start": 2, "stop": 0})",
             "only one space in front may be stripped"},
        Case{"DecoderReplace", "/decoder", R"({"type": "Replace", "pattern": {"String": "a"}, "content": " "})",
             "only U+2581 may be replaced"},
        Case{"CharactersWithByteLevel", "/decoder", R"({"type": "Metaspace"})",
             "pre_tokenizer: type \"ByteLevel\" is not supported (supported: Sequence, Split, Digits, Metaspace)"}),
    [](const auto& info) { return info.param.name; });

// Of a vocabulary as sentencepiece has it: what is missing or wrong is named.
TEST(TokenizerJsonTest, ChecksTheBytesAndTheMetaspaceOfCharacters) {
  json value = Minimal();
  value["decoder"] = {{"type", "Metaspace"}};
  value["pre_tokenizer"] = {{"type", "Metaspace"}, {"replacement", "▁"}, {"prepend_scheme", "first"}};
  EXPECT_TRUE(Tokenizer::FromJson(value.dump()).ok()) << Tokenizer::FromJson(value.dump()).status();
  const auto error = [&] { return std::string(Tokenizer::FromJson(value.dump()).status().message()); };
  value["model"]["byte_fallback"] = true;
  EXPECT_THAT(error(), HasSubstr("byte_fallback is true and the vocabulary lacks bytes"));
  value["model"]["byte_fallback"] = false;
  value["pre_tokenizer"]["prepend_scheme"] = "last";
  EXPECT_THAT(error(), HasSubstr("pre_tokenizer.prepend_scheme: expected always, first or never"));
  value["pre_tokenizer"]["replacement"] = "_";
  EXPECT_THAT(error(), HasSubstr("replacement must be U+2581"));
}

TEST(TokenizerJsonTest, RefusesDeepNesting) {
  json value = Minimal();
  json nested = {{"type", "ByteLevel"}};
  for (int i = 0; i < 40; ++i) nested = {{"type", "Sequence"}, {"pretokenizers", {nested}}};
  value["pre_tokenizer"] = nested;
  EXPECT_THAT(ErrorOf(value), HasSubstr("nested sequences"));
}

TEST(TokenizerJsonTest, RefusesTokensListedTwice) {
  std::string text = Minimal().dump();
  text.replace(text.find("\"ab\":3"), 6, "\"ab\":3,\"ab\":5");
  const auto tokenizer = Tokenizer::FromJson(text);
  EXPECT_THAT(std::string(tokenizer.status().message()), HasSubstr("token \"ab\" is listed twice"));
}

TEST(TokenizerJsonTest, RefusesBadConfigs) {
  const std::string json = Minimal().dump();
  const auto message = [&](const char* config, const char* generation) {
    return std::string(Tokenizer::FromJson(json, config, generation).status().message());
  };
  EXPECT_THAT(message("[]", ""), AllOf(HasSubstr("tokenizer_config.json"), HasSubstr("expected an object")));
  EXPECT_THAT(message(R"({"bos_token": 3})", ""), HasSubstr("tokenizer_config.json: bos_token: expected"));
  EXPECT_THAT(message(R"({"chat_template": [{"name": "default"}]})", ""), HasSubstr("chat_template[0].template"));
  EXPECT_THAT(message("", R"({"eos_token_id": "1"})"),
              HasSubstr("generation_config.json: eos_token_id: expected an integer"));
  EXPECT_THAT(message("", R"({"eos_token_id": [-4]})"), HasSubstr("eos_token_id -4"));
  EXPECT_THAT(message(R"({"model_max_length": 1e30})", ""), "");
}

TEST(TokenizerJsonTest, TakesTheDefaultOfSeveralTemplates) {
  const auto tokenizer = Tokenizer::FromJson(
      Minimal().dump(),
      R"({"chat_template": [{"name": "tool_use", "template": "T"}, {"name": "default", "template": "D"}]})");
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  EXPECT_EQ((*tokenizer)->chat_template(), "D");
}

TEST(TokenizerJsonTest, ControlTokensThatMergesMakeStayOutOfUserText) {
  json value = Minimal();
  value["model"]["vocab"] = {{"<", 0}, {"a", 1}, {">", 2}, {"<a", 3}, {"<a>", 4}, {"<a>a", 5}};
  value["model"]["merges"] = {"< a", "<a >", "<a> a"};
  value["added_tokens"] = {{{"id", 4}, {"content", "<a>"}, {"special", true}}};
  for (const bool ignore_merges : {false, true}) {
    value["model"]["ignore_merges"] = ignore_merges;
    value["pre_tokenizer"]["use_regex"] = false;
    const auto tokenizer = *Tokenizer::FromJson(value.dump());
    EXPECT_EQ(*tokenizer->Encode("<a>"), (std::vector<int32_t>{3, 2}));
    EXPECT_EQ(*tokenizer->Encode("<a>", {.allow_added_tokens = true}), (std::vector<int32_t>{4}));
    EXPECT_EQ(*tokenizer->Encode("<a>"), (std::vector<int32_t>{3, 2}));
  }
}

}  // namespace
}  // namespace hadal::tokenizer
