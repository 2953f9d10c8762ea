// SPDX-License-Identifier: Apache-2.0
// The engine with a model that has windowed caches: ScriptedModel reports any window slot that does not hold the row it
// should, and LoopFixture checks the accounts of both pools after every round.
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/engine/engine.h"
#include "server/engine/step_loop.h"
#include "tests/support/loop_fixture.h"
#include "tests/support/status_matchers.h"

namespace hadal::engine {
namespace {

using hadal::testing::LoopFixture;
using hadal::testing::Received;
using hadal::testing::ScriptedModel;
using ::testing::HasSubstr;

LoopFixture::Config Config() {
  return {.block_tokens = 4, .max_batch_size = 4, .max_batch_tokens = 16, .window_tokens = 6};
}

TEST(WindowTest, LongAnswersHoldNoMoreThanTheirWindow) {
  LoopFixture f(Config());
  auto stream = f.Submit(LoopFixture::Prompt(50), 100);
  Received got;
  while (f.Round().progressed) {
    got.Read(*stream);
    if (!got.tokens[0].empty()) {
      EXPECT_LE(f.published->leased_window_blocks, 3) << "a window of 6 tokens, its neighbour, blocks of 4";
    }
  }
  EXPECT_EQ(got.tokens[0], f.Expected(LoopFixture::Prompt(50), 100));
  EXPECT_GT(f.published->cached_window_blocks, 0);
  f.ExpectEmpty();
}

TEST(WindowTest, APrefixHitFindsItsWindow) {
  LoopFixture f(Config());
  const std::vector<int32_t> prompt = LoopFixture::Prompt(41);
  EXPECT_EQ(f.Finish(f.Submit(prompt, 5)).tokens[0], f.Expected(prompt, 5));
  Received again = f.Finish(f.Submit(prompt, 5));
  EXPECT_EQ(again.tokens[0], f.Expected(prompt, 5));
  EXPECT_EQ(again.usage.cached_tokens, 40);
  f.ExpectEmpty();
}

// The window before the common part's end was computed in the middle of a chunk.
TEST(WindowTest, ACommonOpeningIsSharedThoughItEndsInsideAChunk) {
  LoopFixture::Config config = Config();
  config.max_batch_tokens = 64;
  LoopFixture f(config);
  std::vector<int32_t> first = LoopFixture::Prompt(48), second = first;
  second.resize(25);
  second.insert(second.end(), 20, 7);
  f.Finish(f.Submit(first, 3));
  Received got = f.Finish(f.Submit(second, 3));
  EXPECT_EQ(got.tokens[0], f.Expected(second, 3));
  EXPECT_EQ(got.usage.cached_tokens, 24);
}

TEST(WindowTest, AHitIsShortenedToWhereItsWindowIsLeft) {
  LoopFixture::Config config = Config();
  config.max_batch_size = 1;
  config.max_batch_tokens = 64;
  LoopFixture f(config);  // 3 reserved blocks and 2 * 16 for chunks
  const std::vector<int32_t> prompt = LoopFixture::Prompt(61), opening(prompt.begin(), prompt.begin() + 25);
  f.Finish(f.Submit(prompt, 1));
  // Others push its windows out, but not those before token 24, which are used again and again. All KV blocks stay.
  for (int i = 0; i < 14; ++i) {
    f.Finish(f.Submit(LoopFixture::Prompt(14, 20 + i), 2));
    EXPECT_EQ(f.Finish(f.Submit(opening, 1)).usage.cached_tokens, 24);
  }
  EXPECT_GT(f.published->cached_blocks, 15 + 14 * 3 - 1);
  for (const int32_t cached : {24, 60}) {  // the first one brings the windows back
    Received got = f.Finish(f.Submit(prompt, 3));
    EXPECT_EQ(got.tokens[0], f.Expected(prompt, 3));
    EXPECT_EQ(got.usage.cached_tokens, cached);
  }
  f.ExpectEmpty();
}

TEST(WindowTest, FurtherChoicesShareThePromptsWindow) {
  LoopFixture f(Config());
  auto request = LoopFixture::MakeRequest(LoopFixture::Prompt(30), 12);
  request->n = 4;
  Received got = f.Finish(f.Submit(std::move(request)));
  ASSERT_EQ(got.tokens.size(), 4u);
  for (const auto& [choice, tokens] : got.tokens) EXPECT_EQ(tokens, f.Expected(LoopFixture::Prompt(30), 12));
  EXPECT_GE(f.observer.hit_tokens, 3 * 28);
  f.ExpectEmpty();
}

TEST(WindowTest, APreemptedSequenceComesBackToTheSameTokens) {
  LoopFixture::Config config = Config();
  config.blocks = 16;
  config.ledger_blocks = 100;
  LoopFixture f(config);
  std::vector<std::shared_ptr<request::TokenStream>> streams;
  for (int i = 0; i < 4; ++i) streams.push_back(f.Submit(LoopFixture::Prompt(9, i), 40));
  f.RunUntilIdle();
  EXPECT_GT(f.observer.preemptions, 0);
  for (int i = 0; i < 4; ++i) {
    Received got;
    got.Read(*streams[i]);
    EXPECT_EQ(got.tokens[0], f.Expected(LoopFixture::Prompt(9, i), 40));
  }
  f.ExpectEmpty();
}

// Paused requests have no slot in the batch, but keep their windows: a request that is to start waits for one of them.
TEST(WindowTest, AStalledReaderGivesItsWindowToTheNext) {
  LoopFixture::Config config = Config();
  config.max_batch_size = 2;
  config.max_batch_tokens = 8;
  LoopFixture f(config);
  std::vector<std::shared_ptr<request::TokenStream>> slow;
  for (int i = 0; i < 2; ++i) {
    auto request = LoopFixture::MakeRequest(LoopFixture::Prompt(5, i), 200);
    request->stream = std::make_shared<request::TokenStream>(4);
    slow.push_back(f.Submit(std::move(request)));
  }
  f.RunUntilIdle();
  EXPECT_EQ(f.published->paused_requests, 2);
  auto next = f.Submit(LoopFixture::Prompt(9, 7), 3);
  f.Round();
  EXPECT_EQ(f.admission.controller->GetLoad().waiting, 1) << "both windows are held";
  f.admission.clock.Advance(absl::Seconds(2));
  Received got = f.Finish(next);
  EXPECT_EQ(got.tokens[0], f.Expected(LoopFixture::Prompt(9, 7), 3));
  for (auto& stream : slow) stream->Cancel();
  f.RunUntilIdle();
  f.ExpectEmpty();
}

TEST(WindowTest, AFaultyRowLeavesNoWindowBehind) {
  LoopFixture f(Config());
  f.model.script = [](const std::vector<int32_t>& context) {
    return context.size() == 30 ? ScriptedModel::kFaulty : -1;
  };
  const std::vector<int32_t> prompt = LoopFixture::Prompt(30);
  EXPECT_FALSE(f.Finish(f.Submit(prompt, 3)).status.ok());
  EXPECT_EQ(f.published->cached_window_blocks, 0);
  EXPECT_EQ(f.published->cached_blocks, 0);
  f.ExpectEmpty();
}

TEST(WindowTest, TheEngineRefusesAPoolThatIsTooSmall) {
  LoopFixture f(Config());
  auto model = std::make_shared<ScriptedModel>(ScriptedModel::Options{.window_tokens = 6});
  EngineOptions options = f.options;
  --options.num_window_blocks;
  const absl::Status status = Engine::Create(options, model, f.admission.controller.get(), 0).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("num_window_blocks is 19"));
  options = f.options;
  options.block_tokens = 3;
  options.num_window_blocks = 100;
  auto compressed = std::make_shared<ScriptedModel>(ScriptedModel::Options{.window_tokens = 6, .tokens_per_entry = 2});
  EXPECT_THAT(std::string(Engine::Create(options, compressed, f.admission.controller.get(), 0).status().message()),
              HasSubstr("a multiple of 2"));
}

}  // namespace
}  // namespace hadal::engine
