// SPDX-License-Identifier: Apache-2.0
// Schemas compiled for the demo model's tokens: what they accept, and that any walk along their masks ends in valid
// JSON.
#include "models/grammar/grammar_compiler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "models/grammar/json_format.h"
#include "tests/models/grammar/demo_grammar.h"

namespace hadal::grammar {
namespace {

using Json = nlohmann::json;
using ::testing::HasSubstr;

using GrammarCompilerTest = DemoGrammarTest;

constexpr char kPerson[] =
    R"({"type": "object", "properties": {"name": {"type": "string"}, "age": {"type": "integer", "minimum": 0,
    "maximum": 150}, "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "maxItems": 2}}, "required": ["name", "age"]})";

TEST_F(GrammarCompilerTest, AcceptsWhatTheSchemaAllowsAndNothingElse) {
  const auto grammar = CompileSchema(kPerson);
  EXPECT_TRUE(Accepts(*grammar, R"({"name": "Zoë", "age": 42})"));
  EXPECT_TRUE(Accepts(*grammar, "{\n  \"name\":\"\\u00e9\", \"age\": 0 , \"tags\": [\"a\",\"b\"]}"));
  EXPECT_FALSE(Accepts(*grammar, R"({"name": "x"})"));
  EXPECT_FALSE(Accepts(*grammar, R"({"name": "x", "age": 151})"));
  EXPECT_FALSE(Accepts(*grammar, R"({"name": "x", "age": 1, "more": 1})"));
  EXPECT_FALSE(Accepts(*grammar, R"({"name": "x", "age": 1, "tags": ["a", "a", "a"]})"));
  EXPECT_FALSE(Accepts(*grammar, "{\"name\": \"line\nbreak\", \"age\": 1}"));
  EXPECT_FALSE(Accepts(*grammar, R"(["name"])"));
  EXPECT_FALSE(Accepts(*grammar, R"({"name": "x", "age": 1}})"));
}

TEST_F(GrammarCompilerTest, TellsObjectsApartThatDifferInAPropertyCalledTitle) {
  const auto grammar = CompileSchema(R"({"type": "array", "items": false, "minItems": 2, "prefixItems": [
      {"type": "object", "properties": {"title": {"type": "string"}}, "required": ["title"]},
      {"type": "object", "properties": {"title": {"type": "integer"}}, "required": ["title"]}]})");
  EXPECT_TRUE(Accepts(*grammar, R"([{"title": "a"}, {"title": 1}])"));
  EXPECT_FALSE(Accepts(*grammar, R"([{"title": "a"}, {"title": "b"}])"));
}

TEST_F(GrammarCompilerTest, ControlTokensAndMissingRowsAreNeverAllowed) {
  const auto grammar = Compile(JsonObjectSpec(Reasoning::kNone));
  auto constraint = grammar->Start();
  for (const int32_t token : Encode(R"({"a": "text )")) {
    ASSERT_TRUE(constraint->Accept(token).ok());
    auto mask = constraint->Mask();
    for (int32_t t = 0; t < kVocab; ++t) {
      if (tokenizer_->IsValid(t) && !tokenizer_->IsControl(t)) continue;
      EXPECT_FALSE(Allows(**mask, t)) << t;
    }
  }
}

TEST_F(GrammarCompilerTest, AnyWalkEndsInAnObject) {
  const auto grammar = Compile(JsonObjectSpec(Reasoning::kNone));
  for (uint32_t seed = 0; seed < 40; ++seed) {
    const std::string text = Walk(*grammar, seed);
    EXPECT_TRUE(Json::parse(text, nullptr, false).is_object()) << text;
  }
}

TEST_F(GrammarCompilerTest, ReasoningIsFreeAndEndsWithItsMarker) {
  const auto grammar = CompileSchema(R"({"type": "integer"})", Reasoning::kOpen);
  EXPECT_TRUE(Accepts(*grammar, "let me see {\"x\": </think>\n\n17"));
  EXPECT_TRUE(Accepts(*grammar, "</think>17"));
  EXPECT_FALSE(Accepts(*grammar, "</think>\n\n\n17"));
  EXPECT_FALSE(Accepts(*grammar, "</think>so it is 17"));
  auto constraint = grammar->Start();
  EXPECT_FALSE(Allows(MaskOf(*constraint), kEnd)) << "no end inside the reasoning";
  EXPECT_FALSE(constraint->Accept(kEnd).ok());
}

TEST_F(GrammarCompilerTest, TheModelMayOpenTheReasoningItself) {
  const auto grammar = CompileSchema(R"({"type": "integer"})", Reasoning::kMayOpen);
  EXPECT_TRUE(Accepts(*grammar, "<think>hm</think>17"));
  EXPECT_TRUE(Accepts(*grammar, "17"));
  EXPECT_FALSE(Accepts(*grammar, "1<think>"));
  EXPECT_FALSE(Accepts(*grammar, "hm</think>17"));
}

