// SPDX-License-Identifier: Apache-2.0
#include "server/service/calls.h"

#include <cmath>
#include <functional>

#include "base/utf8.h"
#include "gtest/gtest.h"
#include "server/request/refusal.h"
#include "server/service/limits.h"
#include "tests/support/status_matchers.h"

namespace hadal::service {
namespace {

using request::Reason;

chat::ChatMessage Message(std::string role, std::string content) {
  chat::ChatMessage message;
  message.role = std::move(role);
  message.content = std::move(content);
  return message;
}

ChatCall GoodChat() {
  ChatCall call;
  call.messages = {Message("system", "be brief"), Message("user", "17 + 25")};
  return call;
}

TEST(CallsTest, AcceptsEveryLimitItself) {
  ChatCall call = GoodChat();
  CallOptions& options = call.options;
  options.n = kMaxChoices;
  options.top_logprobs = kMaxTopLogprobs;
  options.sampling.temperature = 2.0f;
  options.sampling.top_p = 1.0f;
  options.sampling.top_k = -1;
  options.sampling.min_p = 1.0f;
  options.sampling.repetition_penalty = 10.0f;
  options.sampling.frequency_penalty = -2.0f;
  options.sampling.presence_penalty = 2.0f;
  options.sampling.logit_bias.assign(kMaxLogitBias, {1, -100.0f});
  options.stopping.stop.assign(kMaxStopStrings, std::string(kMaxStopStringBytes, 'x'));
  options.stopping.stop_token_ids.assign(kMaxStopTokenIds, 3);
  options.user.assign(kMaxUserBytes, 'u');
  call.messages.assign(kMaxMessages, Message("user", "x"));
  EXPECT_OK(Validate(call));
}

struct BadOption {
  std::string param;
  Reason reason;
  std::function<void(CallOptions&)> set;
};

TEST(CallsTest, RefusesEachValueOutsideItsRange) {
  const std::vector<BadOption> cases = {
      {"n", Reason::kOutOfRange, [](CallOptions& o) { o.n = 0; }},
      {"n", Reason::kOutOfRange, [](CallOptions& o) { o.n = kMaxChoices + 1; }},
      {"top_logprobs", Reason::kOutOfRange, [](CallOptions& o) { o.top_logprobs = -1; }},
      {"top_logprobs", Reason::kOutOfRange, [](CallOptions& o) { o.top_logprobs = 21; }},
      {"temperature", Reason::kOutOfRange, [](CallOptions& o) { o.sampling.temperature = -0.01f; }},
      {"temperature", Reason::kOutOfRange, [](CallOptions& o) { o.sampling.temperature = 2.01f; }},
      {"temperature", Reason::kOutOfRange, [](CallOptions& o) { o.sampling.temperature = NAN; }},
      {"top_p", Reason::kOutOfRange, [](CallOptions& o) { o.sampling.top_p = -0.1f; }},
      {"top_p", Reason::kOutOfRange, [](CallOptions& o) { o.sampling.top_p = 1.5f; }},
      {"top_k", Reason::kOutOfRange, [](CallOptions& o) { o.sampling.top_k = -2; }},
      {"min_p", Reason::kOutOfRange, [](CallOptions& o) { o.sampling.min_p = 1.1f; }},
      {"repetition_penalty", Reason::kOutOfRange, [](CallOptions& o) { o.sampling.repetition_penalty = 0.0f; }},
      {"repetition_penalty", Reason::kOutOfRange, [](CallOptions& o) { o.sampling.repetition_penalty = INFINITY; }},
      {"frequency_penalty", Reason::kOutOfRange, [](CallOptions& o) { o.sampling.frequency_penalty = 2.5f; }},
      {"presence_penalty", Reason::kOutOfRange, [](CallOptions& o) { o.sampling.presence_penalty = -3.0f; }},
      {"logit_bias", Reason::kOutOfRange,
       [](CallOptions& o) {
         o.sampling.logit_bias = {{1, 101.0f}};
       }},
      {"logit_bias", Reason::kInvalidRequest,
       [](CallOptions& o) {
         o.sampling.logit_bias.assign(kMaxLogitBias + 1, {1, 0});
       }},
      {"max_tokens", Reason::kOutOfRange, [](CallOptions& o) { o.stopping.max_tokens = -1; }},
      {"min_tokens", Reason::kOutOfRange, [](CallOptions& o) { o.stopping.min_tokens = -1; }},
      {"min_tokens", Reason::kOutOfRange,
       [](CallOptions& o) {
         o.stopping.max_tokens = 4;
         o.stopping.min_tokens = 5;
       }},
      {"stop", Reason::kInvalidRequest, [](CallOptions& o) { o.stopping.stop.assign(kMaxStopStrings + 1, "x"); }},
      {"stop", Reason::kInvalidRequest, [](CallOptions& o) { o.stopping.stop = {""}; }},
      {"stop", Reason::kInvalidRequest,
       [](CallOptions& o) { o.stopping.stop = {std::string(kMaxStopStringBytes + 1, 'x')}; }},
      {"stop_token_ids", Reason::kInvalidRequest,
       [](CallOptions& o) { o.stopping.stop_token_ids.assign(kMaxStopTokenIds + 1, 1); }},
      {"user", Reason::kInvalidRequest, [](CallOptions& o) { o.user.assign(kMaxUserBytes + 1, 'u'); }},
      {"cache_salt", Reason::kInvalidRequest, [](CallOptions& o) { o.cache_salt.assign(kMaxUserBytes + 1, 's'); }},
      {"model", Reason::kInvalidRequest, [](CallOptions& o) { o.model.assign(kMaxModelNameBytes + 1, 'm'); }},
  };
  for (const BadOption& bad : cases) {
    ChatCall call = GoodChat();
    bad.set(call.options);
    const absl::Status status = Validate(call);
    EXPECT_REASON(status, bad.reason) << bad.param;
    EXPECT_EQ(request::GetErrorDetail(status).param, bad.param) << status;
  }
}

TEST(CallsTest, RefusesMessagesThatNoTemplateCanRender) {
  ChatCall empty = GoodChat();
  empty.messages.clear();
  EXPECT_REASON(Validate(empty), Reason::kInvalidRequest);

  ChatCall many = GoodChat();
  many.messages.assign(kMaxMessages + 1, Message("user", "x"));
  EXPECT_REASON(Validate(many), Reason::kInvalidRequest);

  ChatCall role = GoodChat();
  role.messages.push_back(Message("robot", "x"));
  EXPECT_EQ(request::GetErrorDetail(Validate(role)).param, "messages[2].role");

  ChatCall prefix = GoodChat();
  prefix.messages[1].prefix = true;
  EXPECT_REASON(Validate(prefix), Reason::kInvalidRequest);
  prefix.messages[1] = Message("user", "x");
  prefix.messages.push_back(Message("assistant", "The answer"));
  prefix.messages[2].prefix = true;
  EXPECT_OK(Validate(prefix));
}

TEST(CallsTest, MessagesCutWhatTheClientWroteBetweenCharacters) {
  ChatCall call = GoodChat();
  call.messages[1].role = std::string(63, 'x') + "\u00e9";
  const absl::Status status = Validate(call);
  const std::string message(status.message());
  EXPECT_EQ(base::FindInvalidUtf8(message), std::string::npos) << message;
  EXPECT_NE(message.find("\"" + std::string(63, 'x') + "\";"), std::string::npos) << message;
}

TEST(CallsTest, EveryToolCallIsAnsweredOnceBeforeTheConversationGoesOn) {
  ChatCall call = GoodChat();
  call.messages.push_back(Message("assistant", ""));
  call.messages.back().tool_calls = {{"call_1", "add", "{}"}, {"call_2", "add", "{}"}};
  ChatCall unanswered = call;
  unanswered.messages.push_back(Message("user", "and?"));
  EXPECT_REASON(Validate(unanswered), Reason::kInvalidRequest);

  for (const char* id : {"call_2", "call_1"}) {
    call.messages.push_back(Message("tool", "42"));
    call.messages.back().tool_call_id = id;
  }
  EXPECT_OK(Validate(call));
  call.messages.push_back(Message("tool", "42"));
  call.messages.back().tool_call_id = "call_1";
  EXPECT_REASON(Validate(call), Reason::kInvalidRequest);
}

TEST(CallsTest, NamesWhatIsWrongWithToolMessages) {
  const auto param = [](const std::function<void(ChatCall&)>& change) {
    ChatCall call = GoodChat();
    call.messages.push_back(Message("assistant", ""));
    call.messages.back().tool_calls = {{"call_1", "add", "{}"}};
    call.messages.push_back(Message("tool", "42"));
    call.messages.back().tool_call_id = "call_1";
    change(call);
    const absl::Status status = Validate(call);
    EXPECT_REASON(status, Reason::kInvalidRequest);
    return request::GetErrorDetail(status).param;
  };
  EXPECT_EQ(param([](ChatCall& c) { c.messages[2].tool_calls[0].id.clear(); }), "messages[2].tool_calls[0].id");
  EXPECT_EQ(param([](ChatCall& c) { c.messages[2].tool_calls[0].name.clear(); }),
            "messages[2].tool_calls[0].function.name");
  EXPECT_EQ(param([](ChatCall& c) {
              c.messages[2].tool_calls.push_back({"call_1", "f", "{}"});
            }),
            "messages[2].tool_calls[1].id");
  EXPECT_EQ(param([](ChatCall& c) { c.messages[3].tool_call_id.clear(); }), "messages[3].tool_call_id");
  EXPECT_EQ(param([](ChatCall& c) { c.messages[3].tool_call_id = "call_2"; }), "messages[3].tool_call_id");
  EXPECT_EQ(param([](ChatCall& c) { c.messages.pop_back(); }), "messages");
  EXPECT_EQ(param([](ChatCall& c) { c.messages[3] = Message("user", "x"); }), "messages[3]");
  EXPECT_EQ(param([](ChatCall& c) { c.messages[0].tool_calls = {{"call_1", "f", "{}"}}; }), "messages[0].tool_calls");
  EXPECT_EQ(param([](ChatCall& c) {
              c.messages.pop_back();
              c.messages.back().prefix = true;
            }),
            "messages[2].tool_calls");
  EXPECT_EQ(param([](ChatCall& c) {
              c.messages[2].tool_calls.assign(kMaxToolCallsPerMessage + 1, {"x", "f", "{}"});
            }),
            "messages[2].tool_calls");
}

TEST(CallsTest, KnowsTheNamesOfReasoningEfforts) {
  using chat::ReasoningEffort;
  const auto effort = [](std::string_view name) {
    ChatCall call;
    EXPECT_OK(SetReasoningEffort(name, &call)) << name;
    EXPECT_EQ(call.thinking.has_value(), name == "none");
    return call.reasoning_effort;
  };
  for (const char* name : {"minimal", "low"}) EXPECT_EQ(effort(name), ReasoningEffort::kLow);
  for (const char* name : {"medium", "high"}) EXPECT_EQ(effort(name), ReasoningEffort::kHigh);
  for (const char* name : {"xhigh", "max", "ultra"}) EXPECT_EQ(effort(name), ReasoningEffort::kMax);
  EXPECT_EQ(effort("none"), ReasoningEffort::kDefault);
  ChatCall call;
  const absl::Status status = SetReasoningEffort("extreme", &call);
  EXPECT_REASON(status, Reason::kOutOfRange);
  EXPECT_EQ(request::GetErrorDetail(status).param, "reasoning_effort");
}

TEST(CallsTest, RefusesToolNamesThatTheSyntaxCannotHold) {
  for (const std::string& name : {std::string(), std::string("a b"), std::string("a\n"), std::string(65, 'x')}) {
    ChatCall call = GoodChat();
    call.tools = {{name, "", ""}};
    EXPECT_REASON(Validate(call), Reason::kInvalidRequest) << name;
  }
}

TEST(CallsTest, FillInTheMiddleNeedsText) {
  GenerateCall call;
  call.prompt = std::vector<int32_t>{1, 2};
  EXPECT_OK(Validate(call));
  call.suffix = "x";
  EXPECT_REASON(Validate(call), Reason::kInvalidRequest);
  call.prompt = std::vector<int32_t>{};
  call.suffix.reset();
  EXPECT_REASON(Validate(call), Reason::kInvalidRequest);
}

}  // namespace
}  // namespace hadal::service
