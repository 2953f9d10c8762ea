// SPDX-License-Identifier: Apache-2.0
#include "server/http/codec/foreign_fields.h"

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "server/http/codec/chat_codec.h"
#include "server/http/codec/completion_codec.h"
#include "tests/support/status_matchers.h"

namespace hadal::http {
namespace {

using request::Reason;
using Kind = service::ResponseFormat::Kind;

absl::StatusOr<service::ResponseFormat> Chat(const std::string& fields) {
  const absl::StatusOr<ChatBody> body = DecodeChat(
      absl::StrCat(R"({"messages":[{"role":"user","content":"x"}],)", fields, "}"), 64, /*allow_prompt=*/false);
  if (!body.ok()) return body.status();
  return body->call.options.response_format;
}

TEST(ForeignFieldsTest, JsonConstraintsBecomeAResponseFormat) {
  for (const char* fields :
       {R"("guided_json":{"type":"object"})", R"("guided_json":"{\"type\":\"object\"}")",
        R"("structured_outputs":{"json":{"type":"object"},"regex":null})", R"("json_schema":{"type":"object"})"}) {
    const absl::StatusOr<service::ResponseFormat> format = Chat(fields);
    ASSERT_TRUE(format.ok()) << format.status();
    EXPECT_EQ(format->kind, Kind::kJsonSchema) << fields;
    EXPECT_EQ(format->schema_json, R"({"type":"object"})");
  }
  EXPECT_EQ(Chat(R"("structured_outputs":{"json_object":true})")->kind, Kind::kJsonObject);
  EXPECT_EQ(Chat(R"("nvext":{"guided_json":{"type":"object"},"top_k":5})")->field, "nvext.guided_json");
}

TEST(ForeignFieldsTest, AnEmptySchemaAsksForAnyJson) {
  for (const char* fields :
       {R"("guided_json":{})", R"("json_schema":{})", R"("structured_outputs":{"json":{}})", R"("guided_json":"{}")"}) {
    const absl::StatusOr<service::ResponseFormat> format = Chat(fields);
    ASSERT_TRUE(format.ok()) << format.status();
    EXPECT_EQ(format->kind, Kind::kJsonSchema) << fields;
    EXPECT_EQ(format->schema_json, "{}");
  }
}

TEST(ForeignFieldsTest, ASchemaDirectlyInAResponseFormatCounts) {
  for (const char* fields :
       {R"("response_format":{"type":"json_object","schema":{"type":"object"}})",
        R"("response_format":{"schema":"{\"type\":\"object\"}","type":"json_object"})",
        R"("response_format":{"type":"json_schema","schema":{"type":"object"}})",
        R"("response_format":{"type":"json_object","json_schema":{"schema":{"type":"object"}}})"}) {
    const absl::StatusOr<service::ResponseFormat> format = Chat(fields);
    ASSERT_TRUE(format.ok()) << format.status();
    EXPECT_EQ(format->kind, Kind::kJsonSchema) << fields;
    EXPECT_EQ(format->schema_json, R"({"type":"object"})");
  }
  EXPECT_EQ(Chat(R"("response_format":{"type":"json_object","schema":{}})")->kind, Kind::kJsonObject);
  EXPECT_REASON(Chat(R"("response_format":{"type":"json_object","schema":5})").status(), Reason::kOutOfRange);
  // No constraint of its own, and none taken from another field.
  const auto format = Chat(R"("guided_json":{"type":"object"},"response_format":{"type":"text","schema":{"a":1}})");
  ASSERT_TRUE(format.ok()) << format.status();
  EXPECT_EQ(format->schema_json, R"({"type":"object"})");
}

TEST(ForeignFieldsTest, RegularExpressionsAndChoicesToo) {
  for (const char* name : {"guided_regex", "regex", "structured_outputs.regex"}) {
    const bool inside = std::string_view(name).starts_with("structured");
    const auto format = Chat(inside ? R"("structured_outputs":{"regex":"a+"})" : absl::StrCat("\"", name, R"(":"a+")"));
    ASSERT_TRUE(format.ok()) << format.status();
    EXPECT_EQ(format->kind, Kind::kRegex);
    EXPECT_EQ(format->regex, "a+");
    EXPECT_EQ(format->field, name);
  }
  for (const char* fields : {R"("guided_choice":["a","b"])", R"("structured_outputs":{"choice":["a","b"]})"}) {
    const auto format = Chat(fields);
    ASSERT_TRUE(format.ok()) << format.status();
    EXPECT_EQ(format->kind, Kind::kChoice);
    EXPECT_EQ(format->choices, (std::vector<std::string>{"a", "b"}));
  }
  for (const char* fields : {R"("guided_regex":["a"])", R"("guided_choice":"a")", R"("guided_choice":["a",1])"}) {
    EXPECT_REASON(Chat(fields).status(), Reason::kOutOfRange) << fields;
  }
  for (const char* fields : {R"("guided_choice":["a"],"guided_regex":"a")",
                             R"("structured_outputs":{"choice":["a"],"json":{"type":"object"}})"}) {
    EXPECT_REASON(Chat(fields).status(), Reason::kInvalidRequest) << fields;
  }
}

TEST(ForeignFieldsTest, WhatHasNoEqualIsRefusedByName) {
  for (const char* name : {"guided_grammar", "grammar", "ebnf", "structural_tag", "bad_words", "bad_words_ids",
                           "allowed_token_ids", "logits_processors", "custom_logit_processor", "banned_tokens",
                           "banned_strings", "custom_token_bans", "stop_regex", "regex_pattern", "grammar_string",
                           "chat_template", "truncate_prompt_tokens", "functions", "function_call"}) {
    for (const char* value : {R"("a+")", R"(["a"])", R"({"a":1})"}) {
      const absl::Status status = Chat(absl::StrCat("\"", name, "\":", value)).status();
      EXPECT_REASON(status, Reason::kInvalidRequest);
      EXPECT_EQ(request::GetErrorDetail(status).param, name);
    }
    const absl::Status completion =
        DecodeCompletion(absl::StrCat(R"({"prompt":"x",")", name, R"(":["a"]})"), 64).status();
    EXPECT_REASON(completion, Reason::kInvalidRequest);
  }
  for (const char* kind : {"grammar", "structural_tag"}) {
    const absl::Status status = Chat(absl::StrCat(R"("structured_outputs":{")", kind, R"(":["a"]})")).status();
    EXPECT_REASON(status, Reason::kInvalidRequest);
    EXPECT_EQ(request::GetErrorDetail(status).param, absl::StrCat("structured_outputs.", kind));
  }
  for (const char* fields :
       {R"("structured_outputs":{"jsn":{"type":"object"}})", R"("structured_outputs":{"choices":["a"]})",
        R"("nvext":{"guided_grammar":"root ::= x"})"}) {
    EXPECT_REASON(Chat(fields).status(), Reason::kInvalidRequest) << fields;
  }
  for (const char* fields : {R"("use_beam_search":true)", R"("include_stop_str_in_output":true)",
                             R"("prompt_logprobs":0)", R"("truncate_prompt_tokens":5)"}) {
    EXPECT_REASON(Chat(fields).status(), Reason::kInvalidRequest) << fields;
  }
  EXPECT_REASON(Chat(R"("guided_json":{"type":"object"},"response_format":{"type":"json_object"})").status(),
                Reason::kInvalidRequest);
}

TEST(ForeignFieldsTest, EmptyOnesAndUnknownFieldsAreNothing) {
  for (const char* fields :
       {R"("guided_regex":"","guided_choice":[],"guided_json":"","bad_words":[],"functions":[],"grammar":null)",
        R"("function_call":"auto","use_beam_search":false,"structured_outputs":{})",
        R"("include_stop_str_in_output":false,"prompt_logprobs":null,"truncate_prompt_tokens":-1,"chat_template":"")",
        R"("structured_outputs":{"disable_any_whitespace":true,"backend":"xgrammar"},"nvext":{"annotations":["x"]})",
        R"("guided_decoding_backend":"xgrammar","ignored":{"regex":"a+"})"}) {
    const absl::StatusOr<service::ResponseFormat> format = Chat(fields);
    ASSERT_TRUE(format.ok()) << format.status();
    EXPECT_EQ(format->kind, Kind::kText);
  }
}

}  // namespace
}  // namespace hadal::http