TEST_F(GrammarCompilerTest, WithoutThinkTokensTheMarkersAreText) {
  std::string json =
      R"({"version": "1.0", "added_tokens": [{"id": 256, "content": "<end>", "special": true}], "normalizer": null,
      "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "use_regex": false},
      "decoder": {"type": "ByteLevel"}, "model": {"type": "BPE", "merges": [], "vocab": {)";
  // Every byte is a token: the byte alphabet in order.
  int next = 0;
  const auto add = [&](int codepoint) {
    std::string utf8;
    if (codepoint < 0x80) utf8 = std::string(1, static_cast<char>(codepoint));
    if (codepoint >= 0x80)
      utf8 = {static_cast<char>(0xC0 | codepoint >> 6), static_cast<char>(0x80 | (codepoint & 63))};
    json += (next > 0 ? "," : "") + Json(utf8).dump() + ":" + std::to_string(next);
    ++next;
  };
  int shifted = 256;
  for (int byte = 0; byte < 256; ++byte) {
    const bool printable = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
    add(printable ? byte : shifted++);
  }
  json += "}}}";
  auto bytes = tokenizer::Tokenizer::FromJson(json, R"({"eos_token": "<end>"})");
  ASSERT_TRUE(bytes.ok()) << bytes.status();
  auto compiler = GrammarCompiler::Create(*bytes, 260);
  ASSERT_TRUE(compiler.ok()) << compiler.status();
  const auto accepts = [&](Reasoning reasoning, const std::string& text) {
    auto grammar = (*compiler)->Compile(JsonSchemaSpec(R"({"type":"integer"})", reasoning));
    EXPECT_TRUE(grammar.ok()) << grammar.status();
    auto constraint = (*grammar)->Start();
    const std::vector<int32_t> ids = *(*bytes)->Encode(text);
    for (const int32_t token : ids) {
      if (!Allows(MaskOf(*constraint), token)) return false;
      EXPECT_TRUE(constraint->Accept(token).ok());
    }
    return Allows(MaskOf(*constraint), 256);
  };
  EXPECT_TRUE(accepts(Reasoning::kOpen, "a < b </think>\n17"));
  EXPECT_FALSE(accepts(Reasoning::kOpen, "a < b"));
  EXPECT_FALSE(accepts(Reasoning::kOpen, "17"));
  EXPECT_TRUE(accepts(Reasoning::kMayOpen, "<think>a</think>17"));
  EXPECT_TRUE(accepts(Reasoning::kMayOpen, "17"));
  EXPECT_FALSE(accepts(Reasoning::kMayOpen, "<think>a"));
}

TEST_F(GrammarCompilerTest, RunsOfWhiteSpaceAreCut) {
  const auto grammar = CompileSchema(R"({"type": "array", "items": {"type": "string"}})");
  const int32_t space = *tokenizer_->TokenId(" "), quote = *tokenizer_->TokenId("\""),
                line = *tokenizer_->TokenId("\n");
  auto constraint = grammar->Start();
  ASSERT_TRUE(constraint->Accept(*tokenizer_->TokenId("[")).ok());
  EXPECT_EQ(CountRepeats(*constraint, space), 2);
  EXPECT_FALSE(Allows(MaskOf(*constraint), line));
  ASSERT_TRUE(constraint->Accept(quote).ok());
  EXPECT_EQ(CountRepeats(*constraint, space), 500);  // in a string they are text
  ASSERT_TRUE(constraint->Accept(quote).ok());
  ASSERT_TRUE(constraint->Accept(line).ok());
  EXPECT_EQ(CountRepeats(*constraint, space), 32);  // an indentation
  ASSERT_TRUE(constraint->Accept(*tokenizer_->TokenId(",")).ok());
  EXPECT_EQ(CountRepeats(*constraint, line), 2);
  EXPECT_FALSE(Allows(MaskOf(*constraint), space));
  EXPECT_TRUE(Allows(MaskOf(*constraint), quote));
}

TEST_F(GrammarCompilerTest, MasksStayValidWhileTheNextOnesAreMade) {
  const auto grammar = CompileSchema(kPerson);
  auto constraint = grammar->Start();
  std::vector<std::shared_ptr<const models::TokenMask>> kept;
  std::vector<models::TokenMask> copies;
  for (const int32_t token : Encode(R"({"name": "abc", "age": 4})")) {
    kept.push_back(*constraint->Mask());
    copies.push_back(*kept.back());
    ASSERT_TRUE(constraint->Accept(token).ok());
  }
  for (size_t i = 0; i < kept.size(); ++i) EXPECT_EQ(*kept[i], copies[i]) << i;
}

TEST_F(GrammarCompilerTest, LiteralsMatchControlTokensById) {
  EXPECT_EQ(LiteralFormat(*tokenizer_, "a\"b"), R"({"type":"const_string","value":"a\"b"})");
  const auto grammar =
      Compile({LiteralFormat(*tokenizer_, "<｜tool▁call▁begin｜>go<｜tool▁sep｜>"), Reasoning::kNone, false});
  EXPECT_TRUE(Accepts(*grammar, "<｜tool▁call▁begin｜>go<｜tool▁sep｜>"));
  EXPECT_FALSE(Accepts(*grammar, "<｜tool▁call▁begin｜>go"));
}

TEST_F(GrammarCompilerTest, AFormatThatXgrammarRefusesIsAnError) {
  const auto refused =
      compiler_->Compile({R"({"type":"json_schema","json_schema":{"type":"no such"}})", Reasoning::kNone, false});
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_FALSE(compiler_->Compile({"{", Reasoning::kNone, false}).ok());
  EXPECT_FALSE(compiler_->Compile({R"({"type":"nothing"})", Reasoning::kNone, false}).ok());
}

}  // namespace
}  // namespace hadal::grammar
