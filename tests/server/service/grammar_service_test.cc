// SPDX-License-Identifier: Apache-2.0
#include "server/service/grammar_service.h"

#include <gmock/gmock.h>

#include <atomic>
#include <condition_variable>
#include <map>
#include <mutex>

#include "gtest/gtest.h"
#include "server/request/refusal.h"
#include "tests/support/demo_tokenizer.h"
#include "tests/support/metric_value.h"
#include "tests/support/status_matchers.h"

namespace hadal::service {
namespace {

using request::Reason;
using ::testing::HasSubstr;

struct FakeGrammar : grammar::CompiledGrammar {
  explicit FakeGrammar(int64_t size) : size(size) {}
  std::unique_ptr<models::TokenConstraint> Start() const override { return nullptr; }
  int64_t bytes() const override { return size; }
  int64_t size;
};

// Compiles formats that begin with "slow" only once they are let go, to `slow_size` bytes, and those that begin with
// "takes" in `takes`; "bad" is refused; a number is the grammar's size.
class FakeCompiler : public grammar::GrammarCompiler {
 public:
  absl::StatusOr<std::shared_ptr<const grammar::CompiledGrammar>> Compile(
      const grammar::GrammarSpec& spec) const override {
    ++compiled;
    std::unique_lock<std::mutex> lock(mutex);
    if (spec.format.starts_with("takes")) std::this_thread::sleep_for(takes.load());
    if (spec.format.starts_with("slow")) changed.wait(lock, [&] { return let_go; });
    if (spec.format == "bad") return absl::InvalidArgumentError("no such thing");
    int64_t size = std::isdigit(spec.format[0]) ? std::stoll(spec.format) : 10;
    if (spec.format.starts_with("slow")) size = slow_size;
    return std::make_shared<const FakeGrammar>(size);
  }
  const tokenizer::Tokenizer& tokenizer() const override { return *hadal::testing::DemoTokenizer(); }

  void LetGo() const {
    std::lock_guard<std::mutex> lock(mutex);
    let_go = true;
    changed.notify_all();
  }

  mutable std::atomic<int> compiled{0};
  mutable std::mutex mutex;
  mutable std::condition_variable changed;
  mutable bool let_go = false;
  std::atomic<std::chrono::microseconds> takes{std::chrono::microseconds(0)};
  int64_t slow_size = 10;
};

grammar::GrammarSpec Spec(std::string format) { return {std::move(format), grammar::Reasoning::kNone, false}; }

class GrammarServiceTest : public ::testing::Test {
 protected:
  ~GrammarServiceTest() override { compiler->LetGo(); }
  std::shared_ptr<PendingGrammar> Get(GrammarService& service, const std::string& format,
                                      const std::string& model = "m", const std::string& client = "c") {
    return service.Get(model, compiler, Spec(format), client);
  }
  double Counted(const std::string& result) {
    return hadal::testing::MetricValue(metrics, "hadal_grammar_requests_total{result=\"" + result + "\"}");
  }
  GrammarService::Options Options() { return {.metrics = &metrics}; }

