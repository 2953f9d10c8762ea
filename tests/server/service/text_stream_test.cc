// SPDX-License-Identifier: Apache-2.0
#include "server/service/text_stream.h"

#include <numeric>
#include <random>

#include "gtest/gtest.h"
#include "tests/support/demo_tokenizer.h"

namespace hadal::service {
namespace {

using hadal::testing::DemoEncode;
using hadal::testing::DemoTokenizer;

TextStream MakeStream(TextStream::Options options, std::vector<std::string> stop = {}) {
  return TextStream(*DemoTokenizer(), stop.empty() ? nullptr : std::make_shared<const StopStrings>(stop),
                    std::move(options));
}

// All deltas joined into one.
void Join(ChoiceDelta&& delta, ChoiceDelta* joined) {
  joined->text += delta.text;
  joined->reasoning += delta.reasoning;
  for (ToolDelta& call : delta.tool_calls) {
    if (call.name.empty() && !joined->tool_calls.empty()) {
      joined->tool_calls.back().arguments += call.arguments;
    } else {
      joined->tool_calls.push_back(std::move(call));
    }
  }
  joined->token_ids.insert(joined->token_ids.end(), delta.token_ids.begin(), delta.token_ids.end());
  for (ScoredToken& token : delta.logprobs) joined->logprobs.push_back(std::move(token));
  if (delta.finish != Finish::kNone) joined->finish = delta.finish;
}

// Feeds the tokens, starting a new delta with probability 1/`merge`.
ChoiceDelta RunTokens(TextStream& stream, const std::vector<int32_t>& tokens, std::mt19937* random = nullptr) {
  ChoiceDelta joined, delta;
  for (const int32_t id : tokens) {
    request::TokenEvent event;
    event.token_id = id;
    event.logprob = -0.25f;
    if (stream.Push(std::move(event), &delta)) {
      stream.End(Finish::kStop, -1, &delta);
      break;
    }
    if (random == nullptr || (*random)() % 2 == 0) Join(std::exchange(delta, {}), &joined);
  }
  stream.End(Finish::kStop, -1, &delta);
  Join(std::move(delta), &joined);
  return joined;
}

// Tokenises the text in random pieces, so that token borders fall anywhere.
std::vector<int32_t> RandomTokens(std::string_view text, std::mt19937* random) {
  std::vector<int32_t> tokens;
  while (!text.empty()) {
    size_t size = 1 + (*random)() % 6;
    while (size < text.size() && (text[size] & 0xC0) == 0x80) ++size;
    for (const int32_t id : DemoEncode(text.substr(0, size))) tokens.push_back(id);
    text.remove_prefix(std::min(size, text.size()));
  }
  return tokens;
}

TEST(TextStreamTest, PlainTextPassesUnchanged) {
  TextStream stream = MakeStream({});
  const ChoiceDelta joined = RunTokens(stream, DemoEncode("17 plus 25 是多少？ naïve 😀"));
  EXPECT_EQ(joined.text, "17 plus 25 是多少？ naïve 😀");
  EXPECT_EQ(joined.finish, Finish::kStop);
}

TEST(TextStreamTest, NeverEmitsHalfACharacter) {
  TextStream stream = MakeStream({});
  ChoiceDelta delta;
  for (const int32_t id : DemoEncode("😀深海")) {
    request::TokenEvent event;
    event.token_id = id;
    delta = {};
    stream.Push(std::move(event), &delta);
    EXPECT_TRUE(delta.text.empty() || delta.text == "😀" || delta.text == "深" || delta.text == "海" ||
                delta.text == "深海")
        << delta.text;
  }
}

TEST(TextStreamTest, TextEndsBeforeTheStopString) {
  TextStream stream = MakeStream({}, {"END"});
  const ChoiceDelta joined = RunTokens(stream, DemoEncode("answer 42 END and more"));
  EXPECT_EQ(joined.text, "answer 42 ");
  EXPECT_EQ(joined.finish, Finish::kStop);
  EXPECT_TRUE(stream.finished());
}

TEST(TextStreamTest, HeldBackTextComesWithTheEnd) {
  TextStream stream = MakeStream({}, {"ABCDEF"});
  ChoiceDelta delta;
  for (const int32_t id : DemoEncode("x ABC")) {
    request::TokenEvent event;
    event.token_id = id;
    EXPECT_FALSE(stream.Push(std::move(event), &delta));
  }
  EXPECT_EQ(delta.text, "x ");
  stream.End(Finish::kLength, -1, &delta);
  EXPECT_EQ(delta.text, "x ABC");
  EXPECT_EQ(delta.finish, Finish::kLength);
}

TEST(TextStreamTest, ReportsTokensUpToTheStopStringOnly) {
  TextStream::Options options;
  options.token_ids = true;
  options.logprobs = true;
  TextStream stream = MakeStream(options, {"\n"});
  std::vector<int32_t> tokens = DemoEncode("1 2 3");
  const std::vector<int32_t> wanted = tokens;
  for (const int32_t id : DemoEncode("\n4 5")) tokens.push_back(id);
  const ChoiceDelta joined = RunTokens(stream, tokens);
  EXPECT_EQ(joined.text, "1 2 3");
  EXPECT_EQ(joined.token_ids, wanted);
  ASSERT_EQ(joined.logprobs.size(), wanted.size());
  EXPECT_EQ(joined.logprobs[0].text_offset, 0);
  EXPECT_EQ(joined.logprobs[0].logprob, -0.25f);
}

TEST(TextStreamTest, CountsAndReportsTheStopToken) {
  TextStream::Options options;
  options.token_ids = true;
  TextStream stream = MakeStream(options);
  ChoiceDelta delta;
  request::TokenEvent event;
  event.token_id = DemoEncode("a").front();
  stream.Push(std::move(event), &delta);
  stream.End(Finish::kStop, 1, &delta);
  EXPECT_EQ(stream.tokens(), 2);
  EXPECT_EQ(delta.token_ids.back(), 1);
  EXPECT_EQ(delta.text, "a");
}

TEST(TextStreamTest, LeavesSpecialTokensOutUnlessAskedFor) {
  const std::vector<int32_t> tokens = DemoEncode("a<｜end▁of▁sentence｜>b");
  TextStream skipping = MakeStream({});
  EXPECT_EQ(RunTokens(skipping, tokens).text, "ab");
  TextStream::Options options;
  options.skip_special_tokens = false;
  TextStream keeping = MakeStream(options);
  EXPECT_EQ(RunTokens(keeping, tokens).text, "a<｜end▁of▁sentence｜>b");
}

// Pushes tokens; at most `max_wait` of them may be unreported at any time. The joined delta, the end excluded.
ChoiceDelta PushEach(TextStream& stream, const std::vector<int32_t>& tokens, size_t max_wait) {
  ChoiceDelta joined;
  for (size_t i = 0; i < tokens.size(); ++i) {
    ChoiceDelta delta;
    request::TokenEvent event;
    event.token_id = tokens[i];
    if (stream.Push(std::move(event), &delta)) stream.End(Finish::kStop, -1, &delta);
    Join(std::move(delta), &joined);
    EXPECT_LE(i + 1 - joined.token_ids.size(), max_wait) << "after token " << i;
  }
  return joined;
}

// A skipped special token, or an id that no token has: neither ends an unfinished character.
TEST(TextStreamTest, TokensWithoutTextDoNotWaitForACharacter) {
  const std::vector<int32_t> character = DemoEncode("\U0001F600");
  ASSERT_GT(character.size(), 1u);
  const int32_t special = DemoEncode("<｜end▁of▁sentence｜>").front();
  for (const int32_t textless : {special, DemoTokenizer()->vocab_size() + 100}) {
    TextStream::Options options;
    options.token_ids = true;
    options.logprobs = true;
    TextStream stream = MakeStream(options);
    std::vector<int32_t> tokens = {character.front()};
    tokens.insert(tokens.end(), 40, textless);
    ChoiceDelta joined = PushEach(stream, tokens, 5);
    EXPECT_EQ(joined.text, "");
    Join(PushEach(stream, {character.begin() + 1, character.end()}, character.size()), &joined);
    EXPECT_EQ(joined.text, "\U0001F600");
    tokens.insert(tokens.end(), character.begin() + 1, character.end());
    EXPECT_EQ(joined.token_ids, tokens);
    EXPECT_EQ(joined.logprobs.size(), tokens.size());
  }
}

TEST(TextStreamTest, TokensWithoutTextDoNotWaitForAStopString) {
  TextStream::Options options;
  options.token_ids = true;
  TextStream stream = MakeStream(options, {"12"});
  std::vector<int32_t> tokens = DemoEncode("1");
  tokens.insert(tokens.end(), 40, DemoTokenizer()->vocab_size());
  EXPECT_EQ(PushEach(stream, tokens, 5).text, "");
  ChoiceDelta last = PushEach(stream, DemoEncode("2"), 1);
  EXPECT_EQ(last.text, "");
  EXPECT_EQ(last.finish, Finish::kStop);
}

// Few of them change nothing: a token comes with its text, and none of a stop string.
TEST(TextStreamTest, AFewTokensWithoutTextWaitWithTheTextBeforeThem) {
  TextStream::Options options;
  options.token_ids = true;
  TextStream stream = MakeStream(options, {"12"});
  std::vector<int32_t> tokens = DemoEncode("1");
  tokens.insert(tokens.end(), 4, DemoTokenizer()->vocab_size());
  tokens.push_back(DemoEncode("2").front());
  EXPECT_TRUE(RunTokens(stream, tokens).token_ids.empty());
}

TEST(TextStreamTest, SplitsReasoningAndCountsItsTokens) {
  TextStream::Options options;
  options.parse = true;
  options.parser.starts_in_reasoning = true;
  options.logprobs = true;
  TextStream stream = MakeStream(options);
  const std::vector<int32_t> tokens = DemoEncode("carry 1</think>42");
  const ChoiceDelta joined = RunTokens(stream, tokens);
  EXPECT_EQ(joined.reasoning, "carry 1");
  EXPECT_EQ(joined.text, "42");
  // The marker belongs to the reasoning.
  EXPECT_EQ(stream.reasoning_tokens(), static_cast<int32_t>(DemoEncode("carry 1").size()) + 1);
  for (const ScoredToken& token : joined.logprobs) {
    EXPECT_EQ(token.reasoning, token.text_offset < 15) << token.text_offset;
  }
}

// Stop strings end the content: neither the reasoning nor its markers.
TEST(TextStreamTest, StopStringsAreLookedForInTheContentOnly) {
  TextStream::Options options;
  options.parse = true;
  options.parser.starts_in_reasoning = true;
  options.token_ids = true;
  const std::string text = "carry\n1 <b\n</think>\n\n42 <b>\nmore";
  struct Case {
    std::vector<std::string> stop;
    std::string content;
  };
  for (const Case& test : {Case{{"\n"}, "42 <b>"}, Case{{"<"}, "42 "}, Case{{"</think>"}, "42 <b>\nmore"},
                           Case{{"carry", ">\nm"}, "42 <b"}, Case{{"think", "42"}, ""}}) {
    std::mt19937 random(17);
    for (int round = 0; round < 20; ++round) {
      TextStream stream = MakeStream(options, test.stop);
      const ChoiceDelta joined = RunTokens(stream, RandomTokens(text, &random), &random);
      EXPECT_EQ(joined.reasoning, "carry\n1 <b");
      EXPECT_EQ(joined.text, test.content);
      EXPECT_EQ(joined.finish, Finish::kStop);
      EXPECT_GT(stream.reasoning_tokens(), 0);
    }
  }
}

TEST(TextStreamTest, StopStringsDoNotEndToolCalls) {
  TextStream::Options options;
  options.parse = true;
  options.parser.tool_syntax = chat::ToolSyntax::kDeepSeekV3;
  TextStream stream = MakeStream(options, {"{", "json", "seen"});
  const ChoiceDelta joined = RunTokens(
      stream,
      DemoEncode("see<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>add\n```json\n{\"a\": 1}\n```"
                 "<｜tool▁call▁end｜><｜tool▁calls▁end｜>"));
  EXPECT_EQ(joined.text, "see");
  ASSERT_EQ(joined.tool_calls.size(), 1u);
  EXPECT_EQ(joined.tool_calls[0].arguments, "{\"a\": 1}");
  EXPECT_EQ(joined.finish, Finish::kToolCalls);
}

TEST(TextStreamTest, AStopStringIsFoundInWhatTheParserHeldBack) {
  TextStream::Options options;
  options.parse = true;
  TextStream stream = MakeStream(options, {"<"});
  const ChoiceDelta joined = RunTokens(stream, DemoEncode("<"));
  EXPECT_EQ(joined.text, "");
  EXPECT_EQ(joined.finish, Finish::kStop);
}

TEST(TextStreamTest, TurnsToolCallsIntoDeltasAndTheirFinish) {
  TextStream::Options options;
  options.parse = true;
  options.parser.tool_syntax = chat::ToolSyntax::kDeepSeekV3;
  options.tool_call_id_prefix = "call_x";
  TextStream stream = MakeStream(options);
  const ChoiceDelta joined = RunTokens(
      stream,
      DemoEncode(
          "Let me see.<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>add\n```json\n{\"a\": 1}\n```"
          "<｜tool▁call▁end｜><｜tool▁calls▁end｜>"));
  ASSERT_EQ(joined.tool_calls.size(), 1u);
  EXPECT_EQ(joined.tool_calls[0].name, "add");
  EXPECT_EQ(joined.tool_calls[0].arguments, "{\"a\": 1}");
  EXPECT_EQ(joined.tool_calls[0].id, "call_x0");
  EXPECT_EQ(joined.finish, Finish::kToolCalls);
}

TEST(TextStreamTest, AnyCutGivesTheSameAnswer) {
  std::mt19937 random(11);
  const std::vector<std::string> texts = {
      "carry 1, then 4 and 2 </thin</think>答案是 42 ###STOP never seen",
      "no stop at all: ### STO 😀 naïve",
      "</think>##",
      "a</think>\n\nb ###STO###STOP",
  };
  for (const std::string& text : texts) {
    for (const bool parse : {false, true}) {
      TextStream::Options options;
      options.parse = parse;
      options.parser.starts_in_reasoning = true;
      options.token_ids = true;
      TextStream whole = MakeStream(options, {"###STOP"});
      const ChoiceDelta expected = RunTokens(whole, RandomTokens(text, &random));
      for (int round = 0; round < 200; ++round) {
        TextStream stream = MakeStream(options, {"###STOP"});
        const ChoiceDelta joined = RunTokens(stream, RandomTokens(text, &random), &random);
        ASSERT_EQ(joined.text, expected.text);
        ASSERT_EQ(joined.reasoning, expected.reasoning);
        ASSERT_EQ(joined.finish, expected.finish);
      }
    }
  }
}

TEST(TextStreamTest, LogprobsDoNotDependOnMerging) {
  std::mt19937 random(13);
  const std::vector<int32_t> tokens = RandomTokens("reason 😀 on</think> text ##STOP text", &random);
  TextStream::Options options;
  options.parse = true;
  options.parser.starts_in_reasoning = true;
  options.token_ids = true;
  options.logprobs = true;
  TextStream one = MakeStream(options, {"##STOP"});
  const ChoiceDelta expected = RunTokens(one, tokens);
  EXPECT_FALSE(expected.token_ids.empty());
  for (int round = 0; round < 50; ++round) {
    TextStream stream = MakeStream(options, {"##STOP"});
    const ChoiceDelta joined = RunTokens(stream, tokens, &random);
    ASSERT_EQ(joined.token_ids, expected.token_ids);
    ASSERT_EQ(joined.logprobs.size(), expected.logprobs.size());
    for (size_t i = 0; i < joined.logprobs.size(); ++i) {
      ASSERT_EQ(joined.logprobs[i].reasoning, expected.logprobs[i].reasoning);
      ASSERT_EQ(joined.logprobs[i].text_offset, expected.logprobs[i].text_offset);
    }
  }
}

}  // namespace
}  // namespace hadal::service
