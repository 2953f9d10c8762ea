// SPDX-License-Identifier: Apache-2.0
#include "server/http/codec/chat_codec.h"

#include "gtest/gtest.h"
#include "server/http/codec/completion_codec.h"
#include "tests/support/status_matchers.h"

namespace hadal::http {
namespace {

using request::Reason;

constexpr int kDepth = 64;
constexpr std::string_view kMessages = R"("messages":[{"role":"user","content":"x"}])";

absl::StatusOr<ChatBody> Decode(std::string_view fields) {
  return DecodeChat("{" + std::string(kMessages) + (fields.empty() ? "" : ",") + std::string(fields) + "}", kDepth,
                    false);
}

TEST(ChatCodecTest, ReadsEveryField) {
  const auto chat = Decode(
      R"("model":"m","stream":true,"stream_options":{"include_usage":true,"x":1},"max_tokens":5,"min_tokens":2,)"
      R"("temperature":0.5,"top_p":0.9,"top_k":40,"min_p":0.1,"repetition_penalty":1.1,"frequency_penalty":-1,)"
      R"("presence_penalty":1,"seed":-7,"logit_bias":{"5":1.5,"6":-100},"stop":["a","b"],"stop_token_ids":[1,2],)"
      R"("ignore_eos":true,"n":2,"user":"u","cache_salt":"s","service_tier":"flex","return_token_ids":true,)"
      R"("skip_special_tokens":false,"logprobs":true,"top_logprobs":3,"thinking":{"type":"disabled"},)"
      R"("tools":[{"type":"function","function":{"name":"f","description":"d","parameters":{"type":"object"}}}])");
  ASSERT_OK(chat);
  const service::CallOptions& options = chat->call.options;
  EXPECT_EQ(options.model, "m");
  EXPECT_TRUE(chat->response.stream);
  EXPECT_TRUE(chat->response.include_usage);
  EXPECT_TRUE(chat->response.return_token_ids);
  EXPECT_EQ(chat->response.service_tier, "flex");
  EXPECT_EQ(options.stopping.max_tokens, 5);
  EXPECT_EQ(options.stopping.min_tokens, 2);
  EXPECT_EQ(options.sampling.temperature, 0.5f);
  EXPECT_EQ(options.sampling.top_p, 0.9f);
  EXPECT_EQ(options.sampling.top_k, 40);
  EXPECT_EQ(options.sampling.min_p, 0.1f);
  EXPECT_EQ(options.sampling.repetition_penalty, 1.1f);
  EXPECT_EQ(options.sampling.frequency_penalty, -1.0f);
  EXPECT_EQ(options.sampling.presence_penalty, 1.0f);
  EXPECT_EQ(options.sampling.seed, static_cast<uint64_t>(-7));
  EXPECT_EQ(options.sampling.logit_bias.size(), 2u);
  EXPECT_EQ(options.stopping.stop, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(options.stopping.stop_token_ids, (std::vector<int32_t>{1, 2}));
  EXPECT_TRUE(options.stopping.ignore_eos);
  EXPECT_FALSE(options.skip_special_tokens);
  EXPECT_EQ(options.n, 2);
  EXPECT_EQ(options.user, "u");
  EXPECT_EQ(options.cache_salt, "s");
  EXPECT_EQ(options.top_logprobs, 3);
  EXPECT_EQ(chat->call.thinking, false);
  ASSERT_EQ(chat->call.tools.size(), 1u);
  EXPECT_EQ(chat->call.tools[0].parameters_json, R"({"type":"object"})");
  // The function as it was sent, for the generations that show it to the model unchanged.
  EXPECT_EQ(chat->call.tools[0].definition_json, R"({"name":"f","description":"d","parameters":{"type":"object"}})");
}

TEST(ChatCodecTest, ReadsDocuments) {
  EXPECT_EQ(Decode(R"("documents":[{"title": "A"}, {}])")->call.documents_json, R"([{"title":"A"},{}])");
  EXPECT_EQ(Decode(R"("documents":[])")->call.documents_json, "");
  EXPECT_EQ(Decode(R"("documents":null)")->call.documents_json, "");
  for (const char* bad : {R"("documents":{})", R"("documents":["text"])"}) {
    EXPECT_EQ(request::GetErrorDetail(Decode(bad).status()).param, "documents") << bad;
  }
}

TEST(ChatCodecTest, AlternativeSpellings) {
  EXPECT_EQ(Decode(R"("max_completion_tokens":9)")->call.options.stopping.max_tokens, 9);
  EXPECT_EQ(Decode(R"("max_tokens":16.0)")->call.options.stopping.max_tokens, 16);
  EXPECT_EQ(Decode(R"("stop":"x")")->call.options.stopping.stop, (std::vector<std::string>{"x"}));
  EXPECT_EQ(Decode(R"("user_id":"u")")->call.options.user, "u");
  EXPECT_EQ(Decode(R"("chat_template_kwargs":{"thinking":true})")->call.thinking, true);
  EXPECT_EQ(Decode(R"("reasoning_effort":"none")")->call.thinking, false);
  EXPECT_FALSE(Decode(R"("reasoning_effort":"high")")->call.thinking.has_value());
  EXPECT_EQ(Decode(R"("reasoning_effort":"max")")->call.reasoning_effort, chat::ReasoningEffort::kMax);
  EXPECT_EQ(Decode(R"("max_thinking_tokens":9)")->call.max_thinking_tokens, 9);
  EXPECT_EQ(Decode(R"("thinking":{"type":"enabled","budget_tokens":7})")->call.max_thinking_tokens, 7);
  EXPECT_EQ(Decode(R"("thinking":{"budget_tokens":7})")->call.max_thinking_tokens, 7);
  EXPECT_EQ(Decode(R"("logprobs":true)")->call.options.top_logprobs, 0);
  EXPECT_TRUE(Decode(R"("tools":[{"function":{"name":"f"}}],"tool_choice":"none")")->call.tools.empty());
  // Of a repeated field the last one counts.
  EXPECT_EQ(Decode(R"("n":2,"n":3)")->call.options.n, 3);
}

TEST(ChatCodecTest, EachWrongTypeNamesItsField) {
  for (const auto& [fields, param] : std::vector<std::pair<std::string, std::string>>{
           {R"("model":1)", "model"},
           {R"("stream":"yes")", "stream"},
           {R"("stream":true,"stream_options":1)", "stream_options"},
           {R"("max_tokens":"5")", "max_tokens"},
           {R"("max_tokens":1.5)", "max_tokens"},
           {R"("max_tokens":99999999999)", "max_tokens"},
           {R"("max_tokens":18446744073709551615)", "max_tokens"},
           {R"("max_tokens":0)", "max_tokens"},
           {R"("max_completion_tokens":0)", "max_completion_tokens"},
           {R"("temperature":"hot")", "temperature"},
           {R"("temperature":true)", "temperature"},
           {R"("seed":1.5)", "seed"},
           {R"("stop":5)", "stop"},
           {R"("stop":["a",5])", "stop[1]"},
           {R"("stop_token_ids":["a"])", "stop_token_ids[0]"},
           {R"("logit_bias":[])", "logit_bias"},
           {R"("logit_bias":{"1":"x"})", "logit_bias.1"},
           {R"("n":"1")", "n"},
           {R"("logprobs":2)", "logprobs"},
           {R"("thinking":true)", "thinking"},
           {R"("reasoning_effort":"extreme")", "reasoning_effort"},
           {R"("reasoning_effort":3)", "reasoning_effort"},
           {R"("messages":[{"role":"assistant","tool_calls":[{"id":"a"},{"id":5}]}])", "messages[0].tool_calls[1].id"},
           {R"("messages":[{"role":"assistant","tool_calls":[{"function":"f"}]}])",
            "messages[0].tool_calls[0].function"},
           {R"("messages":[{"role":"assistant","tool_calls":[{"function":{"arguments":[]}}]}])",
            "messages[0].tool_calls[0].function.arguments"},
           {R"("messages":[{"role":"tool","content":"x","tool_call_id":5}])", "messages[0].tool_call_id"},
           {R"("messages":[{"role":"assistant","content":"x","prefix":"yes"}])", "messages[0].prefix"},
           {R"("thinking":{"type":"maybe"})", "thinking.type"},
           {R"("thinking":{"budget_tokens":"7"})", "thinking.budget_tokens"},
           {R"("thinking":{"budget_tokens":-1})", "thinking.budget_tokens"},
           {R"("messages":[{"role":"user","content":[{"type":"text"},5]}])", "messages[0].content[1]"},
           {R"("modalities":"audio")", "modalities"},
           {R"("tool_choice":{"type":"allowed_tools","allowed_tools":{"mode":"any"}})",
            "tool_choice.allowed_tools.mode"},
           {R"("max_thinking_tokens":1.5)", "max_thinking_tokens"},
           {R"("tools":{})", "tools"},
           {R"("tool_choice":5)", "tool_choice"},
           {R"("tool_choice":"maybe")", "tool_choice"},
           {R"("response_format":"json")", "response_format"},
           {R"("response_format":{"type":"xml"})", "response_format.type"},
           {R"("return_token_ids":1)", "return_token_ids"},
       }) {
    const absl::Status status = Decode(fields).status();
    EXPECT_REASON(status, Reason::kOutOfRange) << fields;
    EXPECT_EQ(request::GetErrorDetail(status).param, param) << fields;
  }
}

TEST(ChatCodecTest, ReadsWhatConstrainsTheOutput) {
  using Kind = service::ResponseFormat::Kind;
  EXPECT_EQ(Decode(R"("response_format":{"type":"text"})")->call.options.response_format.kind, Kind::kText);
  EXPECT_EQ(Decode(R"("response_format":{"type":"json_object"})")->call.options.response_format.kind,
            Kind::kJsonObject);
  const auto schema = Decode(
      R"("response_format":{"type":"json_schema","json_schema":{"name":"n","strict":true,"schema":{"type":"object", "b":1, "a":2}}})");
  EXPECT_EQ(schema->call.options.response_format.kind, Kind::kJsonSchema);
  EXPECT_EQ(schema->call.options.response_format.schema_json, R"({"type":"object","b":1,"a":2})");
  EXPECT_EQ(Decode(R"("tool_choice":"auto")")->call.tool_choice, service::ToolChoice::kAuto);
  EXPECT_EQ(Decode(R"("tool_choice":"required")")->call.tool_choice, service::ToolChoice::kRequired);
  const auto named = Decode(R"("tool_choice":{"type":"function","function":{"name":"f"}},"parallel_tool_calls":false)");
  EXPECT_EQ(named->call.tool_choice, service::ToolChoice::kNamed);
  EXPECT_EQ(named->call.tool_name, "f");
  EXPECT_FALSE(named->call.parallel_tool_calls);
  const auto tools = Decode(R"("tools":[{"function":{"name":"f","strict":true}},{"function":{"name":"g"}}])");
  EXPECT_EQ(tools->call.strict_tools, (std::vector<bool>{true, false}));
}

// A message that only says what is allowed leaves the caller to find out which of its words was meant.
TEST(ChatCodecTest, ErrorsRepeatTheValue) {
  for (const auto& [fields, shown] : std::vector<std::pair<std::string, std::string>>{
           {R"("response_format":{"type":"xml"})", "`response_format.type` is \"xml\"; it must be \"text\""},
           {R"("thinking":{"type":"maybe"})", "`thinking.type` is \"maybe\""},
           {R"("tool_choice":"maybe")", "`tool_choice` is \"maybe\""},
           {R"("reasoning_effort":"extreme")", "`reasoning_effort` is \"extreme\""},
           {R"("logit_bias":{"a":1})", "`logit_bias` has the key \"a\""},
           {R"("tools":[{"type":"retrieval"}])", "`tools[0].type` is \"retrieval\""},
           {R"("max_tokens":9999999999)", "`max_tokens` is 9999999999"},
           {R"("max_completion_tokens":-4)", "`max_completion_tokens` is -4; it must be 1 or more"},
           {R"("modalities":["text","audio"])", "`modalities` asks for \"audio\""},
           {R"("n":NaN)", "line 1, column 49: `NaN` is no JSON value"},
       }) {
    const absl::Status status = Decode(fields).status();
    EXPECT_NE(status.message().find(shown), absl::string_view::npos) << status;
  }
  EXPECT_EQ(PriorityOfTier("scale").status().message().find("`service_tier` is \"scale\""), 0u);
}

TEST(ChatCodecTest, OnlyAllowedToolsAreKept) {
  constexpr std::string_view kTools =
      R"("tools":[{"function":{"name":"f"}},{"function":{"name":"g","strict":true}},{"function":{"name":"h"}}])";
  const auto choose = [&](std::string_view mode, std::string_view tools) {
    return Decode(R"("tool_choice":{"type":"allowed_tools","allowed_tools":{"mode":")" + std::string(mode) +
                  R"(","tools":[)" + std::string(tools) + "]}}," + std::string(kTools));
  };
  const auto two = choose("required", R"({"type":"function","function":{"name":"h"}},{"type":"custom"},)"
                                      R"({"type":"function","function":{"name":"g"}})");
  ASSERT_OK(two);
  EXPECT_EQ(two->call.tool_choice, service::ToolChoice::kRequired);
  ASSERT_EQ(two->call.tools.size(), 2u);
  EXPECT_EQ(two->call.tools[0].name, "g");
  EXPECT_EQ(two->call.tools[1].name, "h");
  EXPECT_EQ(two->call.strict_tools, (std::vector<bool>{true, false}));
  const auto none = choose("auto", "");
  ASSERT_OK(none);
  EXPECT_EQ(none->call.tool_choice, service::ToolChoice::kAuto);
  EXPECT_TRUE(none->call.tools.empty());
  const absl::Status unknown = choose("auto", R"({"type":"function","function":{"name":"x"}})").status();
  EXPECT_REASON(unknown, Reason::kInvalidRequest);
  EXPECT_NE(unknown.message().find("allows \"x\""), absl::string_view::npos) << unknown;
  EXPECT_EQ(request::GetErrorDetail(choose("auto", R"({"type":"function"})").status()).param,
            "tool_choice.allowed_tools.tools[0].function");
}

