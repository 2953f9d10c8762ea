// SPDX-License-Identifier: Apache-2.0
#include "server/service/call_grammar.h"

#include <gmock/gmock.h>

#include "gtest/gtest.h"
#include "server/request/refusal.h"
#include "tests/support/service_fixture.h"
#include "tests/support/status_matchers.h"

namespace hadal::service {
namespace {

using hadal::testing::ServiceFixture;
using request::Reason;
using ::testing::HasSubstr;

constexpr char kOpenSchema[] = R"({"type":"object","properties":{"a":{"type":"string"}}})";
constexpr char kStrictSchema[] =
    R"({"type":"object","properties":{"a":{"type":"string"}},"required":["a"],"additionalProperties":false})";

class CallGrammarTest : public ::testing::Test {
 protected:
  CallGrammarTest() : fixture(ServiceFixture::Says("x")), model(fixture.models.Find("")->model) {
    chat::ChatMessage message;
    message.role = "user";
    message.content = "hi";
    call.messages = {message};
  }

  absl::StatusOr<std::optional<CallGrammar>> Get(TextBegin begin = {}) { return GrammarOf(call, *model, begin, {}); }
  void ExpectRefused(const std::string& param, const std::string& about) {
    const auto got = Get();
    ASSERT_FALSE(got.ok());
    EXPECT_EQ(request::GetErrorDetail(got.status()).reason, Reason::kInvalidRequest);
    EXPECT_EQ(request::GetErrorDetail(got.status()).param, param);
    EXPECT_THAT(std::string(got.status().message()), HasSubstr(about));
  }
  void AddTool(const std::string& name, const std::string& schema, bool strict) {
    chat::ChatTool tool;
    tool.name = name;
    tool.parameters_json = schema;
    call.tools.push_back(tool);
    call.strict_tools.push_back(strict);
  }

  ServiceFixture fixture;
  std::shared_ptr<const ServedModel> model;
  ChatCall call;
};

TEST_F(CallGrammarTest, TextAndFreeToolsAreNotConstrained) {
  EXPECT_FALSE((*Get()).has_value());
  AddTool("f", R"({"type":"object","patternProperties":{"^x":{"type":"integer"}}})", false);
  EXPECT_FALSE((*Get()).has_value());
}

TEST_F(CallGrammarTest, TheReasoningComesFirst) {
  call.options.response_format.kind = ResponseFormat::Kind::kJsonObject;
  EXPECT_EQ((*Get())->spec.reasoning, grammar::Reasoning::kNone);
  EXPECT_EQ((*Get({.in_reasoning = true, .may_open_reasoning = true}))->spec.reasoning, grammar::Reasoning::kOpen);
  EXPECT_EQ((*Get({.may_open_reasoning = true}))->spec.reasoning, grammar::Reasoning::kMayOpen);
}

TEST_F(CallGrammarTest, ABadSchemaIsNamedByFieldAndPlace) {
  call.options.response_format = {ResponseFormat::Kind::kJsonSchema,
                                  R"({"type":"object","properties":{"age":{"type":"number","multipleOf":0.1}}})"};
  ExpectRefused(
      "response_format.json_schema.schema",
      "`response_format.json_schema.schema` at #/properties/age/multipleOf: is supported for the type integer only");
}

TEST_F(CallGrammarTest, StrictToolsAreCheckedByTheirOwnRules) {
  AddTool("f", kStrictSchema, true);
  AddTool("g", R"({"anything":1})", false);
  ASSERT_OK(Get());
  EXPECT_THAT((*Get())->spec.format, HasSubstr("token_dispatch"));
  AddTool("h", kOpenSchema, true);
  ExpectRefused("tools[2].function.parameters", "#/additionalProperties: must be false in strict tools");
}

TEST_F(CallGrammarTest, AForcedCallFollowsTheSchemaOfItsTool) {
  constexpr char kToolG[] = R"("value":"g\n)";
  AddTool("f", kOpenSchema, false);
  AddTool("g", R"({"type":"object","patternProperties":{"^x":{"type":"integer"}}})", false);
  call.tool_choice = ToolChoice::kNamed;
  call.tool_name = "f";
  ASSERT_OK(Get());
  EXPECT_THAT((*Get())->spec.format, ::testing::Not(HasSubstr(kToolG)));
  EXPECT_FALSE((*Get())->partial);
  // What cannot be followed is left open: only strict tools and response_format refuse it.
  call.tool_choice = ToolChoice::kRequired;
  ASSERT_OK(Get());
  EXPECT_THAT((*Get())->spec.format, HasSubstr(kToolG));
  EXPECT_TRUE((*Get())->partial);
  AddTool("h", "{", false);
  ExpectRefused("tools[2].function.parameters", "not valid JSON");
}

TEST_F(CallGrammarTest, AFormatBesideToolsLeavesTheChoice) {
  constexpr char kCall[] = R"("value":"f\n)", kAnswer[] = R"("enum":["answer"])";
  AddTool("f", kOpenSchema, false);
  call.options.response_format = {ResponseFormat::Kind::kJsonSchema, R"({"const":"answer"})"};
  for (const bool strict : {false, true}) {
    call.tools[0].parameters_json = strict ? kStrictSchema : kOpenSchema;
    call.strict_tools[0] = strict;
    ASSERT_OK(Get());
    EXPECT_EQ((*Get())->param, "response_format.json_schema.schema");
    EXPECT_THAT((*Get())->spec.format, HasSubstr(kCall));
    EXPECT_THAT((*Get())->spec.format, HasSubstr(kAnswer));
  }
  call.tool_choice = ToolChoice::kRequired;
  EXPECT_THAT((*Get())->spec.format, HasSubstr(kCall));
  EXPECT_THAT((*Get())->spec.format, ::testing::Not(HasSubstr(kAnswer)));
  call.options.response_format.schema_json = R"({"not":{}})";
  ExpectRefused("response_format.json_schema.schema", "#/not");
}

