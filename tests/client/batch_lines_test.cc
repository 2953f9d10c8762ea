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

TEST(BatchLineTest, ACompletionHasTextOrTokens) {
  CompletionOptions options;
  options.prompt = "1, 2,";
  EXPECT_EQ(Read(BatchLine("a", options)),
            json::parse(R"({"custom_id":"a","method":"POST","url":"/v1/completions","body":{"prompt":"1, 2,"}})"));
  options.token_ids = {5, 6};
  EXPECT_EQ(Read(BatchLine("a", options))["body"]["prompt"], json({5, 6}));
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
