// SPDX-License-Identifier: Apache-2.0
#include "server/service/call_pipeline.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "server/base/notification.h"
#include "tests/support/service_fixture.h"
#include "tests/support/status_matchers.h"

namespace hadal::service {
namespace {

using hadal::testing::DemoEncode;
using hadal::testing::DemoTokenizer;
using hadal::testing::Script;
using hadal::testing::ServiceFixture;
using request::MakeError;
using request::Priority;
using request::Reason;
using Progress = CallPipeline::Progress;

constexpr std::string_view kRoute = "/test";

// Blocks whoever waits until it is opened.
class Gate {
 public:
  void Wait() {
    waiting_.store(true);
    open_.WaitFor(absl::InfiniteDuration());
  }
  void Open() { open_.Notify(); }
  void AwaitVisitor() const {
    while (!waiting_.load()) std::this_thread::yield();
  }

 private:
  base::Notification open_;  // ThreadSanitizer cannot see the order that std::future makes
  std::atomic<bool> waiting_{false};
};

GenerateCall Complete(std::string text) {
  GenerateCall call;
  call.prompt = std::move(text);
  call.options.stopping.max_tokens = 16;
  return call;
}

DecodedRequest Prompts(std::vector<std::string> texts) {
  DecodedRequest request;
  for (std::string& text : texts) request.calls.emplace_back(Complete(std::move(text)));
  request.body_bytes = 100;
  return request;
}

CallPipeline::Decode Decodes(std::vector<std::string> texts) {
  return [texts = std::move(texts)]() -> absl::StatusOr<DecodedRequest> { return Prompts(texts); };
}

CallInfo Info(Protocol protocol = Protocol::kGrpc) {
  CallInfo info;
  info.protocol = protocol;
  info.route = kRoute;
  info.request_id = "r";
  info.arrival = base::Clock::Real()->Now();
  return info;
}

// A front: counts what it is told, and reads until the end.
struct Front {
  explicit Front(ServiceFixture& fixture, CallInfo info = Info())
      : pipeline(CallPipeline::Create(fixture.service.get(), std::move(info), [count = notified] { ++*count; })) {}
  ~Front() { pipeline->Finish(MakeError(Reason::kInternal, "the test has not finished it"), 13); }