TEST(ChatCodecTest, TakesWhatClientsWrite) {
  // JavaScript and Python escape half a pair where a text was cut inside an emoji.
  EXPECT_EQ(Decode(R"("user":"a\ud83d")")->call.options.user, "a\xEF\xBF\xBD");
  EXPECT_EQ(Decode(R"("user":"\ud83d\ude00","seed":18446744073709551616.0)").status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Decode(R"("user":"\ud83d","x":99999999999999999999)")->call.options.user, "\xEF\xBF\xBD");
  EXPECT_OK(DecodeChat("\xEF\xBB\xBF{" + std::string(kMessages) + "}", kDepth, false));
  EXPECT_EQ(Decode(R"("seed":42.0)")->call.options.sampling.seed, 42u);
  EXPECT_EQ(Decode(R"("seed":-1e2)")->call.options.sampling.seed, static_cast<uint64_t>(-100));
  EXPECT_FALSE(Decode(R"("thinking":{"type":"adaptive","budget_tokens":null})")->call.thinking.has_value());
  EXPECT_FALSE(Decode(R"("thinking":{"type":null})")->call.thinking.has_value());
  EXPECT_OK(Decode(R"("modalities":["text"])"));
  const auto refused = DecodeChat(
      R"({"messages":[{"role":"assistant","content":[{"type":"text","text":"a"},{"type":"refusal","refusal":"b"}]}]})",
      kDepth, false);
  ASSERT_OK(refused);
  EXPECT_EQ(refused->call.messages[0].content, "ab");
}

