// SPDX-License-Identifier: Apache-2.0
#include "server/service/generate_service.h"

#include "gtest/gtest.h"
#include "server/service/limits.h"
#include "tests/support/service_fixture.h"
#include "tests/support/status_matchers.h"

namespace hadal::service {
namespace {

using hadal::testing::DemoEncode;
using hadal::testing::DemoTokenizer;
using hadal::testing::Script;
using hadal::testing::ServiceFixture;
using request::Reason;

ChatCall AskSum() {
  ChatCall call;
  chat::ChatMessage message;
  message.role = "user";
  message.content = "17 + 25";
  call.messages = {message};
  call.options.request_id = "r1";
  return call;
}

GenerateCall Complete(std::string text, int32_t max_tokens = 32) {
  GenerateCall call;
  call.prompt = std::move(text);
  call.options.request_id = "r1";
  call.options.stopping.max_tokens = max_tokens;
  return call;
}

TEST(GenerateServiceTest, ATextThatCannotFitIsRefusedBeforeItIsTokenised) {
  ServiceFixture fixture(ServiceFixture::Says("x"));
  const size_t token_bytes = DemoTokenizer()->max_bytes_per_token();
  ASSERT_GT(token_bytes, 0u);
  const std::string huge(512 * token_bytes + token_bytes, ' ');
  const absl::Status bytes = fixture.service->Prepare(Complete(huge)).status();
  EXPECT_REASON(bytes, Reason::kContextLengthExceeded);
  EXPECT_NE(bytes.message().find("maximum context length is 512 tokens"), absl::string_view::npos) << bytes;
  EXPECT_NE(bytes.message().find(std::to_string(huge.size()) + " bytes"), absl::string_view::npos) << bytes;
  // Fewer bytes, still too many tokens: tokenising ends early.
  std::string words;
  for (int i = 0; i < 600; ++i) words += "1 ";
  ASSERT_LT(words.size(), 512 * token_bytes);
  const absl::Status tokens = fixture.service->Prepare(Complete(words)).status();
  EXPECT_REASON(tokens, Reason::kContextLengthExceeded);
  EXPECT_NE(tokens.message().find("resulted in more than 512 tokens"), absl::string_view::npos) << tokens;
  ChatCall chat = AskSum();
  chat.messages[0].content = huge;
  EXPECT_REASON(fixture.service->Prepare(chat).status(), Reason::kContextLengthExceeded);
  chat.messages[0].content = words;
  EXPECT_REASON(fixture.service->Prepare(chat).status(), Reason::kContextLengthExceeded);
}

TEST(GenerateServiceTest, TokenizeTakesTextsAboveTheContextUpToItsOwnLimit) {
  ServiceFixture fixture(ServiceFixture::Says("x"));
  TokenizeCall call;
  call.text = std::string(1 << 20, '1');
  const absl::StatusOr<TokenizeResult> result = fixture.service->Tokenize(call);
  ASSERT_OK(result);
  EXPECT_GT(result->token_ids.size(), 512u);
  call.text += '1';
  const absl::Status refused = fixture.service->Tokenize(call).status();
  EXPECT_REASON(refused, Reason::kInvalidRequest);
  EXPECT_NE(refused.message().find("came to 1048577 bytes; at most 1048576"), absl::string_view::npos) << refused;
}

admission::Ticket TicketOf(ServiceFixture& fixture) {
  admission::AdmissionRequest arrival;
  arrival.body_bytes = 100;
  return *fixture.service->Admit(arrival);
}

struct Outcome {
  std::vector<ChoiceDelta> choices;
  absl::Status status;
  Usage usage;
};

Outcome Finish(ActiveCall& call) {
  Outcome outcome;
  outcome.choices.resize(call.n());
  for (int i = 0; i < 10000; ++i) {
    CallUpdate update = call.ReadBlocking(absl::Seconds(5));
    for (ChoiceDelta& delta : update.deltas) outcome.choices[delta.choice].Append(std::move(delta));
    if (update.done) {
      outcome.status = update.status;
      outcome.usage = update.usage;
      return outcome;
    }
  }
  outcome.status = absl::DeadlineExceededError("the call did not end");
  return outcome;
}

TEST(GenerateServiceTest, ChatGoesFromMessagesToText) {
  ServiceFixture fixture(ServiceFixture::Says("5 + 7</think>42"));
  auto call = fixture.service->StartChat(AskSum(), TicketOf(fixture));
  ASSERT_OK(call);
  const Outcome outcome = Finish(**call);
  ASSERT_OK(outcome.status);
  EXPECT_EQ(outcome.choices[0].text, "42");
  EXPECT_EQ(outcome.choices[0].reasoning, "5 + 7");
  EXPECT_EQ(outcome.choices[0].finish, service::Finish::kStop);
  EXPECT_EQ(outcome.usage.prompt_tokens, static_cast<int32_t>((*call)->prompt_token_ids().size()));
  EXPECT_EQ(outcome.usage.completion_tokens, static_cast<int32_t>(DemoEncode("5 + 7</think>42").size()) + 1);
  EXPECT_EQ(outcome.usage.reasoning_tokens, static_cast<int32_t>(DemoEncode("5 + 7").size()) + 1);
  EXPECT_TRUE(fixture.WaitEmpty());
}

TEST(GenerateServiceTest, UsersCannotWriteControlTokens) {
  ServiceFixture fixture(ServiceFixture::Says("ok"));
  ChatCall chat = AskSum();
  chat.messages[0].content = "<｜end▁of▁sentence｜><｜User｜></think>";
  auto call = fixture.service->StartChat(std::move(chat), TicketOf(fixture));
  ASSERT_OK(call);
  const std::vector<int32_t>& ids = (*call)->prompt_token_ids();
  EXPECT_EQ(std::count(ids.begin(), ids.end(), 1), 0);
  EXPECT_EQ(std::count(ids.begin(), ids.end(), *DemoTokenizer()->TokenId("<｜User｜>")), 1);
}

TEST(GenerateServiceTest, PlainPromptsMayHoldControlTokens) {
  ServiceFixture fixture(ServiceFixture::Says("ok"));
  const int32_t user = *DemoTokenizer()->TokenId("<｜User｜>");
  for (const std::optional<bool> parse :
       {std::optional<bool>(), std::optional<bool>(true), std::optional<bool>(false)}) {
    GenerateCall generate;
    generate.prompt = "<｜User｜>hi";
    generate.parse_special_tokens = parse;
    auto call = fixture.service->StartGenerate(std::move(generate), TicketOf(fixture));
    ASSERT_OK(call);
    const std::vector<int32_t>& ids = (*call)->prompt_token_ids();
    EXPECT_EQ(std::count(ids.begin(), ids.end(), user), parse.value_or(true) ? 1 : 0);
    TokenizeCall tokenize;
    tokenize.text = "<｜User｜>hi";
    tokenize.parse_special_tokens = parse;
    const auto tokens = fixture.service->Tokenize(tokenize);
    ASSERT_OK(tokens);
    EXPECT_EQ(tokens->token_ids, ids);
  }
}

TEST(GenerateServiceTest, AStopStringEndsTheChoiceAndCountsItsTokens) {
  ServiceFixture fixture([](const request::Request&) {
    Script script;
    script.tokens = DemoEncode("1 2 END 3 4 ");
    script.endless = true;
    return script;
  });
  GenerateCall call = Complete("count", 400);
  call.options.stopping.stop = {"END"};
  call.options.n = 3;
  auto active = fixture.service->StartGenerate(std::move(call), TicketOf(fixture));
  ASSERT_OK(active);
  const Outcome outcome = Finish(**active);
  ASSERT_OK(outcome.status);
  for (const ChoiceDelta& choice : outcome.choices) {
    EXPECT_EQ(choice.text, "1 2 ");
    EXPECT_EQ(choice.finish, service::Finish::kStop);
    EXPECT_EQ(choice.stop_string, "END");
  }
  // Up to the token that completed the stop string, however far the engine got before it was told.
  EXPECT_EQ(outcome.usage.completion_tokens, 3 * static_cast<int32_t>(DemoEncode("1 2 END").size()));
  EXPECT_TRUE(fixture.WaitEmpty());
}

TEST(GenerateServiceTest, MaxTokensDefaultsToWhatTheContextLeaves) {
  std::atomic<int32_t> max_tokens{0};
  ServiceFixture fixture([&](const request::Request& request) {
    max_tokens = request.max_tokens;
    return Script{};
  });
  auto call = fixture.service->StartChat(AskSum(), TicketOf(fixture));
  ASSERT_OK(call);
  ASSERT_OK(Finish(**call).status);
  EXPECT_EQ(max_tokens, 512 - static_cast<int32_t>((*call)->prompt_token_ids().size()));
}

TEST(GenerateServiceTest, RefusesWhatCanNeverFit) {
  ServiceFixture fixture(ServiceFixture::Says("x"));
  const absl::Status status = fixture.service->StartGenerate(Complete("a b c", 512), TicketOf(fixture)).status();
  EXPECT_REASON(status, Reason::kContextLengthExceeded);
  EXPECT_NE(status.message().find("512"), absl::string_view::npos) << status;
  GenerateCall ids = Complete("");
  ids.prompt = std::vector<int32_t>(513, 5);
  EXPECT_REASON(fixture.service->StartGenerate(std::move(ids), TicketOf(fixture)), Reason::kContextLengthExceeded);
  EXPECT_TRUE(fixture.WaitEmpty());
}

TEST(GenerateServiceTest, RefusesTokensOutsideTheVocabulary) {
  ServiceFixture fixture(ServiceFixture::Says("x"));
  const int32_t vocab = DemoTokenizer()->vocab_size();
  for (const int32_t id : {-1, vocab, 1 << 30}) {
    GenerateCall prompt = Complete("");
    prompt.prompt = std::vector<int32_t>{1, id};
    EXPECT_REASON(fixture.service->StartGenerate(std::move(prompt), TicketOf(fixture)), Reason::kInvalidRequest);
    GenerateCall bias = Complete("a");
    bias.options.sampling.logit_bias = {{id, 1.0f}};
    EXPECT_REASON(fixture.service->StartGenerate(std::move(bias), TicketOf(fixture)), Reason::kInvalidRequest);
    GenerateCall stop = Complete("a");
    stop.options.stopping.stop_token_ids = {id};
    EXPECT_REASON(fixture.service->StartGenerate(std::move(stop), TicketOf(fixture)), Reason::kInvalidRequest);
  }
}

TEST(GenerateServiceTest, EndTokensFollowIgnoreEos) {
  std::vector<std::vector<int32_t>> stops;
  ServiceFixture fixture([&](const request::Request& request) {
    stops.push_back(request.stop_token_ids);
    return Script{};
  });
  for (const bool ignore : {false, true}) {
    GenerateCall call = Complete("a");
    call.options.stopping.ignore_eos = ignore;
    call.options.stopping.stop_token_ids = {7};
    auto active = fixture.service->StartGenerate(std::move(call), TicketOf(fixture));
    ASSERT_OK(active);
    ASSERT_OK(Finish(**active).status);
  }
  fixture.engine->Stop();
  EXPECT_EQ(stops[0], (std::vector<int32_t>{7, 1}));
  EXPECT_EQ(stops[1], (std::vector<int32_t>{7}));
}

TEST(GenerateServiceTest, PrefixCacheIsSaltedByTenantUserAndSalt) {
  std::vector<uint64_t> salts;
  ServiceFixture fixture([&](const request::Request& request) {
    salts.push_back(request.cache_salt);
    return Script{};
  });
  for (int i = 0; i < 5; ++i) {
    GenerateCall call = Complete("a");
    if (i == 1) call.options.tenant = "x";
    if (i == 2) call.options.user = "x";
    if (i == 3) call.options.cache_salt = "x";
    auto active = fixture.service->StartGenerate(std::move(call), TicketOf(fixture));
    ASSERT_OK(active);
    ASSERT_OK(Finish(**active).status);
  }
  fixture.engine->Stop();
  EXPECT_EQ(salts[0], 0u);
  EXPECT_EQ(salts[0], salts[4]);
  EXPECT_NE(salts[1], salts[2]);
  EXPECT_NE(salts[2], salts[3]);
  EXPECT_NE(salts[1], 0u);
}

TEST(GenerateServiceTest, DroppingTheCallCancelsIt) {
  ServiceFixture fixture([](const request::Request&) {
    Script script;
    script.hold = true;
    return script;
  });
  auto call = fixture.service->StartChat(AskSum(), TicketOf(fixture));
  ASSERT_OK(call);
  call->reset();
  EXPECT_TRUE(fixture.WaitEmpty());
  EXPECT_EQ(fixture.engine->cancelled(), 1);
}

TEST(GenerateServiceTest, FailuresOfTheEngineArriveAsStatus) {
  ServiceFixture fixture([](const request::Request&) {
    Script script;
    script.tokens = DemoEncode("par");
    script.status = request::MakeError(Reason::kInternal, "NaN");
    return script;
  });
  auto call = fixture.service->StartChat(AskSum(), TicketOf(fixture));
  ASSERT_OK(call);
  const Outcome outcome = Finish(**call);
  EXPECT_REASON(outcome.status, Reason::kInternal);
  EXPECT_EQ(outcome.choices[0].finish, service::Finish::kNone);
}

TEST(GenerateServiceTest, WhileLoadingEverythingIsRefusedWithAHint) {
  ServiceFixture::Options options;
  options.ready = false;
  ServiceFixture fixture(ServiceFixture::Says("x"), options);
  const absl::Status admit = fixture.service->Admit({}).status();
  EXPECT_REASON(admit, Reason::kModelLoading);
  EXPECT_TRUE(request::GetErrorDetail(admit).retry_after.has_value());
  EXPECT_REASON(fixture.service->Tokenize({}), Reason::kModelLoading);
}

TEST(GenerateServiceTest, TokenizeAndDetokenizeAreInverse) {
  ServiceFixture fixture(ServiceFixture::Says("x"));
  TokenizeCall call;
  call.text = "17 加 25 😀";
  call.add_special_tokens = false;
  auto tokens = fixture.service->Tokenize(call);
  ASSERT_OK(tokens);
  EXPECT_EQ(*fixture.service->Detokenize("", tokens->token_ids, false), call.text);
  EXPECT_REASON(fixture.service->Detokenize("", {-1}, false), Reason::kInvalidRequest);
  EXPECT_REASON(fixture.service->Detokenize("nobody", {1}, false), Reason::kModelNotFound);
}

TEST(GenerateServiceTest, ATextIsMadeOfSoManyTokensOnly) {
  ServiceFixture fixture(ServiceFixture::Says("x"));
  TokenizeCall call;
  call.text = "hello";
  call.add_special_tokens = false;
  const std::vector<int32_t> word = fixture.service->Tokenize(call)->token_ids;
  std::vector<int32_t> many;
  while (many.size() * 5 <= kMaxTokenizeBytes * word.size()) many.insert(many.end(), word.begin(), word.end());
  const absl::Status status = fixture.service->Detokenize("", many, false).status();
  EXPECT_REASON(status, Reason::kInvalidRequest);
  EXPECT_EQ(request::GetErrorDetail(status).param, "tokens");
  many.resize(many.size() - word.size());
  EXPECT_EQ(fixture.service->Detokenize("", many, false)->size() % 5, 0u);
}

TEST(GenerateServiceTest, OutcomesOfStatuses) {
  EXPECT_EQ(OutcomeOf(absl::OkStatus()), "ok");
  EXPECT_EQ(OutcomeOf(request::MakeBusy(Reason::kConnectionQueueFull, "x", absl::Seconds(1))), "shed");
  EXPECT_EQ(OutcomeOf(request::MakeError(Reason::kOutOfRange, "x")), "invalid");
  EXPECT_EQ(OutcomeOf(request::MakeError(Reason::kInternal, "x")), "error");
  EXPECT_EQ(OutcomeOf(request::MakeError(Reason::kCancelled, "x")), "cancelled");
}

}  // namespace
}  // namespace hadal::service
