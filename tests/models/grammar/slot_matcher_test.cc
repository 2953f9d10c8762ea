// SPDX-License-Identifier: Apache-2.0
// Strings of bounded length: random schemas, random walks along their masks, and random values, valid or not.
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <regex>
#include <unordered_map>

#include "absl/strings/str_cat.h"
#include "base/utf8.h"
#include "models/grammar/tool_grammar.h"
#include "tests/models/grammar/demo_grammar.h"

namespace hadal::grammar {
namespace {

using Json = nlohmann::ordered_json;
using SlotMatcherTest = DemoGrammarTest;

constexpr char kAnything[] = "^.{1,20}$";

// What JSON Schema says about `value`, as far as the schemas of this test go.
bool IsValid(const Json& schema, const Json& value, const Json& root) {
  if (schema.contains("$ref")) return IsValid(root["$defs"]["node"], value, root);
  if (schema.contains("anyOf")) {
    const Json& branches = schema["anyOf"];
    return std::any_of(branches.begin(), branches.end(), [&](const Json& b) { return IsValid(b, value, root); });
  }
  if (schema.contains("enum")) {
    return std::find(schema["enum"].begin(), schema["enum"].end(), value) != schema["enum"].end();
  }
  if (!schema.contains("type")) return true;
  const std::string type = schema["type"];
  if (type == "integer") return value.is_number();  // long ones are read as floats
  if (type == "null") return value.is_null();
  if (type == "string") {
    if (!value.is_string()) return false;
    const std::string text = value;
    const int64_t length = base::CountCharacters(text);
    if (schema.contains("pattern") && schema["pattern"] == kAnything) {
      // A pattern's classes never stand for what JSON escapes.
      return length >= 1 && length <= 20 && text.find_first_of("\n\"\\") == std::string::npos;
    }
    if (schema.contains("pattern") && !std::regex_match(text, std::regex(schema["pattern"].get<std::string>()))) {
      return false;
    }
    return length >= schema.value("minLength", 0) && length <= schema.value("maxLength", 1 << 20);
  }
  if (type == "array") {
    return value.is_array() && value.size() >= schema.value("minItems", 0u) &&
           value.size() <= schema.value("maxItems", 1000u) &&
           std::all_of(value.begin(), value.end(), [&](const Json& v) { return IsValid(schema["items"], v, root); });
  }
  if (!value.is_object()) return false;
  for (const auto& name : schema["required"]) {
    if (!value.contains(name.get<std::string>())) return false;
  }
  for (const auto& [name, part] : value.items()) {
    const bool known = schema["properties"].contains(name);
    if (!known && schema["additionalProperties"] == false) return false;
    if (!IsValid(known ? schema["properties"][name] : schema["additionalProperties"], part, root)) return false;
  }
  return true;
}

class Maker {
 public:
  explicit Maker(uint32_t seed) : random_(seed) {}

  int Below(int n) { return static_cast<int>(random_() % static_cast<uint32_t>(n)); }

  Json Schema(int depth) {
    switch (Below(depth > 0 ? 10 : 6)) {
      case 0:
        return {{"type", "string"}};
      case 1:
        return {{"enum", {"a", "red \"x\"", "b\\c", 7, "é"}}};
      case 2:
        return {{"type", Below(2) == 0 ? "integer" : "null"}};
      case 3:
        return {{"type", "string"}, {"pattern", Below(2) == 0 ? "^[a-c ]{2,20}$" : kAnything}};
      case 4:
      case 5: {
        const int min = Below(4);
        Json text = {{"type", "string"}};
        if (Below(3) > 0) text["minLength"] = min;
        if (Below(4) > 0) text["maxLength"] = min + Below(6);
        return text;
      }
      case 6: {
        Json branches = Json::array();
        for (int i = Below(2); i < 3; ++i) branches.push_back(Schema(depth - 1));
        return {{"anyOf", branches}};
      }
      case 7:
        return {{"type", "array"}, {"items", Schema(depth - 1)}, {"minItems", Below(3)}, {"maxItems", 3}};
      default: {
        Json properties = Json::object(), required = Json::array();
        for (const char* name : {"name", "kind", "x"}) {
          if (Below(3) == 0) continue;
          properties[name] = Schema(depth - 1);
          if (Below(3) > 0) required.push_back(name);
        }
        const Json others = Below(3) == 0 ? Schema(0) : Json(false);
        return {
            {"type", "object"}, {"properties", properties}, {"required", required}, {"additionalProperties", others}};
      }
    }
  }

