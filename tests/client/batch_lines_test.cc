// SPDX-License-Identifier: Apache-2.0
#include "client/batch_lines.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

namespace hadal::client {
namespace {

using nlohmann::json;

// Fails for what is not one line of JSON.
json Read(const std::string& line) {
  EXPECT_EQ(line.find('\n'), line.size() - 1) << line;
  return json::parse(line);
}

TEST(BatchLineTest, AChatHasWhatItsOptionsSay) {
  ChatOptions plain;
  plain.messages = {{"user", "17 + 25"}};
  EXPECT_EQ(Read(BatchLine("a", plain)), json::parse(R"({"custom_id":"a","method":"POST","url":"/v1/chat/completions",
                            "body":{"messages":[{"role":"user","content":"17 + 25"}]}})"));
  ChatOptions all = plain;
  all.model = "m";
  all.temperature = 0.1;
  all.top_p = 0.5;
  all.seed = uint64_t{18'446'744'073'709'551'615u};
  all.max_tokens = 8;
  all.stop = {"\n\n", "END"};
  all.thinking = 0;
  all.max_thinking_tokens = 16;
  all.chat_template_kwargs = "{\n\"a\": 1}";
  all.documents = {R"({"text":"x"})"};
  EXPECT_EQ(Read(BatchLine("b", all))["body"],
            json::parse(R"({"model":"m","temperature":0.1,"top_p":0.5,"seed":18446744073709551615,"max_tokens":8,
                            "stop":["\n\n","END"],"messages":[{"role":"user","content":"17 + 25"}],
                            "thinking":{"type":"disabled"},"max_thinking_tokens":16,"chat_template_kwargs":{"a":1},
                            "documents":[{"text":"x"}]})"));
}

TEST(BatchLineTest, AChatHasItsToolsAndWhatComesBack) {
  ChatOptions all;
  all.messages = {{.role = "assistant",
                   .content = "x",
                   .reasoning = "r",
                   .prefix = true,
                   .tool_calls = {{.id = "1", .name = "f", .arguments = R"({"k": "v"})"}}},
                  {.role = "tool", .content = "y", .tool_call_id = "1"}};
  all.top_k = 5;
  all.min_p = 0.125;
  all.repetition_penalty = 1.5;
  all.frequency_penalty = -1;
  all.presence_penalty = -2;
  all.logit_bias = {{6, -100}, {7, 0.5}};
  all.stop_token_ids = {8};
  all.min_tokens = 9;
  all.ignore_eos = true;
  all.json_schema = R"({"type":"object"})";
  all.n = 2;
  all.logprobs = 0;
  all.return_token_ids = true;
  all.user = "u";
  all.cache_salt = "c";
  all.tools = {{"f", "d", R"({"type":"object"})", true}, {.name = "g"}};
  all.tool_choice = ToolChoice::kNamed;
  all.tool_name = "f";
  all.parallel_tool_calls = false;
  all.reasoning_effort = "low";
  EXPECT_EQ(Read(BatchLine("a", all))["body"], json::parse(R"({
      "messages":[{"role":"assistant","content":"x","reasoning_content":"r","prefix":true,
                   "tool_calls":[{"id":"1","type":"function","function":{"name":"f","arguments":"{\"k\": \"v\"}"}}]},
                  {"role":"tool","content":"y","tool_call_id":"1"}],
      "top_k":5,"min_p":0.125,"repetition_penalty":1.5,"frequency_penalty":-1.0,"presence_penalty":-2.0,
      "logit_bias":{"6":-100.0,"7":0.5},"stop_token_ids":[8],"min_tokens":9,"ignore_eos":true,
      "response_format":{"type":"json_schema","json_schema":{"name":"answer","schema":{"type":"object"}}},
      "n":2,"logprobs":true,"top_logprobs":0,"return_token_ids":true,"user":"u","cache_salt":"c",
      "tools":[{"type":"function","function":{"name":"f","description":"d","parameters":{"type":"object"},"strict":true}},
               {"type":"function","function":{"name":"g"}}],
      "tool_choice":{"type":"function","function":{"name":"f"}},"parallel_tool_calls":false,"reasoning_effort":"low"})"));
  ChatOptions object;
  object.json_object = true;
  object.tool_choice = ToolChoice::kRequired;
  const json body = Read(BatchLine("b", object))["body"];
  EXPECT_EQ(body["response_format"], json::parse(R"({"type":"json_object"})"));
  EXPECT_EQ(body["tool_choice"], "required");
  object.tool_choice = ToolChoice::kNone;
  EXPECT_EQ(Read(BatchLine("b", object))["body"]["tool_choice"], "none");
}

TEST(BatchLineTest, ACompletionHasTextOrTokens) {
  CompletionOptions options;
  options.prompt = "1, 2,";
  EXPECT_EQ(Read(BatchLine("a", options)),
            json::parse(R"({"custom_id":"a","method":"POST","url":"/v1/completions","body":{"prompt":"1, 2,"}})"));
  options.token_ids = {5, 6};
  EXPECT_EQ(Read(BatchLine("a", options))["body"]["prompt"], json({5, 6}));
  CompletionOptions all;
  all.prompt = "(";
  all.suffix = ")";
  all.parse_special_tokens = true;
  all.logprobs = 3;
  all.echo_logprobs = true;
  EXPECT_EQ(Read(BatchLine("a", all))["body"],
            json::parse(R"j({"prompt":"(","suffix":")","parse_special_tokens":true,"logprobs":3,"echo":true})j"));
}

TEST(BatchLineTest, AnyTextStaysWhatItIs) {
  std::string text = "\"quotes\" \\ \n\r\t \x01 ä 服 😀";
  text.push_back('\0');
  ChatOptions options;
  options.messages = {{"user", text}};
  const json line = Read(BatchLine(text, options));
  EXPECT_EQ(line["custom_id"], text);
  EXPECT_EQ(line["body"]["messages"][0]["content"], text);
}

TEST(BatchLineTest, ABodyOfItsOwnComesOnOneLine) {
  const json line = Read(BatchLine("a", "/v1/messages", "{\n  \"max_tokens\": 5,\r\n  \"text\": \"a\\nb\"\n}"));
  EXPECT_EQ(line["url"], "/v1/messages");
  EXPECT_EQ(line["body"], (json{{"max_tokens", 5}, {"text", "a\nb"}}));
}

}  // namespace
}  // namespace hadal::client
