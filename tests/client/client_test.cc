// SPDX-License-Identifier: Apache-2.0
#include "client/client.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/time/clock.h"
#include "tests/client/scripted_server.h"

namespace hadal::client {
namespace {

TEST(ClientTest, RetriesARefusalAfterTheServersTime) {
  ScriptedServer server(2, "150");
  const std::unique_ptr<Client> client = *Client::Connect({.targets = {server.target()}});
  const absl::Time start = absl::Now();
  auto result = client->Chat(Question(), kIgnore);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->text, "hello");
  EXPECT_EQ(result->finish_reason, "stop");
  EXPECT_EQ(server.calls(), 3);
  EXPECT_GE(absl::Now() - start, absl::Milliseconds(290));
  EXPECT_LT(absl::Now() - start, absl::Seconds(60)) << "no back-off of its own";
}

// As a server with --overload-grpc-code=RESOURCE_EXHAUSTED says it. Without a time the code is gRPC's own, for a
// message that is too large.
TEST(ClientTest, AnExhaustedServerThatNamesATimeIsAskedAgain) {
  ScriptedServer server(2, "1"), silent(1, "");
  server.RefuseWith(grpc::StatusCode::RESOURCE_EXHAUSTED);
  silent.RefuseWith(grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_TRUE((*Client::Connect({.targets = {server.target()}}))->Chat(Question(), kIgnore).ok());
  EXPECT_EQ(server.calls(), 3);
  const auto refused = (*Client::Connect({.targets = {silent.target()}}))->Chat(Question(), kIgnore);
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(silent.calls(), 1);
}

TEST(ClientTest, BringsTheTicketOfTheLastRefusal) {
  ScriptedServer server(2, "1");
  ASSERT_TRUE((*Client::Connect({.targets = {server.target()}}))->Chat(Question(), kIgnore).ok());
  EXPECT_EQ(server.tickets(), (std::vector<std::string>{"", "first", ""})) << "the second refusal gave none";
}

TEST(ClientTest, WithoutTheServersTimeItBacksOff) {
  ScriptedServer server(3, "");
  const std::unique_ptr<Client> client =
      *Client::Connect({.targets = {server.target()}, .retry = {.initial_backoff = absl::Milliseconds(2)}});
  EXPECT_TRUE(client->Chat(Question(), kIgnore).ok());
  EXPECT_EQ(server.calls(), 4);
}

TEST(ClientTest, DoesNotWaitBeyondTheDeadline) {
  ScriptedServer server(1, "60000");
  const std::unique_ptr<Client> client =
      *Client::Connect({.targets = {server.target()}, .deadline = absl::Seconds(30)});
  EXPECT_EQ(client->Chat(Question(), kIgnore).status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(server.calls(), 1);
}

TEST(ClientTest, DoesNotRetryWhenTheServerSaysSo) {
  ScriptedServer server(1, "-1");
  const std::unique_ptr<Client> client = *Client::Connect({.targets = {server.target()}});
  EXPECT_EQ(client->Chat(Question(), kIgnore).status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(server.calls(), 1);
}

TEST(ClientTest, AResponseThatBreaksOffIsAskedForAgainByNobody) {
  ScriptedServer server(0, "1"), other(0, "");
  server.FailAfterText();
  other.SetWaiting(1000);
  const std::unique_ptr<Client> client = *Client::Connect({.targets = {server.target(), other.target()}});
  ASSERT_TRUE(client->GetLoad(absl::Seconds(10)).ok());
  std::string seen;
  auto result = client->Chat(Question(), [&](std::string_view, std::string_view text) {
    seen += text;
    return true;
  });
  EXPECT_EQ(
      result.status(),
      absl::AbortedError("lost; the response broke off after 2 pieces with 5 bytes of text and 0 of reasoning, and "
                         "was not asked for again: they would have come twice"));
  EXPECT_EQ(seen, "hello");
  EXPECT_EQ(server.calls(), 1);
  EXPECT_EQ(other.calls(), 0);
}

TEST(ClientTest, AServerThatIsLostBehindAGatewayIsALostServer) {
  // HAProxy's and nginx's cut streams, as gRPC's library tells of them; then hadal's own error.
  for (const grpc::StatusCode code : {grpc::StatusCode::UNKNOWN, grpc::StatusCode::INTERNAL}) {
    for (const bool own : {false, true}) {
      ScriptedServer server(0, "");
      server.FailAfterText(code, own);
      const std::unique_ptr<Client> client = *Client::Connect({.targets = {server.target()}});
      const absl::Status lost = client->Chat(Question(), kIgnore).status();
      EXPECT_EQ(lost.code(), own ? static_cast<absl::StatusCode>(code) : absl::StatusCode::kAborted) << lost;
      EXPECT_EQ(absl::StartsWith(lost.message(), "the server was lost: lost; the response broke off after 2"), !own);
      EXPECT_EQ(server.calls(), 1);
    }
  }
}

TEST(ClientTest, ACallOfWhichNothingCameIsMadeAgainWhenAGatewayLosesItsServer) {
  ScriptedServer server(1, "");
  server.RefuseWith(grpc::StatusCode::INTERNAL);
  server.LeaveOutTheTicket();
  const std::unique_ptr<Client> client =
      *Client::Connect({.targets = {server.target()}, .retry = {.initial_backoff = absl::Milliseconds(1)}});
  const auto result = client->Chat(Question(), kIgnore);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->text, "hello");
  EXPECT_EQ(server.calls(), 2);
}

TEST(ClientTest, AResponseThatIsTooLateSaysHowMuchCame) {
  ScriptedServer server(0, "");
  server.NeverEnd();
  const std::unique_ptr<Client> client = *Client::Connect({.targets = {server.target()}, .deadline = absl::Seconds(2)});
  const absl::Status late = client->Chat(Question(), kIgnore).status();
  EXPECT_EQ(late.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_NE(late.message().find("the response broke off after "), std::string_view::npos) << late;
}

TEST(ClientTest, SendsWhatIsForTheTemplate) {
  ScriptedServer server(0, "");
  ChatOptions options = Question();
  options.chat_template_kwargs = R"({"mood": "glad"})";
  options.documents = {R"({"title": "A"})", "{}"};
  ASSERT_TRUE((*Client::Connect({.targets = {server.target()}}))->Chat(options, kIgnore).ok());
  EXPECT_EQ(server.last_request().chat_template_kwargs(), options.chat_template_kwargs);
  ASSERT_EQ(server.last_request().documents_size(), 2);
  EXPECT_EQ(server.last_request().documents(0), options.documents[0]);
}

TEST(ClientTest, SendsWhatCameOfAResponseToGoOnBehindIt) {
  ScriptedServer server(0, "");
  ChatOptions options = Question();
  options.messages.push_back({"assistant", "hel", "hmm", true});
  ASSERT_TRUE((*Client::Connect({.targets = {server.target()}}))->Chat(options, kIgnore).ok());
  ASSERT_EQ(server.last_request().messages_size(), 2);
  EXPECT_FALSE(server.last_request().messages(0).prefix());
  EXPECT_EQ(server.last_request().messages(1).content(), "hel");
  EXPECT_EQ(server.last_request().messages(1).reasoning_content(), "hmm");
  EXPECT_TRUE(server.last_request().messages(1).prefix());
}

TEST(ClientTest, SendsHowTokensAreChosenAndWhenToEnd) {
  ScriptedServer server(0, "");
  const std::unique_ptr<Client> client = *Client::Connect({.targets = {server.target()}});
  ASSERT_TRUE(client->Chat(Question(), kIgnore).ok());
  EXPECT_FALSE(server.last_request().sampling().has_seed() || server.last_request().sampling().has_top_p());
  ChatOptions options = Question();
  options.seed = 0;
  options.top_p = 0.5;
  options.stop = {"a", "b"};
  ASSERT_TRUE(client->Chat(options, kIgnore).ok());
  EXPECT_TRUE(server.last_request().sampling().has_seed());
  EXPECT_EQ(server.last_request().sampling().top_p(), 0.5f);
  ASSERT_EQ(server.last_request().stopping().stop_size(), 2);
  EXPECT_EQ(server.last_request().stopping().stop(1), "b");
}

TEST(ClientTest, ACallMayHaveAShorterDeadlineThanItsChannel) {
  ScriptedServer server(1, "60000");
  const std::unique_ptr<Client> client = *Client::Connect({.targets = {server.target()}});
  ChatOptions options = Question();
  options.deadline = absl::Seconds(30);
  EXPECT_EQ(client->Chat(options, kIgnore).status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(server.calls(), 1);
}

TEST(ClientTest, SendsItsCallersTraceContext) {
  ScriptedServer server(0, "");
  ChatOptions options = Question();
  options.traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
  options.tracestate = "vendor=1";
  ASSERT_TRUE((*Client::Connect({.targets = {server.target()}}))->Chat(options, kIgnore).ok());
  EXPECT_EQ(server.last_metadata().at("traceparent"), options.traceparent);
  EXPECT_EQ(server.last_metadata().at("tracestate"), "vendor=1");
  ASSERT_TRUE((*Client::Connect({.targets = {server.target()}}))->Chat(Question(), kIgnore).ok());
  EXPECT_EQ(server.last_metadata().count("traceparent"), 0u);
}

TEST(ClientTest, OneAttemptMeansNoRetry) {
  ScriptedServer server(1, "1");
  const std::unique_ptr<Client> client = *Client::Connect({.targets = {server.target()}, .retry = {.max_attempts = 1}});
  EXPECT_EQ(client->Chat(Question(), kIgnore).status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(server.calls(), 1);
}

TEST(ClientTest, OffersTheWholeService) {
  ScriptedServer server(0, "");
  const std::unique_ptr<Client> client =
      *Client::Connect({.targets = {server.target()}, .retry = {.initial_backoff = absl::Milliseconds(2)}});
  EXPECT_TRUE(client->WarmUp(absl::Seconds(10)).ok());
  CompletionOptions completion;
  completion.prompt = "once";
  EXPECT_EQ(client->Complete(completion, kIgnore)->text, "once");
  completion.token_ids = {1, 2, 3};
  EXPECT_EQ(client->Complete(completion, kIgnore)->text, "3");
  EXPECT_EQ(client->Complete(completion, kIgnore)->completion_tokens, 1);
  EXPECT_EQ(*client->Tokenize("AB"), (std::vector<int32_t>{65, 66}));
  EXPECT_EQ(*client->Detokenize({72, 105}), "Hi");
  const auto tokens = client->Tokenize(TokenizeOptions{.text = "C"});
  ASSERT_TRUE(tokens.ok()) << tokens.status();
  EXPECT_EQ(tokens->token_ids, std::vector<int32_t>{67});
  EXPECT_EQ(tokens->max_model_len, 4096);
  EXPECT_EQ(*client->Detokenize(DetokenizeOptions{.token_ids = {33}}), "!");
  const auto models = client->ListModels();
  ASSERT_TRUE(models.ok()) << models.status() << ": a call without a stream is made again, too";
  ASSERT_EQ(models->size(), 1u);
  EXPECT_EQ((*models)[0].id, "m");
  EXPECT_EQ((*models)[0].max_model_len, 4096);
  const auto loads = client->GetLoad(absl::Seconds(10));
  ASSERT_TRUE(loads.ok()) << loads.status();
  ASSERT_EQ(loads->size(), 1u);
  EXPECT_EQ((*loads)[0].target, server.target());
  EXPECT_EQ((*loads)[0].requests_waiting, 3);
  EXPECT_EQ((*loads)[0].predicted_wait, absl::Milliseconds(250));
  EXPECT_TRUE((*loads)[0].ready);
}

TEST(ClientTest, TakesLargeAnswersAndAnyText) {
  ScriptedServer server(0, "");
  const std::unique_ptr<Client> client = *Client::Connect({.targets = {server.target()}});
  std::string text;
  for (int i = 0; i < 300'000; ++i) text += "\u00e9";
  const auto tokens = client->Tokenize(text);  // ten bytes each on the wire
  ASSERT_TRUE(tokens.ok()) << tokens.status();
  EXPECT_EQ(tokens->size(), text.size());
  CompletionOptions completion;
  completion.prompt = "\U0001F419 \u670d\u52a1\u5668\u7e41\u5fd9 e\u0301 \n\t\"";
  EXPECT_EQ(client->Complete(completion, kIgnore)->text, completion.prompt);
}

TEST(ClientTest, AMessageThatIsTooLargeIsNotSentAgain) {
  ScriptedServer server(0, "");
  const std::unique_ptr<Client> client = *Client::Connect({.targets = {server.target()}});
  CompletionOptions completion;
  completion.prompt.assign(5 << 20, 'x');  // above what gRPC's servers take by themselves
  const absl::Time start = absl::Now();
  EXPECT_EQ(client->Complete(completion, kIgnore).status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_LT(absl::Now() - start, absl::Seconds(60)) << "no back-off";
  EXPECT_EQ(server.generations(), 0);
}

TEST(ClientTest, AsksTheOtherServerAtOnce) {
  ScriptedServer full(100, "60000"), free(0, "");
  const std::unique_ptr<Client> client = *Client::Connect({.targets = {full.target(), free.target()}});
  const absl::Time start = absl::Now();
  for (int i = 0; i < 6; ++i) ASSERT_TRUE(client->Chat(Question(), kIgnore).ok());
  EXPECT_EQ(free.calls(), 6);
  EXPECT_LT(absl::Now() - start, absl::Seconds(30));
}

TEST(ClientTest, AServerThatIsAwayCostsNoCall) {
  ScriptedServer server(0, "");
  const std::unique_ptr<Client> client = *Client::Connect({.targets = {"127.0.0.1:1", server.target()}});
  for (int i = 0; i < 12; ++i) ASSERT_TRUE(client->Chat(Question(), kIgnore).ok());
  const absl::Status warm = client->WarmUp(absl::Milliseconds(50));
  EXPECT_EQ(warm.code(), absl::StatusCode::kUnavailable);
  EXPECT_NE(warm.message().find("127.0.0.1:1"), absl::string_view::npos);
  EXPECT_EQ(warm.message().find(server.target()), absl::string_view::npos);
  EXPECT_EQ(client->GetLoad(absl::Seconds(10))->size(), 1u) << "of those that answer";
}

TEST(ClientTest, ABlockingCallCanBeStoppedWhileItWaitsForItsTurn) {
  ScriptedServer server(1, "3600000");
  const std::unique_ptr<Client> client = *Client::Connect({.targets = {server.target()}, .deadline = absl::Hours(24)});
  int asked = 0;
  const auto result = client->Chat(Question(), [&](std::string_view, std::string_view text) {
    EXPECT_EQ(text, "");
    return ++asked < 3;
  });
  EXPECT_TRUE(absl::IsCancelled(result.status())) << result.status();
  EXPECT_EQ(server.calls(), 1);
}

TEST(ClientTest, GoesToTheServerThatSaysThatItHasLess) {
  ScriptedServer first(0, ""), second(0, "");
  first.SetWaiting(100);
  const std::unique_ptr<Client> client = *Client::Connect({.targets = {first.target(), second.target()}});
  ASSERT_TRUE(client->GetLoad(absl::Seconds(10)).ok());
  for (int i = 0; i < 12; ++i) ASSERT_TRUE(client->Chat(Question(), kIgnore).ok());
  EXPECT_EQ(first.calls(), 0);
  EXPECT_EQ(second.calls(), 12);

  // Calls ask again by themselves.
  first.SetWaiting(0);
  second.SetWaiting(100);
  const absl::Time start = absl::Now();
  while (first.calls() < 5 && absl::Now() - start < absl::Seconds(60)) {
    ASSERT_TRUE(client->Chat(Question(), kIgnore).ok());
    absl::SleepFor(absl::Milliseconds(20));
  }
  EXPECT_GE(first.calls(), 5);
}

TEST(ClientTest, AServerThatDrainsIsTheLastResort) {
  ScriptedServer drains(0, ""), serves(0, "");
  drains.Drain();
  serves.SetWaiting(1000);
  const std::unique_ptr<Client> client = *Client::Connect({.targets = {drains.target(), serves.target()}});
  ASSERT_TRUE(client->GetLoad(absl::Seconds(10)).ok());
  for (int i = 0; i < 6; ++i) ASSERT_TRUE(client->Chat(Question(), kIgnore).ok());
  EXPECT_EQ(drains.calls(), 0);
  const std::unique_ptr<Client> alone = *Client::Connect({.targets = {drains.target()}});
  ASSERT_TRUE(alone->GetLoad(absl::Seconds(10)).ok());
  EXPECT_TRUE(alone->Chat(Question(), kIgnore).ok()) << "there is no other";
}

TEST(ClientTest, NobodyThere) {
  const std::unique_ptr<Client> client = *Client::Connect(
      {.targets = {"127.0.0.1:1"}, .retry = {.max_attempts = 2, .initial_backoff = absl::Milliseconds(2)}});
  EXPECT_EQ(client->Chat(Question(), kIgnore).status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(client->GetLoad(absl::Seconds(10)).status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(Client::Connect({.targets = {}}).status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace hadal::client