  void AdmitAndSubmit(CallPipeline::Decode decode) {
    ASSERT_OK(pipeline->Admit(100));
    pipeline->Submit(std::move(decode));
  }
  Progress Read() {
    return pipeline->Read([&](size_t index, const ActiveCall&, CallUpdate&& update) {
      if (texts.size() <= index) texts.resize(index + 1);
      for (const ChoiceDelta& delta : update.deltas) texts[index] += delta.text;
    });
  }
  // Reads only when told to, as fronts do.
  absl::Status ReadToEnd() {
    const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    int seen = 0;
    while (std::chrono::steady_clock::now() < give_up) {
      const int now = notified->load();
      if (now == seen) {
        std::this_thread::sleep_for(std::chrono::microseconds(50));
        continue;
      }
      seen = now;
      if (Read() == Progress::kEnded) return pipeline->status();
    }
    return absl::DeadlineExceededError("the pipeline did not end");
  }
  bool AwaitProgress(Progress wanted) const {
    for (int i = 0; i < 20000 && pipeline->progress() != wanted; ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return pipeline->progress() == wanted;
  }

  std::shared_ptr<std::atomic<int>> notified = std::make_shared<std::atomic<int>>(0);
  std::vector<std::string> texts;
  std::shared_ptr<CallPipeline> pipeline;
};

// How often requests of the test's route were recorded with that in their labels; "" is any.
int Recorded(ServiceFixture& fixture, std::string_view label = "") {
  double sum = 0;
  const std::string text = fixture.metrics.Expose();
  const std::string prefix = "hadal_requests_total{route=\"" + std::string(kRoute) + "\"";
  for (size_t at = text.find(prefix); at != std::string::npos; at = text.find(prefix, at + 1)) {
    const std::string line = text.substr(at, text.find('\n', at) - at);
    if (line.find(label) != std::string::npos) sum += std::atof(line.c_str() + line.rfind(' '));
  }
  return static_cast<int>(sum);
}

ServiceFixture::Options OneWorker(size_t max_jobs = 256) {
  ServiceFixture::Options options;
  options.worker_threads = 1;
  options.max_worker_jobs = max_jobs;
  return options;
}

Script Hold(const request::Request&) {
  Script script;
  script.hold = true;
  return script;
}

TEST(CallPipelineTest, RunsACallToItsEndAndRecordsItOnce) {
  ServiceFixture fixture(ServiceFixture::Says("hello"));
  Front front(fixture);
  front.AdmitAndSubmit(Decodes({"a"}));
  ASSERT_OK(front.ReadToEnd());
  EXPECT_EQ(front.texts, std::vector<std::string>{"hello"});
  EXPECT_EQ(front.pipeline->calls().size(), 1u);
  EXPECT_GT(front.pipeline->usage().completion_tokens, 0);
  EXPECT_EQ(Recorded(fixture), 0) << "the client has not been told yet";
  front.pipeline->Finish(absl::OkStatus(), 0);
  front.pipeline->Finish(MakeError(Reason::kCancelled, "again"), 1);
  EXPECT_EQ(Recorded(fixture, R"(http_code="",grpc_code="0",outcome="ok",reason="")"), 1);
  EXPECT_EQ(Recorded(fixture), 1);
  EXPECT_TRUE(fixture.WaitEmpty());
}

TEST(CallPipelineTest, ARefusedAdmissionTakesNothing) {
  ServiceFixture::Options options;
  options.max_queue_requests = 1;
  ServiceFixture fixture(Hold, options);
  fixture.engine->Pause(true);
  Front waiting(fixture);
  waiting.AdmitAndSubmit(Decodes({"a"}));
  Front front(fixture, Info(Protocol::kHttp));
  const absl::Status refused = front.pipeline->Admit(100);
  EXPECT_REASON(refused, Reason::kConnectionQueueFull);
  EXPECT_TRUE(request::GetErrorDetail(refused).retry_after.has_value());
  front.pipeline->Finish(refused, 503);
  EXPECT_EQ(Recorded(fixture, R"(http_code="503",grpc_code="",outcome="shed",reason="CONNECTION_QUEUE_FULL")"), 1);
  EXPECT_EQ(fixture.admission->GetLoad().waiting, 1);
}

TEST(CallPipelineTest, ADecodeErrorIsTheEndAndTheDecoderIsGoneByThen) {
  ServiceFixture fixture(ServiceFixture::Says("x"));
  Front front(fixture);
  auto owned = std::make_shared<int>(0);
  std::weak_ptr<int> watch = owned;
  front.AdmitAndSubmit([owned = std::move(owned)]() -> absl::StatusOr<DecodedRequest> {
    return MakeError(Reason::kInvalidRequest, "no such field");
  });
  EXPECT_REASON(front.ReadToEnd(), Reason::kInvalidRequest);
  EXPECT_TRUE(watch.expired());
  EXPECT_TRUE(fixture.Empty());
  EXPECT_TRUE(front.pipeline->calls().empty());
}

TEST(CallPipelineTest, AFullWorkerQueueRefuses) {
  Gate gate;  // outlives the workers
  ServiceFixture fixture(ServiceFixture::Says("x"), OneWorker(1));
  ASSERT_TRUE(fixture.service->workers().TryPost([&] { gate.Wait(); }));
  gate.AwaitVisitor();
  ASSERT_TRUE(fixture.service->workers().TryPost([] {}));
  Front front(fixture);
  front.AdmitAndSubmit(Decodes({"a"}));
  const absl::Status status = front.ReadToEnd();
  EXPECT_REASON(status, Reason::kConnectionQueueFull);
  EXPECT_TRUE(request::GetErrorDetail(status).retry_after.has_value());
  EXPECT_TRUE(fixture.Empty());
  gate.Open();
}

TEST(CallPipelineTest, CancelledBeforeAWorkerHasItEndsAtOnce) {
  Gate gate;  // outlives the workers
  ServiceFixture fixture(ServiceFixture::Says("x"), OneWorker());
  ASSERT_TRUE(fixture.service->workers().TryPost([&] { gate.Wait(); }));
  Front front(fixture);
  std::atomic<bool> decoded{false};
  front.AdmitAndSubmit([&]() -> absl::StatusOr<DecodedRequest> {
    decoded = true;
    return Prompts({"a"});
  });
  EXPECT_EQ(fixture.admission->GetLoad().waiting, 1);
  front.pipeline->Cancel();
  EXPECT_TRUE(fixture.Empty());
  EXPECT_REASON(front.ReadToEnd(), Reason::kCancelled);
  gate.Open();
  fixture.service->workers().Stop();
  EXPECT_FALSE(decoded);
}

TEST(CallPipelineTest, CancelledWhileDecodingEndsAfterTheDecoder) {
  Gate gate;  // outlives the workers
  ServiceFixture fixture(ServiceFixture::Says("x"));
  Front front(fixture);
  front.AdmitAndSubmit([&]() -> absl::StatusOr<DecodedRequest> {
    gate.Wait();
    return Prompts({"a"});
  });
  gate.AwaitVisitor();
  front.pipeline->Cancel();
  EXPECT_EQ(front.Read(), Progress::kPreparing);
  gate.Open();
  EXPECT_REASON(front.ReadToEnd(), Reason::kCancelled);
  EXPECT_TRUE(fixture.WaitEmpty());
  EXPECT_EQ(fixture.engine->finished(), 0);
}

TEST(CallPipelineTest, CancelledWhileRunningIsEndedByTheEngine) {
  ServiceFixture fixture(Hold);
  Front front(fixture);
  front.AdmitAndSubmit(Decodes({"a"}));
  ASSERT_TRUE(front.AwaitProgress(Progress::kRunning));
  front.pipeline->Cancel();
  front.pipeline->Cancel();
  EXPECT_REASON(front.ReadToEnd(), Reason::kCancelled);
  front.pipeline->Cancel();
  EXPECT_TRUE(fixture.WaitEmpty());
  EXPECT_EQ(fixture.engine->cancelled(), 1);
}

TEST(CallPipelineTest, CancelledBeforeItIsSubmittedTakesNoWorker) {
  ServiceFixture fixture(ServiceFixture::Says("x"));
  Front front(fixture);
  ASSERT_OK(front.pipeline->Admit(100));
  front.pipeline->Cancel();
  EXPECT_TRUE(fixture.Empty());
  front.pipeline->Submit(Decodes({"a"}));
  EXPECT_REASON(front.ReadToEnd(), Reason::kCancelled);
}

TEST(CallPipelineTest, AFrontThatFinishesIsNeverToldAgain) {
  Gate gate;  // outlives the workers
  ServiceFixture fixture(Hold);
  Front decoding(fixture), running(fixture);
  decoding.AdmitAndSubmit([&]() -> absl::StatusOr<DecodedRequest> {
    gate.Wait();
    return Prompts({"a"});
  });
  gate.AwaitVisitor();
  running.AdmitAndSubmit(Decodes({"a"}));
  ASSERT_TRUE(running.AwaitProgress(Progress::kRunning));
  for (Front* front : {&decoding, &running}) {
    front->pipeline->Finish(MakeError(Reason::kCancelled, "the client is gone"), 1);
    EXPECT_EQ(front->notified.use_count(), 1) << "the callback has been released";
  }
  const int told = decoding.notified->load() + running.notified->load();
  gate.Open();
  EXPECT_TRUE(fixture.WaitEmpty());
  EXPECT_EQ(decoding.notified->load() + running.notified->load(), told);
  EXPECT_EQ(Recorded(fixture, "outcome=\"cancelled\""), 2);
}

TEST(CallPipelineTest, TheClassOfTheBodyIsCheckedAndUsed) {
  std::vector<Priority> seen;
  ServiceFixture fixture([&](const request::Request& request) {
    seen.push_back(request.priority);
    return Script{};
  });
  CallInfo info = Info();
  info.caller.max_priority = Priority::kNormal;
  const auto decodes = [](Priority priority) {
    return [priority]() -> absl::StatusOr<DecodedRequest> {
      DecodedRequest request = Prompts({"a"});
      request.priority = priority;
      return request;
    };
  };
  Front denied(fixture, info), lowered(fixture, info);
  denied.AdmitAndSubmit(decodes(Priority::kHigh));
  EXPECT_REASON(denied.ReadToEnd(), Reason::kPermissionDenied);
  lowered.AdmitAndSubmit(decodes(Priority::kBatch));
  EXPECT_OK(lowered.ReadToEnd());
  denied.pipeline->Finish(denied.pipeline->status(), 7);
  lowered.pipeline->Finish(absl::OkStatus(), 0);
  EXPECT_EQ(Recorded(fixture, "class=\"normal\""), 1);
  EXPECT_EQ(Recorded(fixture, "class=\"batch\""), 1);
  fixture.engine->Stop();
  EXPECT_EQ(seen, std::vector<Priority>{Priority::kBatch});
}

// --- several calls ---

TEST(CallPipelineTest, EachPromptIsACallWithASlotOfItsOwn) {
  ServiceFixture fixture([](const request::Request& request) {
    Script script;
    script.tokens = DemoEncode(request.id);
    script.stop_token = 1;
    return script;
  });
  fixture.engine->Pause(true);
  Front front(fixture);
  front.AdmitAndSubmit(Decodes({"a", "b", "c"}));
  ASSERT_TRUE(front.AwaitProgress(Progress::kRunning));
  EXPECT_EQ(fixture.admission->GetLoad().waiting, 3);
  EXPECT_EQ(fixture.admission->QueuedRequests(0), 3);
  fixture.engine->Pause(false);
  ASSERT_OK(front.ReadToEnd());
  EXPECT_EQ(front.texts, (std::vector<std::string>{"r", "r-1", "r-2"}));
  EXPECT_TRUE(fixture.WaitEmpty());
}

TEST(CallPipelineTest, WhenOnePromptIsRefusedNoneRuns) {
  ServiceFixture::Options options;
  options.max_queue_requests = 2;
  ServiceFixture fixture(ServiceFixture::Says("x"), options);
  Front full(fixture), invalid(fixture);
  full.AdmitAndSubmit(Decodes({"a", "b", "c"}));
  EXPECT_REASON(full.ReadToEnd(), Reason::kConnectionQueueFull);
  EXPECT_TRUE(fixture.Empty());
  invalid.AdmitAndSubmit([]() -> absl::StatusOr<DecodedRequest> {
    DecodedRequest request = Prompts({"a", "b"});
    std::get<GenerateCall>(request.calls[1]).prompt = std::vector<int32_t>{-5};
    return request;
  });
  EXPECT_REASON(invalid.ReadToEnd(), Reason::kInvalidRequest);
  EXPECT_TRUE(fixture.WaitEmpty());
}

TEST(CallPipelineTest, TheFirstFailureEndsTheRequestAndCancelsTheOthers) {
  ServiceFixture fixture([](const request::Request& request) {
    if (request.id != "r-1") return Hold(request);
    Script script;
    script.status = MakeError(Reason::kInternal, "the step failed");
    return script;
  });
  Front front(fixture);
  front.AdmitAndSubmit(Decodes({"a", "b", "c"}));
  EXPECT_REASON(front.ReadToEnd(), Reason::kInternal);
  front.pipeline->Finish(front.pipeline->status(), 13);
  EXPECT_TRUE(fixture.WaitEmpty());
  EXPECT_EQ(fixture.engine->cancelled(), 2);
}

TEST(CallPipelineTest, ChoicesThatADrainHasEndedCompleteAnHttpAnswerOnly) {
  for (const Protocol protocol : {Protocol::kHttp, Protocol::kGrpc}) {
    ServiceFixture fixture([](const request::Request&) {
      Script script;
      script.tokens = DemoEncode("par");
      script.finish = request::FinishReason::kInsufficientSystemResource;
      script.finish_despite_status = true;
      script.status = MakeError(Reason::kInsufficientSystemResource, "the drain's time is up");
      return script;
    });
    Front front(fixture, Info(protocol));
    front.AdmitAndSubmit(Decodes({"a"}));
    const absl::Status status = front.ReadToEnd();
    EXPECT_REASON(status, protocol == Protocol::kHttp ? Reason::kNone : Reason::kInsufficientSystemResource);
    EXPECT_EQ(front.texts, std::vector<std::string>{"par"});
  }
}

TEST(CallPipelineTest, DrainingIsRefusedAtEveryStep) {
  Gate gate;  // outlives the workers
  ServiceFixture fixture(ServiceFixture::Says("x"));
  Front decoding(fixture), late(fixture);
  decoding.AdmitAndSubmit([&]() -> absl::StatusOr<DecodedRequest> {
    gate.Wait();
    return Prompts({"a"});
  });
  gate.AwaitVisitor();
  fixture.admission->BeginDrain();
  EXPECT_REASON(late.pipeline->Admit(100), Reason::kDraining);
  gate.Open();
  EXPECT_REASON(decoding.ReadToEnd(), Reason::kDraining);
  EXPECT_TRUE(fixture.WaitEmpty());
}

// --- grammars ---

// Compiles only once the gate is open.
class GatedCompiler final : public grammar::GrammarCompiler {
 public:
  absl::StatusOr<std::shared_ptr<const grammar::CompiledGrammar>> Compile(
      const grammar::GrammarSpec& spec) const override {
    gate.Wait();
    if (refuses) return absl::InvalidArgumentError("no such thing");
    return real->Compile(spec);
  }
  const tokenizer::Tokenizer& tokenizer() const override { return *DemoTokenizer(); }