TEST(ChatCodecTest, TellsMalformedAndUnsupportedApart) {
  for (const char* fields :
       {R"("top_logprobs":2)", R"("stream_options":{"include_usage":true})", R"("logit_bias":{"a":1})",
        R"("response_format":{"typ":"json_object"})", R"("response_format":{"type":"json_schema","json_schema":{}})",
        R"("response_format":{"type":"json_schema"})", R"("tool_choice":{"type":"function"})",
        R"("tool_choice":{"type":"custom","function":{"name":"f"}})", R"("tools":[{"type":"function"}])",
        R"("messages":[{"content":"x"}])", R"("messages":[{"role":"user"}])",
        R"("messages":[{"role":"user","content":[{"type":"image_url"}]}])"}) {
    EXPECT_REASON(Decode(fields), Reason::kInvalidRequest) << fields;
  }
  EXPECT_REASON(Decode(R"("tools":[{"type":"retrieval"}])"), Reason::kUnsupported);
}

TEST(ChatCodecTest, MessagesInEveryShape) {
  const auto chat = DecodeChat(
      R"({"messages":[{"role":"system","content":"s","name":"n"},{"role":"user","content":[{"type":"text","text":"a"},)"
      R"({"type":"text","text":"b"}]},{"role":"assistant","content":null,"reasoning_content":"r","tool_calls":[{"id":"c1",)"
      R"("type":"function","function":{"name":"f","arguments":"{\"a\":1}"}},{"id":"c2","function":{"name":"g",)"
      R"("arguments":{"b":2}}}]},{"role":"tool","tool_call_id":"c1","content":"1"},{"role":"assistant","content":"t","prefix":true}]})",
      kDepth, false);
  ASSERT_OK(chat);
  const auto& messages = chat->call.messages;
  ASSERT_EQ(messages.size(), 5u);
  EXPECT_EQ(messages[1].content, "ab");
  EXPECT_EQ(messages[2].reasoning_content, "r");
  ASSERT_EQ(messages[2].tool_calls.size(), 2u);
  EXPECT_EQ(messages[2].tool_calls[0].arguments, R"({"a":1})");
  EXPECT_EQ(messages[2].tool_calls[1].arguments, R"({"b":2})");
  EXPECT_EQ(messages[3].tool_call_id, "c1");
  EXPECT_TRUE(messages[4].prefix);
}