  // A value that is valid, or nearly so.
  Json Value(const Json& schema) {
    if (schema.contains("anyOf")) return Value(schema["anyOf"][Below(static_cast<int>(schema["anyOf"].size()))]);
    if (schema.contains("enum")) return schema["enum"][Below(static_cast<int>(schema["enum"].size()))];
    const std::string type = schema["type"];
    if (type == "integer") return Below(100);
    if (type == "null") return nullptr;
    if (type == "string") {
      const bool plain = schema.contains("pattern");
      int min = schema.value("minLength", plain ? 2 : 0), max = schema.value("maxLength", plain ? 20 : min + 3);
      const int length = std::max(0, min + Below(max - min + 1) + (Below(4) == 0 ? Below(5) - 2 : 0));
      std::string text;
      for (int i = 0; i < length; ++i) {
        constexpr const char* kLetters[] = {"a", "b", "c", " ", "\"", "\\", "\n", "é", "語", "😀", "the"};
        const char* letter = kLetters[Below(plain ? 4 : 10)];
        text += letter;
      }
      return text;
    }
    if (type == "array") {
      Json items = Json::array();
      for (int i = Below(2) + schema.value("minItems", 0); i > 0; --i) items.push_back(Value(schema["items"]));
      return items;
    }
    Json out = Json::object();
    for (const auto& [name, part] : schema["properties"].items()) {
      const Json& required = schema["required"];
      if (Below(2) == 0 || std::find(required.begin(), required.end(), name) != required.end()) out[name] = Value(part);
    }
    if (schema["additionalProperties"].is_object() && Below(2) == 0)
      out["more"] = Value(schema["additionalProperties"]);
    return out;
  }

 private:
  std::mt19937 random_;
};

// A text has many tokenizations, and all of them may be answers: cuts it at random.
class Cutter {
 public:
  explicit Cutter(const tokenizer::Tokenizer& tokenizer) {
    for (int32_t id = 0; id < tokenizer.vocab_size(); ++id) {
      if (tokenizer.IsValid(id) && !tokenizer.IsControl(id)) by_bytes_.emplace(tokenizer.TokenBytes(id), id);
    }
  }
  std::vector<int32_t> Cut(std::string_view text, Maker* maker) const {
    std::vector<int32_t> tokens;
    for (size_t at = 0; at < text.size();) {
      size_t size = std::min<size_t>(text.size() - at, 1 + static_cast<size_t>(maker->Below(6)));
      while (!by_bytes_.contains(text.substr(at, size))) --size;  // every byte is a token
      tokens.push_back(by_bytes_.at(text.substr(at, size)));
      at += size;
    }
    return tokens;
  }