  mutable Gate gate;
  std::shared_ptr<const grammar::GrammarCompiler> real;
  bool refuses = false;
};

class CallPipelineGrammarTest : public ::testing::Test {
 protected:
  CallPipelineGrammarTest() : fixture(ServiceFixture::Says("{}"), OneWorker(/*max_jobs=*/1)) {
    auto model = std::make_shared<ServedModel>(*fixture.service->ListModels().front());
    model->name = "gated";
    compiler->real = *model->grammar_compiler;
    model->grammar_compiler = std::shared_ptr<const grammar::GrammarCompiler>(compiler);
    EXPECT_OK(fixture.models.Add(model));
  }
  ~CallPipelineGrammarTest() override {
    if (!opened) compiler->gate.Open();
  }
  void Open() {
    opened = true;
    compiler->gate.Open();
  }
  static CallPipeline::Decode Json() {
    return []() -> absl::StatusOr<DecodedRequest> {
      DecodedRequest request = Prompts({"a"});
      CallOptions& options = std::get<GenerateCall>(request.calls[0]).options;
      options.model = "gated";
      options.response_format.kind = ResponseFormat::Kind::kJsonObject;
      return request;
    };
  }

  std::shared_ptr<GatedCompiler> compiler = std::make_shared<GatedCompiler>();
  ServiceFixture fixture;
  bool opened = false;
};

TEST_F(CallPipelineGrammarTest, TheWaitHoldsNoWorkerAndEndsWithTheGrammar) {
  Front front(fixture), other(fixture);
  front.AdmitAndSubmit(Json());
  compiler->gate.AwaitVisitor();
  other.AdmitAndSubmit(Decodes({"a"}));
  EXPECT_OK(other.ReadToEnd()) << "the only worker is free";
  EXPECT_EQ(front.Read(), Progress::kPreparing);
  Open();
  EXPECT_OK(front.ReadToEnd());
  EXPECT_EQ(front.texts, std::vector<std::string>{"{}"});
}

TEST_F(CallPipelineGrammarTest, AGrammarThatCannotBeCompiledNamesItsField) {
  compiler->refuses = true;
  Front front(fixture);
  front.AdmitAndSubmit(Json());
  Open();
  const absl::Status status = front.ReadToEnd();
  EXPECT_REASON(status, Reason::kInvalidRequest);
  EXPECT_EQ(request::GetErrorDetail(status).param, "response_format");
  EXPECT_TRUE(fixture.Empty());
}

TEST_F(CallPipelineGrammarTest, CancelledWhileItWaitsEndsAtOnce) {
  Front front(fixture);
  front.AdmitAndSubmit(Json());
  compiler->gate.AwaitVisitor();
  // The worker leaves the call to the grammar soon after it has asked for it.
  const auto idle = std::make_shared<Gate>();  // the worker keeps it, too
  while (!fixture.service->workers().TryPost([idle] { idle->Wait(); })) std::this_thread::yield();
  idle->AwaitVisitor();
  idle->Open();
  front.pipeline->Cancel();
  EXPECT_TRUE(fixture.Empty());
  EXPECT_REASON(front.ReadToEnd(), Reason::kCancelled);
  Open();
}

TEST_F(CallPipelineGrammarTest, AFullWorkerQueueAfterTheWaitRefuses) {
  Front front(fixture);
  front.AdmitAndSubmit(Json());
  compiler->gate.AwaitVisitor();
  const auto busy = std::make_shared<Gate>();  // the worker keeps it, too
  while (!fixture.service->workers().TryPost([busy] { busy->Wait(); })) std::this_thread::yield();
  busy->AwaitVisitor();
  ASSERT_TRUE(fixture.service->workers().TryPost([] {}));
  Open();
  EXPECT_REASON(front.ReadToEnd(), Reason::kConnectionQueueFull);
  EXPECT_TRUE(fixture.Empty());
  busy->Open();
}

// --- all at once ---

// Fronts cancel, finish and read at random moments while workers and engine go on. Every request is recorded once, and
// nothing is kept.
TEST(CallPipelineTest, AStormOfFrontsLeavesNothingBehind) {
  ServiceFixture::Options options;
  options.max_queue_requests = 4096;
  ServiceFixture fixture(
      [](const request::Request&) {
        Script script;
        script.tokens = {10, 11, 12};
        script.endless = true;
        return script;
      },
      options);
  constexpr int kThreads = 4, kRequests = 250;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      std::mt19937 random(t);
      for (int i = 0; i < kRequests; ++i) {
        // Freed with the front: a late callback would write into freed memory.
        auto front = std::make_unique<Front>(fixture, Info(i % 2 == 0 ? Protocol::kHttp : Protocol::kGrpc));
        front->AdmitAndSubmit(Decodes(std::vector<std::string>(1 + random() % 3, "a")));
        std::thread canceller([pipeline = front->pipeline, us = random() % 400, cancels = random() % 2 == 0] {
          std::this_thread::sleep_for(std::chrono::microseconds(us));
          if (cancels) pipeline->Cancel();
        });
        if (random() % 3 == 0) {
          std::this_thread::sleep_for(std::chrono::microseconds(random() % 400));
          front->Read();
        } else {
          const absl::Status status = front->ReadToEnd();
          EXPECT_TRUE(status.ok() || status.code() == absl::StatusCode::kCancelled) << status;
        }
        front->pipeline->Finish(front->pipeline->status(), 0);
        front.reset();
        canceller.join();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(Recorded(fixture), kThreads * kRequests);
  EXPECT_TRUE(fixture.WaitEmpty());
}

}  // namespace
}  // namespace hadal::service