  base::MetricRegistry metrics;
  std::shared_ptr<FakeCompiler> compiler = std::make_shared<FakeCompiler>();
};

TEST_F(GrammarServiceTest, EqualGrammarsAreCompiledOnce) {
  GrammarService service(Options());
  std::vector<std::shared_ptr<PendingGrammar>> together;
  for (int i = 0; i < 20; ++i) together.push_back(Get(service, "slow"));
  EXPECT_FALSE(together[0]->ready());
  compiler->LetGo();
  const auto first = together[0]->Wait();
  ASSERT_OK(first);
  for (const auto& pending : together) EXPECT_EQ(*pending->Wait(), *first);
  EXPECT_EQ(*Get(service, "slow")->Wait(), *first);
  EXPECT_EQ(compiler->compiled, 1);
  EXPECT_EQ(Counted("miss"), 1);
  EXPECT_EQ(Counted("joined"), 19);
  EXPECT_EQ(Counted("hit"), 1);
}

TEST_F(GrammarServiceTest, ModelsAndReasoningAreKeptApart) {
  GrammarService service(Options());
  const auto a = *Get(service, "x", "a")->Wait(), b = *Get(service, "x", "b")->Wait();
  const auto open = *service.Get("a", compiler, {"x", grammar::Reasoning::kOpen, false}, "c")->Wait();
  EXPECT_NE(a, b);
  EXPECT_NE(a, open);
  EXPECT_EQ(compiler->compiled, 3);
}

TEST_F(GrammarServiceTest, TheCacheForgetsTheLeastRecentlyUsed) {
  GrammarService::Options options = Options();
  options.cache_bytes = 3000;
  GrammarService service(options);
  ASSERT_OK(Get(service, "1000")->Wait());
  ASSERT_OK(Get(service, "1001")->Wait());
  ASSERT_OK(Get(service, "1000")->Wait());  // now the more recent one
  ASSERT_OK(Get(service, "1002")->Wait());
  EXPECT_EQ(compiler->compiled, 3);
  ASSERT_OK(Get(service, "1000")->Wait());
  EXPECT_EQ(compiler->compiled, 3);
  ASSERT_OK(Get(service, "1001")->Wait());
  EXPECT_EQ(compiler->compiled, 4);
  EXPECT_LE(service.cached_bytes(), 3000);
  ASSERT_OK(Get(service, "5000")->Wait());  // larger than the cache: served, not kept
  ASSERT_OK(Get(service, "5000")->Wait());
  EXPECT_EQ(compiler->compiled, 6);
}

TEST_F(GrammarServiceTest, WhatTakesTooLongIsRefusedAndServesLaterCalls) {
  GrammarService::Options options = Options();
  options.time_limit = absl::Seconds(2);  // the quick one has it too, on a thread of low priority
  GrammarService service(options);
  const auto slow = Get(service, "slow");
  const auto quick = Get(service, "quick");
  EXPECT_OK(quick->Wait()) << "another thread compiles it meanwhile";
  const auto refused = slow->Wait();
  EXPECT_EQ(request::GetErrorDetail(refused.status()).reason, Reason::kInvalidRequest);
  EXPECT_THAT(std::string(refused.status().message()), HasSubstr("longer than 2s"));
  EXPECT_FALSE(Get(service, "slow")->Wait().ok()) << "it is not started again";
  EXPECT_EQ(compiler->compiled, 2);
  compiler->LetGo();
  for (int i = 0; i < 60'000 && !Get(service, "slow")->Wait().ok(); ++i) absl::SleepFor(absl::Milliseconds(1));
  EXPECT_OK(Get(service, "slow")->Wait());
  EXPECT_EQ(compiler->compiled, 2);
  EXPECT_GE(Counted("too_slow"), 2);
}

TEST_F(GrammarServiceTest, TooManyAreRefusedAsBusy) {
  GrammarService::Options options = Options();
  options.threads = 1;
  options.max_waiting = 2;
  options.time_limit = absl::Seconds(4);
  GrammarService service(options);
  const auto running = Get(service, "slow");
  while (compiler->compiled == 0) absl::SleepFor(absl::Milliseconds(1));
  absl::SleepFor(absl::Seconds(2));  // so that the others' time is not up together with its own
  const auto waiting = Get(service, "a", "m", "first");
  Get(service, "b", "m", "second");
  const auto refused = Get(service, "c", "m", "third")->Wait();
  EXPECT_EQ(request::GetErrorDetail(refused.status()).reason, Reason::kGrammarQueueFull);
  EXPECT_TRUE(request::GetErrorDetail(refused.status()).retry_after.has_value());
  // The slow one moves to a spare lane; those that only waited get its place.
  EXPECT_OK(waiting->Wait());
  EXPECT_EQ(request::GetErrorDetail(running->Wait().status()).reason, Reason::kInvalidRequest);
  compiler->LetGo();
  EXPECT_OK(Get(service, "d")->Wait());
}

TEST_F(GrammarServiceTest, ACompilersRefusalIsTheCallersAndRemembered) {
  GrammarService service(Options());
  for (int i = 0; i < 3; ++i) {
    const auto refused = Get(service, "bad")->Wait();
    EXPECT_EQ(request::GetErrorDetail(refused.status()).reason, Reason::kInvalidRequest);
    EXPECT_THAT(std::string(refused.status().message()), HasSubstr("no such thing"));
  }
  EXPECT_EQ(compiler->compiled, 1);
  EXPECT_EQ(Counted("refused"), 1);
  EXPECT_EQ(Counted("known_refusal"), 2);
}

TEST_F(GrammarServiceTest, WhatWasTooSlowAndCannotBeKeptIsNotCompiledAgain) {
  GrammarService::Options options = Options();
  options.time_limit = absl::Seconds(1.5);  // in which its compilation begins
  options.cache_bytes = 1000;
  compiler->slow_size = 5000;
  GrammarService service(options);
  EXPECT_FALSE(Get(service, "slow")->Wait().ok());
  compiler->LetGo();
  for (int i = 0; i < 60'000 && Counted("known_refusal") == 0; ++i) {
    absl::SleepFor(absl::Milliseconds(1));
    const auto again = Get(service, "slow")->Wait();
    EXPECT_EQ(request::GetErrorDetail(again.status()).reason, Reason::kInvalidRequest);
    EXPECT_THAT(std::string(again.status().message()), HasSubstr("longer than 1.5s"));
  }
  EXPECT_EQ(Counted("known_refusal"), 1);
  EXPECT_EQ(compiler->compiled, 1);
}

TEST_F(GrammarServiceTest, SixClientsWithSlowSchemasDoNotShutOutTheOthers) {
  GrammarService::Options options = Options();
  options.time_limit = absl::Seconds(1.5);
  GrammarService service(options);
  for (int client = 0; client < 6; client += 2) {  // two lanes: two at a time
    const std::string first = std::to_string(client), second = std::to_string(client + 1);
    const auto a = Get(service, "slow" + first, "m", first), b = Get(service, "slow" + second, "m", second);
    EXPECT_EQ(request::GetErrorDetail(a->Wait().status()).reason, Reason::kInvalidRequest);
    EXPECT_EQ(request::GetErrorDetail(b->Wait().status()).reason, Reason::kInvalidRequest);
  }
  EXPECT_EQ(compiler->compiled, 6);
  EXPECT_OK(Get(service, "quick", "m", "other")->Wait());
  compiler->LetGo();  // the service waits for them
}

TEST_F(GrammarServiceTest, AClientHoldsNoMoreThanItsShare) {
  GrammarService::Options options = Options();
  options.max_waiting = 8;
  options.time_limit = absl::Seconds(1.5);
  GrammarService service(options);
  std::vector<std::shared_ptr<PendingGrammar>> flood;
  for (int i = 0; i < 20; ++i) flood.push_back(Get(service, "slow" + std::to_string(i), "m", "flood"));
  const auto refused = flood.back()->Wait();
  EXPECT_EQ(request::GetErrorDetail(refused.status()).reason, Reason::kGrammarQueueFull);
  EXPECT_THAT(std::string(refused.status().message()), HasSubstr("this client has 2/2 schemas"));
  for (int round = 0; round < 3; ++round) {
    absl::SleepFor(options.time_limit + absl::Milliseconds(20));
    for (int i = 0; i < 20; ++i) Get(service, "slow" + std::to_string(100 * round + i), "m", "flood");
    EXPECT_OK(Get(service, "quick" + std::to_string(round), "m", "other")->Wait());
  }
  compiler->LetGo();
}

// The lane of one that is done is free; who watches the time must not free it again, nor count it as too slow.
TEST_F(GrammarServiceTest, WhatIsDoneAtItsLimitIsEitherInTimeOrTooSlow) {
  GrammarService::Options options = Options();
  options.time_limit = absl::Microseconds(300);
  GrammarService service(options);
  auto takes = std::chrono::microseconds(200);
  int too_slow = 0, waited_too_long = 0;
  for (int i = 0; i < 6000; ++i) {
    compiler->takes = takes;
    const auto compiled = Get(service, "takes" + std::to_string(i), "m", std::to_string(i))->Wait();
    takes += std::chrono::microseconds(compiled.ok() ? 1 : -1);  // and so each ends about when its time is up
    if (!compiled.ok()) {
      ++(request::GetErrorDetail(compiled.status()).reason == Reason::kInvalidRequest ? too_slow : waited_too_long);
    }
  }
  EXPECT_EQ(Counted("too_slow"), too_slow);
  EXPECT_EQ(Counted("busy"), waited_too_long);
}

TEST_F(GrammarServiceTest, CallbacksRunOnceEachAndAtOnceWhenReady) {
  GrammarService service(Options());
  const auto pending = Get(service, "slow");
  std::atomic<int> called{0};
  pending->OnReady([&] { ++called; });
  EXPECT_EQ(called, 0);
  compiler->LetGo();
  ASSERT_OK(pending->Wait());
  for (int i = 0; i < 60'000 && called == 0; ++i) absl::SleepFor(absl::Milliseconds(1));
  pending->OnReady([&] { ++called; });
  EXPECT_EQ(called, 2);
}

TEST_F(GrammarServiceTest, StoppingAnswersThoseThatWait) {
  GrammarService::Options options = Options();
  options.threads = 1;
  auto service = std::make_unique<GrammarService>(options);
  const auto running = Get(*service, "slow");
  while (compiler->compiled == 0) absl::SleepFor(absl::Milliseconds(1));
  const auto waiting = Get(*service, "a");
  std::thread stopper([&] { service.reset(); });
  absl::SleepFor(absl::Seconds(1));  // in which it has begun to stop
  compiler->LetGo();
  stopper.join();
  EXPECT_OK(running->Wait());
  EXPECT_FALSE(waiting->Wait().ok());
}

}  // namespace
}  // namespace hadal::service