 private:
  std::unordered_map<std::string_view, int32_t> by_bytes_;
};

TEST_F(SlotMatcherTest, CountsCodePointsOfTheDecodedText) {
  const auto grammar = CompileSchema(R"({"type": "string", "minLength": 2, "maxLength": 3})");
  for (const char* text :
       {R"("ab")", R"("abc")", R"("語語語")", R"("😀😀")", R"("\n\"\\")", R"("\u00e9é")", R"("\ud83d\ude00\ud83d\ude00")",
        R"("\ud83da")", R"("\ud83d\ud83d\ude00")", R"("\ude00\ude00")"}) {
    EXPECT_TRUE(Accepts(*grammar, text)) << text;
  }
  for (const char* text : {R"("a")", R"("abcd")", R"("😀")", R"("\ud83d\ude00")", R"("\n\n\n\n")", R"("語")", R"("")",
                           R"("\ud83d\ud83d\ud83d\ud83d")", R"("\x")", R"("\ud83")"}) {
    EXPECT_FALSE(Accepts(*grammar, text)) << text;
  }
}

TEST_F(SlotMatcherTest, AtTheLastCharacterOnlyWhatCompletesItMayFollow) {
  const auto grammar = CompileSchema(R"({"type": "string", "maxLength": 1})");
  auto constraint = grammar->Start();
  const auto take = [&](std::string_view bytes) {
    for (const char byte : bytes) {
      int32_t token = 0;
      while (tokenizer_->TokenBytes(token) != std::string_view(&byte, 1)) ++token;
      ASSERT_TRUE(Allows(MaskOf(*constraint), token)) << bytes;
      ASSERT_TRUE(constraint->Accept(token).ok());
    }
  };
  take("\"\\ud83d\\ude00");
  const models::TokenMask mask = MaskOf(*constraint);
  for (int32_t t = 0; t < tokenizer_->vocab_size(); ++t) {
    const std::string bytes(tokenizer_->IsValid(t) && !tokenizer_->IsControl(t) ? tokenizer_->TokenBytes(t) : "");
    EXPECT_EQ(Allows(mask, t),
              bytes == "\"" || (bytes.starts_with("\"") && bytes.find_first_not_of(" \n\r\t", 1) == std::string::npos))
        << bytes;
  }
}

TEST_F(SlotMatcherTest, LongStringsCostNoMoreThanShortOnes) {
  const auto grammar = CompileSchema(R"({"type": "string", "minLength": 4000, "maxLength": 1000000})");
  EXPECT_LT(grammar->bytes(), 1 << 20);
  EXPECT_TRUE(Accepts(*grammar, "\"" + std::string(4000, 'a') + "\""));
  EXPECT_FALSE(Accepts(*grammar, "\"" + std::string(3999, 'a') + "\""));
}

TEST_F(SlotMatcherTest, AnswersAreValidAndEveryValidTextIsAnAnswer) {
  const Cutter cutter(*tokenizer_);
  int accepted = 0, refused = 0;
  for (uint32_t seed = 0; seed < 300; ++seed) {
    Maker maker(seed);
    const Json schema = maker.Schema(3);
    SCOPED_TRACE(testing::Message() << seed << " " << schema.dump());
    const auto grammar = CompileSchema(schema.dump());
    ASSERT_NE(grammar, nullptr);
    for (uint32_t walk = 0; walk < 4; ++walk) {
      const std::string text = Walk(*grammar, seed * 100 + walk);
      const Json value = Json::parse(text, nullptr, false);
      EXPECT_TRUE(!value.is_discarded() && IsValid(schema, value, schema)) << text;
    }
    const bool literal =
        schema.dump().find("enum") != std::string::npos || schema.dump().find("pattern") != std::string::npos;
    for (int i = 0; i < 12; ++i) {
      const Json value = maker.Value(schema);
      const std::string text = value.dump(-1, ' ', /*ensure_ascii=*/!literal && maker.Below(2) == 0);
      const bool valid = IsValid(schema, value, schema);
      (valid ? accepted : refused) += 1;
      EXPECT_EQ(AcceptsTokens(*grammar, cutter.Cut(text, &maker)), valid) << text;
    }
    if (HasFailure()) break;
  }
  EXPECT_GT(accepted, 1000);
  EXPECT_GT(refused, 100);
}

TEST_F(SlotMatcherTest, TextsOfAFormatKeepToTheirLengthAndAreNeverCut) {
  const std::pair<const char*, std::regex> formats[] = {
      {"uri", std::regex(R"([a-z][a-z0-9+.-]*://[a-zA-Z0-9.-]*[a-zA-Z0-9](:[0-9]{1,4})?([/?]([^"%]|%[0-9A-F]{2})*)?)")},
      {"email", std::regex(R"([a-zA-Z0-9_.+-]+@[a-zA-Z0-9-]+(\.[a-zA-Z0-9-]+)+)")},
      {"hostname", std::regex(R"([a-zA-Z0-9-]+(\.[a-zA-Z0-9-]+)*)")}};
  for (const auto& [format, regex] : formats) {
    size_t longest = 0;
    for (uint32_t seed = 0; seed < 60; ++seed) {
      const size_t min = seed % 3 == 0 ? 12 : 1, max = min + 10 + seed % 13;
      const auto grammar = CompileSchema(absl::StrCat(R"({"type": "string", "format": ")", format,
                                                      R"(", "minLength": )", min, R"(, "maxLength": )", max, "}"));
      const std::string text = Walk(*grammar, seed);
      const Json value = Json::parse(text, nullptr, false);
      ASSERT_TRUE(value.is_string()) << format << " " << max << ": " << text;
      const std::string string = value;
      EXPECT_TRUE(std::regex_match(string, regex)) << string;
      EXPECT_TRUE(string.size() >= min && string.size() <= max) << max << ": " << string;
      longest = std::max(longest, string.size() + 22 - max);
    }
    EXPECT_GE(longest, 22u) << format << ": no walk came to the limit";
  }
}

TEST_F(SlotMatcherTest, EveryTextOfAFormatIsAnAnswerUpToItsLength) {
  const auto url = CompileSchema(R"({"type": "string", "format": "uri", "minLength": 1, "maxLength": 20})");
  for (const char* text : {R"("http://a.b/c%20d-20")", R"("http://a.b/c%20d.20%")", R"("http://a.b/cd-20-20-2%41")",
                           R"("http://a.b/c?d=e")", R"("a://b")"}) {
    const bool valid = std::string_view(text).size() <= 22 && std::string_view(text).find("%\"") == std::string::npos;
    std::vector<int32_t> bytes;
    for (const char* at = text; *at != '\0'; ++at) {
      int32_t token = 0;
      while (tokenizer_->TokenBytes(token) != std::string_view(at, 1)) ++token;
      bytes.push_back(token);
    }
    EXPECT_EQ(AcceptsTokens(*url, bytes), valid) << text;
  }
  const auto fractions = CompileSchema(R"({"enum": [0.1, -12.000001, 7, "a"]})");
  for (const char* text : {"0.1", "-12.000001", "7", R"("a")"}) EXPECT_TRUE(Accepts(*fractions, text)) << text;
  for (const char* text : {"0.2", "0.11", "-12.000002", "12.000001", "7.5", "0", "0.10000001"}) {
    EXPECT_FALSE(Accepts(*fractions, text)) << text;
  }
  const auto tuple =
      CompileSchema(R"({"type": "array", "items": [{"type": "integer"}, {"type": "string", "nullable": true}],
      "additionalItems": false, "minItems": 2})");
  for (const char* text : {R"([1, "a"])", "[1, null]"}) EXPECT_TRUE(Accepts(*tuple, text)) << text;
  for (const char* text : {R"(["a", 1])", R"([1, "a", 2])", "[1]", "[null, null]"}) {
    EXPECT_FALSE(Accepts(*tuple, text)) << text;
  }
}