TEST(ChatCodecTest, ReasoningAlsoUnderItsOtherName) {
  const auto chat = DecodeChat(R"({"messages":[{"role":"assistant","content":"a","reasoning":"r"},)"
                               R"({"role":"assistant","content":"a","reasoning":"not this","reasoning_content":"r"},)"
                               R"({"role":"assistant","content":"a","reasoning_content":"r","reasoning":"not this"},)"
                               R"({"role":"assistant","content":"a","reasoning":{"effort":"low"}}]})",
                               kDepth, false);
  ASSERT_OK(chat);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(chat->call.messages[i].reasoning_content, "r") << i;
  EXPECT_EQ(chat->call.messages[3].reasoning_content, "");
}

TEST(ChatCodecTest, TheFinalMessageIsContinued) {
  const std::string messages = R"("messages":[{"role":"user","content":"q"},{"role":"assistant","content":"a"}])";
  for (const char* fields :
       {R"("continue_final_message":true,"add_generation_prompt":false)",
        R"("add_generation_prompt":false,"continue_final_message":true)", R"("continue_final_message":true)"}) {
    for (const std::string& body :
         {"{" + messages + "," + fields + "}", std::string("{") + fields + "," + messages + "}"}) {
      const auto chat = DecodeChat(body, kDepth, false);
      ASSERT_OK(chat);
      EXPECT_TRUE(chat->call.messages[1].prefix) << body;
      const auto tokenize = DecodeTokenize(body, kDepth);
      ASSERT_OK(tokenize);
      EXPECT_TRUE(tokenize->messages[1].prefix) << body;
    }
  }
  const auto plain =
      DecodeChat("{" + messages + R"(,"continue_final_message":false,"add_generation_prompt":true})", kDepth, false);
  ASSERT_OK(plain);
  EXPECT_FALSE(plain->call.messages[1].prefix);
  for (const auto& [body, param] : std::vector<std::pair<std::string, std::string>>{
           {R"({"messages":[{"role":"user","content":"q"}],"continue_final_message":true})", "continue_final_message"},
           {R"({"messages":[],"continue_final_message":true})", "continue_final_message"},
           {"{" + messages + R"(,"add_generation_prompt":false})", "add_generation_prompt"},
           {"{" + messages + R"(,"echo":true})", "echo"}}) {
    const absl::Status status = DecodeChat(body, kDepth, false).status();
    EXPECT_REASON(status, Reason::kInvalidRequest);
    EXPECT_EQ(request::GetErrorDetail(status).param, param);
  }
  EXPECT_REASON(DecodeTokenize(R"({"messages":[{"role":"user","content":"q"}],"continue_final_message":true})", kDepth),
                Reason::kInvalidRequest);
}