TEST_F(CallGrammarTest, RefusesWhatCannotGoTogether) {
  call.tool_choice = ToolChoice::kRequired;
  ExpectRefused("tool_choice", "there are no `tools`");
  AddTool("f", kStrictSchema, true);
  call.tool_choice = ToolChoice::kNamed;
  call.tool_name = "other";
  ExpectRefused("tool_choice", "names \"other\"");
  call.tool_choice = ToolChoice::kAuto;
  call.options.response_format.kind = ResponseFormat::Kind::kJsonObject;
  call.tools.clear();
  call.strict_tools.clear();
  call.messages.back().role = "assistant";
  call.messages.back().prefix = true;
  ExpectRefused("response_format", "continues a `prefix` message");
  GenerateCall completion;
  completion.prompt = "a";
  completion.suffix = "b";
  completion.options.response_format.kind = ResponseFormat::Kind::kJsonObject;
  EXPECT_REASON(GrammarOf(completion, *model, {}), Reason::kInvalidRequest);
}

admission::Ticket TicketOf(ServiceFixture& fixture) {
  admission::AdmissionRequest arrival;
  arrival.body_bytes = 100;
  return *fixture.service->Admit(arrival);
}

TEST_F(CallGrammarTest, TheRequestCarriesTheGrammar) {
  std::shared_ptr<const models::TokenGrammar> seen;
  ServiceFixture capturing([&](const request::Request& request) {
    seen = request.grammar;
    hadal::testing::Script script;
    script.stop_token = 1;
    return script;
  });
  call.options.response_format.kind = ResponseFormat::Kind::kJsonObject;
  call.options.request_id = "r";
  auto active = capturing.service->StartChat(call, TicketOf(capturing));
  ASSERT_OK(active);
  while (!(*active)->ReadBlocking(absl::Seconds(5)).done) {
  }
  ASSERT_NE(seen, nullptr);
  EXPECT_NE(seen->Start(), nullptr);
}

TEST_F(CallGrammarTest, AModelWithoutAnEndTokenCannotFollowAGrammar) {
  auto served = std::make_shared<ServedModel>(*model);
  served->name = "endless";
  served->grammar_compiler = absl::FailedPreconditionError("the tokenizer names no end token");
  ASSERT_OK(fixture.models.Add(served));
  call.options.model = "endless";
  call.options.response_format.kind = ResponseFormat::Kind::kJsonObject;
  EXPECT_REASON(fixture.service->StartChat(call, TicketOf(fixture)), Reason::kUnsupported);
  EXPECT_TRUE(fixture.WaitEmpty());
}

}  // namespace
}  // namespace hadal::service