// A call as V3.2 writes it, its strings as text.
std::string Dsml(const Json& arguments) {
  std::string text = "<｜DSML｜function_calls>\n<｜DSML｜invoke name=\"f\">\n";
  bool first = true;
  for (const auto& [name, value] : arguments.items()) {
    text += (first ? "" : "\n") + ("<｜DSML｜parameter name=\"" + name + "\" string=\"") +
            (value.is_string() ? "true" : "false") + "\">" +
            (value.is_string() ? value.get<std::string>() : value.dump()) + "</｜DSML｜parameter>";
    first = false;
  }
  return text + "\n</｜DSML｜invoke>\n</｜DSML｜function_calls>";
}

// The other way round.
Json ArgumentsOf(std::string_view text) {
  Json arguments = Json::object();
  constexpr std::string_view kBegin = "<｜DSML｜parameter name=\"", kEndOfText = "</｜DSML｜parameter>";
  for (size_t at = text.find(kBegin); at != std::string_view::npos; at = text.find(kBegin, at)) {
    at += kBegin.size();
    const std::string name(text.substr(at, text.find('"', at) - at));
    const size_t begin = text.find('>', at) + 1, end = text.find(kEndOfText, begin);
    const std::string value(text.substr(begin, end - begin));
    const bool is_string = text.substr(at, begin - at).ends_with("\"true\">");
    arguments[name] = is_string ? Json(value) : Json::parse(value, nullptr, false);
    at = end;
  }
  return arguments;
}

TEST_F(SlotMatcherTest, StringsOfCallsThatAreTextAreCountedToo) {
  const Cutter cutter(*tokenizer_);
  SchemaLimits limits;
  limits.string_lengths = SchemaLimits::Lengths::kDsml;
  int accepted = 0, refused = 0;
  for (uint32_t seed = 0; seed < 80; ++seed) {
    Maker maker(seed);
    Json properties = Json::object();
    for (const char* name : {"a", "b", "c"}) {
      const int min = maker.Below(25), kind = maker.Below(4);
      const Json string = {{"type", "string"}, {"minLength", min}, {"maxLength", min + maker.Below(4)}};
      properties[name] = kind == 0   ? Json{{"anyOf", {string, {{"type", "null"}}}}}
                         : kind == 1 ? Json{{"type", "array"}, {"items", string}, {"maxItems", 2}}
                                     : string;
    }
    const Json schema = {
        {"type", "object"}, {"properties", properties}, {"required", {"a", "b", "c"}}, {"additionalProperties", false}};
    SCOPED_TRACE(testing::Message() << seed << " " << schema.dump());
    const auto prepared = PrepareSchema(schema.dump(), SchemaDialect::kGeneral, limits);
    ASSERT_TRUE(prepared.ok()) << prepared.status();
    const auto grammar = Compile(ToolSpec(*tokenizer_, chat::ToolSyntax::kDsmlV32, {{"f", *prepared}}, ToolUse::kMust,
                                          /*several=*/false, Reasoning::kNone));
    for (uint32_t walk = 0; walk < 3; ++walk) {
      const std::string text = Walk(*grammar, seed * 100 + walk);
      EXPECT_TRUE(IsValid(schema, ArgumentsOf(text), schema)) << text;
    }
    for (int i = 0; i < 12; ++i) {
      Json value = Json::object();
      for (const auto& [name, part] : properties.items()) {
        value[name] = maker.Value(part);
        // Nearly the end of the text.
        if (value[name].is_string() && maker.Below(3) == 0)
          value[name] = "</｜DSML｜paramete<" + value[name].get<std::string>();
      }
      const bool valid = IsValid(schema, value, schema);
      (valid ? accepted : refused) += 1;
      EXPECT_EQ(AcceptsTokens(*grammar, cutter.Cut(Dsml(value), &maker)), valid) << Dsml(value);
    }
    if (HasFailure()) break;
  }
  EXPECT_GT(accepted, 150);
  EXPECT_GT(refused, 150);
}

}  // namespace
}  // namespace hadal::grammar
