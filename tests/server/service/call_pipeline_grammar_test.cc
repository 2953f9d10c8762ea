// SPDX-License-Identifier: Apache-2.0
// Calls that wait for a grammar.
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "server/service/call_pipeline.h"
#include "tests/support/pipeline_front.h"
#include "tests/support/service_fixture.h"
#include "tests/support/status_matchers.h"

namespace hadal::service {
namespace {

using hadal::testing::Decodes;
using hadal::testing::DemoTokenizer;
using hadal::testing::Gate;
using hadal::testing::OneWorker;
using hadal::testing::PipelineFront;
using hadal::testing::Prompts;
using hadal::testing::ServiceFixture;
using request::Reason;
using Progress = CallPipeline::Progress;

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
  PipelineFront front(fixture), other(fixture);
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
  PipelineFront front(fixture);
  front.AdmitAndSubmit(Json());
  Open();
  const absl::Status status = front.ReadToEnd();
  EXPECT_REASON(status, Reason::kInvalidRequest);
  EXPECT_EQ(request::GetErrorDetail(status).param, "response_format");
  EXPECT_TRUE(fixture.Empty());
}

TEST_F(CallPipelineGrammarTest, CancelledWhileItWaitsEndsAtOnce) {
  PipelineFront front(fixture);
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
  PipelineFront front(fixture);
  front.AdmitAndSubmit(Json());
  compiler->gate.AwaitVisitor();
  const auto busy = std::make_shared<Gate>();  // the worker keeps it, too
  while (!fixture.service->workers().TryPost([busy] { busy->Wait(); })) std::this_thread::yield();
  busy->AwaitVisitor();
  ASSERT_TRUE(fixture.service->workers().TryPost([] {}));
  Open();
  EXPECT_REASON(front.ReadToEnd(), Reason::kWorkerQueueFull);
  EXPECT_TRUE(fixture.Empty());
  busy->Open();
}

}  // namespace
}  // namespace hadal::service
