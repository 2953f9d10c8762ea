// SPDX-License-Identifier: Apache-2.0
// Prompts against what transformers renders with the published templates (make_published_goldens.py), and those of V3.2
// and V4, which have no template, against a plain Python form of their encoders (dsml_encoders.py).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "tests/models/chat/chat_test_data.h"

namespace hadal::chat {
namespace {

using nlohmann::ordered_json;

// The parts of each published template's text that tell it from the others.
const std::map<std::string, std::pair<const char*, ChatStyle>>& PublishedTraits() {
  static const std::map<std::string, std::pair<const char*, ChatStyle>> traits = {
      {"v2", {"{{ 'User: ' + message['content'] + '\n\n' }} {{ 'Assistant: ' }}", ChatStyle::kDeepSeekV2}},
      {"v2_5", {"{{'<｜User｜>' + message['content']}} {{'<｜Assistant｜>'}}", ChatStyle::kDeepSeekV3}},
      {"v3", {"{{'<｜User｜>' + message['content']}} {{'<｜Assistant｜>'}}", ChatStyle::kDeepSeekV3}},
      {"r1",
       {"{{'<｜User｜>' + message['content']}} {{'<｜Assistant｜>' + content}} content.split('</think>')[-1] "
        "{{'<｜tool▁outputs▁begin｜><｜tool▁output▁begin｜>'}} {{'<｜tool▁output▁begin｜>' + message['content']}} "
        "{{'<｜Assistant｜><think>\\n'}}",
        ChatStyle::kDeepSeekR1}},
      {"v3_0324", {"{{'<｜User｜>' + message['content'] + '<｜Assistant｜>'}}", ChatStyle::kDeepSeekV3}},
      {"r1_0528",
       {"{{'<｜User｜>' + content + '<｜Assistant｜>'}} {% set content = content.split('</think>')[-1] %}",
        ChatStyle::kDeepSeekR1}},
      {"r1_distill",
       {"{{'<｜User｜>' + message['content']}} {{'<｜Assistant｜>' + content}} content.split('</think>')[-1] "
        "{{'<｜Assistant｜><think>\\n'}}",
        ChatStyle::kDeepSeekR1}},
      {"v31",
       {"{%- if not thinking is defined -%} {{'<｜User｜>' + message['content']}} {{'<｜Assistant｜></think>'}}",
        ChatStyle::kDeepSeekV31}},
      {"qwen3",
       {"<|im_start|> <tool_call> {%- if enable_thinking is defined and enable_thinking is false %} </think>",
        ChatStyle::kChatMl}},
  };
  return traits;
}

bool EndsInReasoning(const std::string& text) { return text.ends_with("<think>") || text.ends_with("<think>\n"); }

TEST(ChatGoldensTest, RendersAsThePublishedTemplates) {
  const auto data = ordered_json::parse(ReadChatData("published_chats.json"));
  const std::vector<ChatTool> tools = ToTools(data.at("tools"));
  std::map<std::string, int> compared;
  for (const auto& golden : data.at("goldens")) {
    const std::string name = golden.at("template"), chat = golden.at("chat");
    const auto& [text, style] = PublishedTraits().at(name);
    const auto tokenizer = WithTemplate(text);
    const auto chat_template = *ChatTemplate::BuiltIn(*tokenizer);
    ASSERT_EQ(chat_template.style(), style) << name;
    ChatOptions options;
    options.thinking = golden.at("thinking");
    options.add_generation_prompt = golden.at("add_generation_prompt");
    if (golden.at("tools")) options.tools = tools;
    const auto prompt =
        chat_template.Render(ToMessages(nlohmann::json::parse(data.at("chats").at(chat).dump())), options);
    ASSERT_TRUE(prompt.ok()) << name << " " << chat << ": " << prompt.status();
    EXPECT_EQ(prompt->Text(), golden.at("text")) << name << " " << chat;
    EXPECT_EQ(prompt->reasoning_starts_open, EndsInReasoning(golden.at("text"))) << name << " " << chat;
    ++compared[name];
  }
  EXPECT_EQ(compared.size(), PublishedTraits().size());
  for (const auto& [name, count] : compared) EXPECT_GE(count, 10) << name;
}

TEST(ChatGoldensTest, RendersAsTheEncodersOfV32AndV4) {
  const auto data = ordered_json::parse(ReadChatData("dsml_chats.json"));
  const std::vector<ChatTool> tools = ToTools(data.at("tools"));
  const auto tokenizer = WithTemplate("");
  ASSERT_GT(data.at("goldens").size(), 200u);
  for (const auto& golden : data.at("goldens")) {
    const std::string chat = golden.at("chat"), version = golden.at("version");
    const auto chat_template = *ChatTemplate::BuiltIn(*tokenizer, "deepseek_" + version);
    ChatOptions options;
    options.thinking = golden.at("thinking");
    if (golden.at("tools")) options.tools = tools;
    if (golden.at("schema")) options.response_schema_json = data.at("schema").dump();
    if (golden.at("effort") == "max") options.reasoning_effort = ReasoningEffort::kMax;
    const auto prompt =
        chat_template.Render(ToMessages(nlohmann::json::parse(data.at("chats").at(chat).dump())), options);
    const std::string what =
        version + " " + chat + (options.thinking ? " thinking" : "") + (golden.at("tools") ? " tools" : "");
    ASSERT_TRUE(prompt.ok()) << what << ": " << prompt.status();
    EXPECT_EQ(prompt->Text(), golden.at("text")) << what;
    EXPECT_EQ(prompt->reasoning_starts_open, EndsInReasoning(golden.at("text"))) << what;
    if (chat == "history_thinks") continue;  // a user's text holds a marker there
    EXPECT_EQ(*EncodePrompt(*tokenizer, *prompt), *tokenizer->Encode(prompt->Text(), {.allow_added_tokens = true}))
        << what;
  }
}

// The examples of the reference, which were made by running the published encoders.
TEST(ChatGoldensTest, RendersTheWorkedExamplesOfV32AndV4) {
  const auto tokenizer = WithTemplate("");
  const auto render = [&](const char* family, const std::vector<ChatMessage>& messages, ChatOptions options) {
    const std::string text = ChatTemplate::BuiltIn(*tokenizer, family)->Render(messages, options)->Text();
    const size_t begin = text.find("<｜User｜>");
    return options.tools.empty() ? text : text.substr(begin);
  };
  std::vector<ChatMessage> loop = {
      {.role = "user", .content = "2+3?"},
      {.role = "assistant", .reasoning_content = "Use add.", .tool_calls = {{"c", "add", R"({"a": 2, "b": 3})"}}},
      {.role = "tool", .content = "5", .tool_call_id = "c"}};
  const ChatOptions with_tools{.tools = {{"add", "Adds", "{}"}}};
  EXPECT_EQ(render("deepseek_v32", loop, with_tools),
            "<｜User｜>2+3?<｜Assistant｜><think>Use add.</think>\n\n<｜DSML｜function_calls>\n<｜DSML｜invoke "
            "name=\"add\">\n<｜DSML｜parameter name=\"a\" string=\"false\">2</｜DSML｜parameter>\n<｜DSML｜parameter "
            "name=\"b\" string=\"false\">3</｜DSML｜parameter>\n</｜DSML｜invoke>\n</｜DSML｜function_calls>" +
                std::string(kEos) + "\n\n<function_results>\n<result>5</result>\n</function_results>\n\n<think>");
  loop.push_back({.role = "user", .content = "thanks"});
  EXPECT_EQ(render("deepseek_v4", loop, with_tools),
            "<｜User｜>2+3?<｜Assistant｜><think>Use add.</think>\n\n<｜DSML｜tool_calls>\n<｜DSML｜invoke "
            "name=\"add\">\n<｜DSML｜parameter name=\"a\" string=\"false\">2</｜DSML｜parameter>\n<｜DSML｜parameter "
            "name=\"b\" string=\"false\">3</｜DSML｜parameter>\n</｜DSML｜invoke>\n</｜DSML｜tool_calls>" +
                std::string(kEos) + "<｜User｜><tool_result>5</tool_result>\n\nthanks<｜Assistant｜><think>");
  const std::vector<ChatMessage> two_turns = {{.role = "system", .content = "Be brief."},
                                              {.role = "user", .content = "Hi"},
                                              {.role = "assistant", .content = "Hello.", .reasoning_content = "greet"},
                                              {.role = "user", .content = "Bye"}};
  for (const char* family : {"deepseek_v32", "deepseek_v4"}) {
    EXPECT_EQ(render(family, two_turns, {}), std::string(kBos) + "Be brief.<｜User｜>Hi<｜Assistant｜></think>Hello." +
                                                 kEos + "<｜User｜>Bye<｜Assistant｜><think>");
  }
  EXPECT_THAT(render("deepseek_v4", two_turns, with_tools), testing::HasSubstr("<think>greet</think>Hello."));
}

// Every style continues a last assistant message; with reasoning alone it continues that.
TEST(ChatGoldensTest, ContinuesAPrefixInEveryStyle) {
  struct Expected {
    const char* content;    // {.content = "A"}
    const char* reasoning;  // {.reasoning_content = "r"}, open
    const char* both;
    const char* quiet;  // {.content = "A"} without thinking
  };
  const std::map<ChatStyle, Expected> expected = {
      {ChatStyle::kDeepSeekV32, {"<think></think>A", "<think>r", "<think>r</think>A", "</think>A"}},
      {ChatStyle::kDeepSeekV4, {"<think></think>A", "<think>r", "<think>r</think>A", "</think>A"}},
      {ChatStyle::kDeepSeekV31, {"<think>A", "<think>r", "<think>r</think>A", "</think>A"}},
      {ChatStyle::kDeepSeekR1, {"A", "<think>\nr", "<think>\nr\n</think>\n\nA", "A"}},
      {ChatStyle::kDeepSeekV3, {"A", nullptr, "A", "A"}},
      {ChatStyle::kDeepSeekV2, {"A", nullptr, "A", "A"}},
      {ChatStyle::kDeepSeekCoder, {"A", nullptr, "A", "A"}},
      {ChatStyle::kLlama3, {"A", nullptr, "A", "A"}},
      {ChatStyle::kChatMl, {"A", "<think>\nr", "<think>\nr\n</think>\n\nA", "<think>\n\n</think>\n\nA"}},
  };
  for (const auto& [style, want] : expected) {
    const auto tokenizer = WithTemplate(style == ChatStyle::kChatMl ? PublishedTraits().at("qwen3").first : "");
    const ChatTemplate chat = *ChatTemplate::ForStyle(style, *tokenizer);
    const std::string name(ChatStyleName(style));
    const auto check = [&](const char* tail, ChatMessage last, bool thinking, bool open) {
      if (tail == nullptr) return;
      last.role = "assistant";
      last.prefix = true;
      const std::vector<ChatMessage> messages = {{.role = "user", .content = "Q"}, last};
      const auto prompt = chat.Render(messages, {.thinking = thinking});
      ASSERT_TRUE(prompt.ok()) << name << prompt.status();
      EXPECT_TRUE(prompt->Text().ends_with(tail)) << name << ": " << prompt->Text();
      EXPECT_EQ(prompt->reasoning_starts_open, open) << name << ": " << prompt->Text();
    };
    check(want.content, {.content = "A"}, true, style == ChatStyle::kDeepSeekV31);
    check(want.reasoning, {.reasoning_content = "r"}, true, true);
    check(want.both, {.content = "A", .reasoning_content = "r"}, true, false);
    check(want.quiet, {.content = "A"}, false, false);
  }
}

TEST(ChatGoldensTest, KnowsV32AndV4WithoutATemplate) {
  const auto tokenizer = WithTemplate("");
  EXPECT_EQ(ChatTemplate::BuiltIn(*tokenizer, "deepseek_v32")->style(), ChatStyle::kDeepSeekV32);
  EXPECT_EQ(ChatTemplate::BuiltIn(*tokenizer, "deepseek_v4")->style(), ChatStyle::kDeepSeekV4);
  EXPECT_EQ(ChatTemplate::BuiltIn(*tokenizer, "deepseek_v4")->origin(), "the model family");
  EXPECT_EQ(ChatTemplate::BuiltIn(*tokenizer, "deepseek_v3")->origin(), "the vocabulary");
  // V3.2-Exp has the family of V3.2 and the template of V3.1.
  const auto exp = WithTemplate(PublishedTraits().at("v31").first);
  EXPECT_EQ(ChatTemplate::BuiltIn(*exp, "deepseek_v32")->style(), ChatStyle::kDeepSeekV31);
  EXPECT_EQ(ChatTemplate::BuiltIn(*exp, "deepseek_v32")->origin(), "the checkpoint's template");
}

// A prompt shows no ids, so that results must stand in the order of their calls.
TEST(ChatGoldensTest, PutsResultsIntoTheOrderOfTheCalls) {
  const auto tokenizer = WithTemplate("");
  const std::vector<ChatMessage> messages = {
      {.role = "user", .content = "Q"},
      {.role = "assistant", .tool_calls = {{"x", "f", "{}"}, {"y", "g", "{}"}, {"z", "h", "{}"}}},
      {.role = "tool", .content = "R3", .tool_call_id = "z"},
      {.role = "tool", .content = "R1", .tool_call_id = "x"},
      {.role = "tool", .content = "R2", .tool_call_id = "y"}};
  for (const ChatStyle style : {ChatStyle::kDeepSeekV3, ChatStyle::kDeepSeekR1, ChatStyle::kDeepSeekV31,
                                ChatStyle::kDeepSeekV32, ChatStyle::kDeepSeekV4}) {
    const std::string text = ChatTemplate::ForStyle(style, *tokenizer)->Render(messages, {})->Text();
    EXPECT_LT(text.find("R1"), text.find("R2")) << text;
    EXPECT_LT(text.find("R2"), text.find("R3")) << text;
  }
}

TEST(ChatGoldensTest, NamesEveryStyle) {
  const std::string names = ChatStyleNames();
  EXPECT_THAT(names, testing::StartsWith("deepseek-v2, deepseek-v3, "));
  for (const ChatStyle style : {ChatStyle::kDeepSeekV2, ChatStyle::kDeepSeekV3, ChatStyle::kDeepSeekR1,
                                ChatStyle::kDeepSeekV31, ChatStyle::kDeepSeekV32, ChatStyle::kDeepSeekV4,
                                ChatStyle::kDeepSeekCoder, ChatStyle::kChatMl, ChatStyle::kLlama3}) {
    EXPECT_EQ(ChatStyleFromName(ChatStyleName(style)), style);
    EXPECT_THAT(names, testing::HasSubstr(std::string(ChatStyleName(style))));
  }
  EXPECT_EQ(ChatStyleFromName("jinja"), std::nullopt);
}

TEST(ChatGoldensTest, RefusesAReminderThatIsNotInFrontOfTheUser) {
  const auto tokenizer = WithTemplate("");
  const ChatMessage user{.role = "user", .content = "Q"}, reminder{.role = "latest_reminder", .content = "R"};
  const auto v4 = *ChatTemplate::ForStyle(ChatStyle::kDeepSeekV4, *tokenizer);
  EXPECT_TRUE(v4.Render(std::vector{reminder, user}, {}).ok());
  for (const auto& messages : {std::vector{user, reminder}, std::vector{user, reminder, user}, std::vector{reminder}}) {
    EXPECT_EQ(v4.Render(messages, {}).status().code(), absl::StatusCode::kInvalidArgument);
  }
  const auto v32 = *ChatTemplate::ForStyle(ChatStyle::kDeepSeekV32, *tokenizer);
  EXPECT_THAT(std::string(v32.Render(std::vector{reminder, user}, {}).status().message()),
              testing::HasSubstr("messages[0].role is \"latest_reminder\", which the chat template deepseek-v3.2"));
}

}  // namespace
}  // namespace hadal::chat