TEST(ChatCodecTest, ManyMessagesAreRefusedBeforeTheyAreRead) {
  std::string body = R"({"messages":[)";
  for (int i = 0; i < 100000; ++i) body += i == 0 ? "1" : ",1";
  body += "]}";
  const absl::Status status = DecodeChat(body, kDepth, false).status();
  EXPECT_REASON(status, Reason::kInvalidRequest);
  EXPECT_NE(status.message().find("100000"), absl::string_view::npos) << status;
}

TEST(ChatCodecTest, OneParserServesBodiesOfAllSizes) {
  for (const size_t size : {size_t{10}, size_t{3} << 20, size_t{20}, size_t{100000}}) {
    const auto chat =
        DecodeChat(R"({"messages":[{"role":"user","content":")" + std::string(size, 'x') + "\"}]}", kDepth, false);
    ASSERT_OK(chat);
    EXPECT_EQ(chat->call.messages[0].content.size(), size);
  }
  EXPECT_REASON(DecodeChat("", kDepth, false), Reason::kInvalidRequest);
  EXPECT_REASON(DecodeChat("{", kDepth, false), Reason::kInvalidRequest);
  EXPECT_REASON(DecodeChat("{} {}", kDepth, false), Reason::kInvalidRequest);
}

TEST(CompletionCodecTest, DefaultsAndLimits) {
  const auto plain = DecodeCompletion(R"({"prompt":"a"})", kDepth);
  ASSERT_OK(plain);
  EXPECT_EQ(plain->call.options.stopping.max_tokens, 16);
  EXPECT_TRUE(plain->call.options.stopping.cap_max_tokens);
  EXPECT_FALSE(DecodeCompletion(R"({"prompt":"a","max_tokens":16})", kDepth)->call.options.stopping.cap_max_tokens);
  EXPECT_FALSE(plain->call.options.top_logprobs.has_value());
  EXPECT_TRUE(DecodeCompletion(R"({"prompt":"a","echo":true,"logprobs":0})", kDepth)->call.options.prompt_logprobs);
  EXPECT_EQ(DecodeCompletion(R"({"prompt":"a","max_tokens":0})", kDepth)->call.options.stopping.max_tokens, 0);
  for (const auto& [fields, param] : std::vector<std::pair<std::string, std::string>>{
           {R"("prompt":"a","logprobs":21)", "logprobs"},
           {R"("prompt":"a","best_of":0)", "best_of"},
           {R"("prompt":[1,2,"a"])", "prompt[2]"},
           {R"("prompt":["a",1])", "prompt[1]"},
           {R"("prompt":["a",[1,1.5]])", "prompt[1][1]"},
       }) {
    const absl::Status status = DecodeCompletion("{" + fields + "}", kDepth).status();
    EXPECT_REASON(status, Reason::kOutOfRange) << fields;
    EXPECT_EQ(request::GetErrorDetail(status).param, param) << fields;
  }
  EXPECT_REASON(DecodeCompletion(R"({"prompt":"a","best_of":2})", kDepth), Reason::kUnsupported);
  EXPECT_REASON(DecodeCompletion("{}", kDepth), Reason::kInvalidRequest);
  EXPECT_REASON(DecodeCompletion(R"({"prompt":"a","max_thinking_tokens":9})", kDepth), Reason::kInvalidRequest);
  EXPECT_REASON(DecodeCompletion(R"({"prompt":["a","b"],"n":100})", kDepth), Reason::kInvalidRequest);
  std::string many = R"({"prompt":["a")";
  for (int i = 0; i < 200; ++i) many += ",\"a\"";
  EXPECT_REASON(DecodeCompletion(many + "]}", kDepth), Reason::kInvalidRequest);
}

}  // namespace
}  // namespace hadal::http
