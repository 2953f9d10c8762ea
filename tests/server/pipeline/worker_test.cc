// SPDX-License-Identifier: Apache-2.0
//
// Leader and workers of one process over real sockets: what a model on several hosts computes, and what each end says
// when the other is not as it should be.
#include "server/pipeline/worker.h"

#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <memory>
#include <numeric>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/pipeline/key.h"
#include "server/pipeline/leader.h"
#include "tests/models/families/tiny_configs.h"
#include "tests/models/step_builder.h"

namespace hadal::pipeline {
namespace {

using ::testing::HasSubstr;

constexpr char kKey[] = "a key that both ends know";
constexpr int64_t kBudget = int64_t{1} << 30;

// Waits for what another thread brings about.
template <typename Condition>
bool Eventually(Condition condition) {
  const absl::Time end = absl::Now() + absl::Seconds(60);
  base::Notification never;
  while (!condition()) {
    if (absl::Now() > end) return false;
    never.WaitFor(absl::Milliseconds(1));
  }
  return true;
}

class WorkerTest : public ::testing::Test {
 protected:
  WorkerTest() : folder_(std::filesystem::temp_directory_path() / absl::StrCat("hadal_worker_test_", ::getpid())) {
    std::filesystem::create_directories(folder_);
    std::ofstream(folder_ / "config.json") << models::testing::kTinyDeepseekV3;
    std::ofstream(folder_ / "key") << kKey << "\n";
  }
  ~WorkerTest() override { std::filesystem::remove_all(folder_); }

  models::LoadOptions Load() const {
    models::LoadOptions load;
    load.dir = folder_.string();
    load.device = "cpu";
    load.threads = 1;
    load.max_batch_tokens = 64;
    load.max_batch_size = 4;
    load.load_format = models::LoadFormat::kDummy;
    return load;
  }

  std::unique_ptr<Worker> Start(int64_t budget = kBudget, std::string key = kKey,
                                base::MetricRegistry* metrics = nullptr) {
    Worker::Options options = {.host = "127.0.0.1", .port = 0, .session = {}, .on_idle = nullptr, .metrics = metrics};
    options.session = {.load = Load(),
                       .key = std::move(key),
                       .version = "worker's",
                       .patience = absl::Seconds(30),
                       .memory_budget = [budget](const models::ModelInfo&) { return budget; },
                       .log = nullptr};
    auto worker = Worker::Create(std::move(options));
    EXPECT_TRUE(worker.ok()) << worker.status();
    return *std::move(worker);
  }

  absl::StatusOr<std::unique_ptr<models::Model>> Lead(const std::vector<const Worker*>& workers,
                                                      absl::Duration patience = absl::Seconds(30)) {
    PipelineOptions options;
    for (const Worker* worker : workers) options.workers.push_back(absl::StrCat("127.0.0.1:", worker->port()));
    options.layers = counts_;
    options.key_file = (folder_ / "key").string();
    options.patience = patience;
    metrics_ = std::make_unique<PipelineMetrics>(nullptr, options.workers);
    return LoadPipeline(Load(), options,
                        {.metrics = metrics_.get(),
                         .health = &health_,
                         .on_failure = [this] { failures_.fetch_add(1); },
                         .notice = nullptr,
                         .version = "leader's"},
                        nullptr);
  }

  // The probabilities after a prompt and a token more.
  static std::vector<float> TwoSteps(models::Model& model) {
    const bool windowed = model.kv_layout().window_tokens > 0;
    EXPECT_TRUE(model.AllocateKvCache({8, 16, windowed ? 8 : 0}).ok());
    std::vector<float> values;
    for (const bool decode : {false, true}) {
      models::testing::StepBuilder builder(16, 4, windowed);
      decode ? builder.Add(0, 5, {9}) : builder.Add(0, 0, {1, 2, 3, 5, 8});
      builder.Sample().top_logprobs = 20;
      const auto output = Step(model, builder.Take());
      EXPECT_TRUE(output.ok()) << output.status();
      if (!output.ok()) continue;
      for (const models::TokenLogprob& top : output->samples[0].top) {
        values.push_back(static_cast<float>(top.token_id));
        values.push_back(top.logprob);
      }
    }
    return values;
  }

  static absl::StatusOr<models::StepOutput> Step(models::Model& model, models::StepInput input) {
    const auto handle = model.Launch(std::move(input));
    if (!handle.ok()) return handle.status();
    return model.Wait(*handle);
  }

  static models::StepInput OneToken() {
    models::testing::StepBuilder builder(16, 4);
    builder.Add(1, 0, {1}).Sample();
    return builder.Take();
  }

  // What a peer that greets well and then sends this is told.
  absl::StatusOr<Error> AnswerTo(const Worker& worker, MessageType type, const std::vector<std::byte>& payload) {
    auto connection = Connection::Open(absl::StrCat("127.0.0.1:", worker.port()), absl::Now() + absl::Seconds(30));
    if (!connection.ok()) return connection.status();
    std::vector<std::byte> received, message;
    if (auto got = (*connection)->Receive(kMaxControlBytes, &received); !got.ok()) return got.status();
    Hello hello = {.version = "peer's", .nonce = MakeNonce()};
    hello.mac = MakeMac(kKey, Side::kLeader, hello.nonce, DecodeChallenge(received)->nonce);
    Encode(hello, &message);
    if (absl::Status sent = (*connection)->Send(MessageType::kHello, message); !sent.ok()) return sent;
    if (auto got = (*connection)->Receive(kMaxControlBytes, &received); !got.ok()) return got.status();
    if (absl::Status sent = (*connection)->Send(type, payload); !sent.ok()) return sent;
    const auto got = (*connection)->Receive(kMaxControlBytes, &received);
    if (!got.ok()) return got.status();
    if (*got != MessageType::kError) return absl::InternalError(MessageName(*got));
    return DecodeError(received);
  }

  const std::filesystem::path folder_;
  std::vector<int64_t> counts_;  // --pipeline-layers
  std::unique_ptr<PipelineMetrics> metrics_;
  PipelineHealth health_;
  std::atomic<int> failures_{0};
};

TEST_F(WorkerTest, TwoAndThreeHostsGiveWhatOneGives) {
  auto whole = models::LoadModel(Load());
  ASSERT_TRUE(whole.ok()) << whole.status();
  const std::vector<float> expected = TwoSteps(**whole);
  const auto first = Start(), second = Start();
  for (const std::vector<const Worker*>& workers :
       std::vector<std::vector<const Worker*>>{{first.get()}, {first.get(), second.get()}}) {
    auto model = Lead(workers);
    ASSERT_TRUE(model.ok()) << model.status();
    EXPECT_EQ(TwoSteps(**model), expected);
    for (size_t i = 0; i < workers.size(); ++i) {
      EXPECT_EQ(metrics_->worker_up.At(i).Value(), 1);
      const std::vector<uint64_t> waits = metrics_->wait.At(i).BucketCounts();
      EXPECT_EQ(std::accumulate(waits.begin(), waits.end(), uint64_t{0}), 2u);
      // The state of six tokens, of 72 bf16 values each.
      EXPECT_GT(metrics_->sent_bytes.At(i).Value(), 6u * 144);
    }
  }
  EXPECT_EQ(health_.failure(), "");
}

TEST_F(WorkerTest, TheSmallestHostSetsTheCache) {
  models::LoadOptions load = Load();
  load.layers = models::LayerRange{1, 2};
  auto part = models::LoadPart(load);
  ASSERT_TRUE(part.ok()) << part.status();
  const int64_t fixed = (*part)->info().weights_bytes + (*part)->WorkspaceBytes(64, 4);
  const auto roomy = Start(), tight = Start(fixed + 5 * (*part)->kv_layout().block_bytes(16));
  // Three layers for three hosts: the tight one holds the layer that was measured.
  auto model = Lead({tight.get(), roomy.get()});
  ASSERT_TRUE(model.ok()) << model.status();
  const auto fits = (*model)->FitKvCache({100, 16});
  ASSERT_TRUE(fits.ok()) << fits.status();
  EXPECT_EQ(*fits, (models::KvCacheSize{5, 16}));
  EXPECT_EQ((*model)->FitKvCache({3, 16})->blocks, 3);
  const absl::Status status = (*model)->AllocateKvCache({6, 16});
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()), HasSubstr("a cache of 6 blocks and 0 window blocks, limit 5"));
}

TEST_F(WorkerTest, AHostWithoutRoomIsNamed) {
  const auto worker = Start(/*budget=*/1000);
  auto model = Lead({worker.get()});
  ASSERT_TRUE(model.ok()) << model.status();
  const absl::Status status = (*model)->FitKvCache({100, 16}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()), HasSubstr(absl::StrCat("worker 127.0.0.1:", worker->port())));
  EXPECT_THAT(std::string(status.message()), HasSubstr("the budget is 1000 bytes"));
}

TEST_F(WorkerTest, AServerWithSlidingLayersAloneIsRefused) {
  std::ofstream(folder_ / "config.json") << models::testing::kTinyDeepseekV4;
  const auto worker = Start();
  counts_ = {1, 3};
  EXPECT_THAT(std::string(Lead({worker.get()}).status().message()), HasSubstr("the server's 1 layers keep nothing"));
}

TEST_F(WorkerTest, EveryFamilyGivesWhatOneHostGives) {
  const auto first = Start(), second = Start();
  for (const models::testing::TinyFamily& tiny : models::testing::TinyFamilies()) {
    SCOPED_TRACE(tiny.name);
    std::ofstream(folder_ / "config.json") << tiny.config;
    auto whole = models::LoadModel(Load());
    ASSERT_TRUE(whole.ok()) << whole.status();
    const std::vector<float> expected = TwoSteps(**whole);
    const int64_t layers = config::ParseModelConfig(tiny.config)->layers;
    std::vector<const Worker*> workers = {first.get(), second.get()};
    if (layers < 3) workers.pop_back();
    // The first layer of the windowed family keeps nothing beyond its window.
    counts_ = (*whole)->kv_layout().window_tokens > 0 ? std::vector<int64_t>{layers - 2, 1, 1} : std::vector<int64_t>();
    auto model = Lead(workers);
    ASSERT_TRUE(model.ok()) << model.status();
    EXPECT_EQ(TwoSteps(**model), expected);
  }
}

TEST_F(WorkerTest, AnotherKeyIsNamedAtBothEnds) {
  const auto worker = Start(kBudget, "another key than the others");
  const absl::Status status = Lead({worker.get()}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kPermissionDenied);
  EXPECT_THAT(std::string(status.message()), HasSubstr("--pipeline-key-file holds another key"));
}

TEST_F(WorkerTest, AnotherCheckpointIsNamed) {
  const auto worker = Start();
  // The worker has read its folder only when it is asked: both ends read another one.
  std::filesystem::create_directories(folder_ / "other");
  std::ofstream(folder_ / "other" / "config.json") << models::testing::kTinyDeepseekV32;
  PipelineOptions options;
  options.workers = {absl::StrCat("127.0.0.1:", worker->port())};
  options.key_file = (folder_ / "key").string();
  metrics_ = std::make_unique<PipelineMetrics>(nullptr, options.workers);
  models::LoadOptions load = Load();
  load.dir = (folder_ / "other").string();
  const absl::Status status =
      LoadPipeline(load, options, {.metrics = metrics_.get(), .health = &health_, .version = "x"}, nullptr).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("expected the leader's fp_"));
}

TEST_F(WorkerTest, AWorkerThatComesLateIsWaitedFor) {
  const auto reserved = Listen("127.0.0.1", 0);
  ASSERT_TRUE(reserved.ok()) << reserved.status();
  const int port = ListeningPort(*reserved);
  ::close(*reserved);
  PipelineOptions options;
  options.workers = {absl::StrCat("127.0.0.1:", port)};
  options.key_file = (folder_ / "key").string();
  options.patience = absl::Seconds(60);
  metrics_ = std::make_unique<PipelineMetrics>(nullptr, options.workers);
  std::unique_ptr<Worker> worker;
  std::thread starter;
  const auto start = [&](const std::string& line) {
    EXPECT_THAT(line, HasSubstr("waiting for worker 127.0.0.1"));
    starter = std::thread([&] {
      Worker::Options late = {.host = "127.0.0.1", .port = port, .session = {}, .on_idle = nullptr};
      late.session = {.load = Load(),
                      .key = kKey,
                      .version = "x",
                      .patience = absl::Seconds(1),
                      .memory_budget = [](const models::ModelInfo&) { return kBudget; },
                      .log = nullptr};
      auto made = Worker::Create(std::move(late));
      ASSERT_TRUE(made.ok()) << made.status();
      worker = *std::move(made);
    });
  };
  bool told = false;
  auto model = LoadPipeline(Load(), options,
                            {.metrics = metrics_.get(),
                             .health = &health_,
                             .on_failure = nullptr,
                             .notice =
                                 [&](const std::string& line) {
                                   if (!std::exchange(told, true)) start(line);
                                 },
                             .version = "x"},
                            nullptr);
  ASSERT_TRUE(starter.joinable());
  starter.join();
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_FALSE(TwoSteps(**model).empty());
}

TEST_F(WorkerTest, PatienceHasALimit) {
  const auto reserved = Listen("127.0.0.1", 0);
  const int port = ListeningPort(*reserved);
  ::close(*reserved);
  PipelineOptions options;
  options.workers = {absl::StrCat("127.0.0.1:", port)};
  options.key_file = (folder_ / "key").string();
  options.patience = absl::ZeroDuration();
  const absl::Status status = LoadPipeline(Load(), options, {.health = &health_, .version = "x"}, nullptr).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr(absl::StrCat("worker 127.0.0.1:", port, ": Connection refused")));
}

TEST_F(WorkerTest, ALostWorkerFailsTheStepAndIsNamed) {
  auto first = Start(), second = Start();
  auto model = Lead({first.get(), second.get()});
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_FALSE(TwoSteps(**model).empty());
  const std::string lost = absl::StrCat("worker 127.0.0.1:", second->port());
  second.reset();
  EXPECT_TRUE(Eventually([&] { return failures_.load() == 1; }));  // without a step
  EXPECT_THAT(health_.failure(), HasSubstr(lost));
  const absl::Status status = Step(**model, OneToken()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(status.message()), HasSubstr(lost));
  EXPECT_EQ(metrics_->worker_up.At(1).Value(), 0);
}

TEST_F(WorkerTest, ALeaderThatGoesFreesTheWorkerForTheNext) {
  const auto worker = Start();
  auto model = Lead({worker.get()});
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_TRUE(worker->busy());
  const absl::Status second = Lead({worker.get()}, absl::ZeroDuration()).status();
  EXPECT_THAT(std::string(second.message()), HasSubstr("it serves the leader at 127.0.0.1"));
  model->reset();
  EXPECT_TRUE(Eventually([&] { return !worker->busy(); }));
  auto next = Lead({worker.get()});
  ASSERT_TRUE(next.ok()) << next.status();
  EXPECT_FALSE(TwoSteps(**next).empty());
}

TEST_F(WorkerTest, StageAndMetricsFollowTheLeader) {
  base::MetricRegistry registry;
  const auto worker = Start(kBudget, kKey, &registry);
  EXPECT_EQ(worker->stage(), Worker::Stage::kWaiting);
  EXPECT_THAT(registry.Expose(), HasSubstr("\nhadal_pipeline_leader_connected 0\n"));
  EXPECT_THAT(registry.Expose(), HasSubstr("\nhadal_pipeline_step_seconds_count 0\n"));
  counts_ = {1, 2};
  auto model = Lead({worker.get()});
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ(worker->stage(), Worker::Stage::kLoading);  // the caches are not allocated
  const std::string part =
      "\nhadal_pipeline_part_info{layers=\"[1, 3)\",family=\"deepseek_v3\",dtype=\"bfloat16\",device=\"cpu\"} ";
  EXPECT_THAT(registry.Expose(), HasSubstr(part + "1\n"));
  EXPECT_FALSE(TwoSteps(**model).empty());
  EXPECT_EQ(worker->stage(), Worker::Stage::kServing);
  const std::string serving = registry.Expose();
  EXPECT_THAT(serving, HasSubstr("\nhadal_pipeline_leader_connected 1\n"));
  EXPECT_THAT(serving, HasSubstr("\nhadal_pipeline_step_seconds_count 2\n"));
  EXPECT_THAT(serving, HasSubstr("\nhadal_pipeline_leader_wait_seconds_count 2\n"));
  for (const char* name : {"received", "sent"}) {
    const std::string begin = absl::StrCat("\nhadal_pipeline_leader_", name, "_bytes_total ");
    ASSERT_THAT(serving, HasSubstr(begin));
    // The state of six tokens, of 72 bf16 values each; and the probabilities of a sample at least.
    EXPECT_GT(std::stod(serving.substr(serving.find(begin) + begin.size())), name[0] == 'r' ? 6 * 144 : 100);
  }
  model->reset();
  EXPECT_TRUE(Eventually([&] { return worker->stage() == Worker::Stage::kWaiting; }));
  const std::string left = registry.Expose();
  EXPECT_THAT(left, HasSubstr("\nhadal_pipeline_leader_connected 0\n"));
  EXPECT_THAT(left, HasSubstr("\nhadal_pipeline_leaders_total 1\n"));
  EXPECT_THAT(left, HasSubstr(part + "0\n"));
  EXPECT_FALSE(worker->stopping());
  worker->StopListening();
  EXPECT_TRUE(worker->stopping());
}

TEST_F(WorkerTest, MessagesOutOfOrderEndTheSession) {
  const auto worker = Start();
  const auto error = AnswerTo(*worker, MessageType::kStep, {});
  ASSERT_TRUE(error.ok()) << error.status();
  EXPECT_EQ(error->status, absl::InvalidArgumentError("message step in place of assignment"));
  EXPECT_TRUE(Eventually([&] { return !worker->busy(); }));
}

TEST_F(WorkerTest, AnAssignmentThatDoesNotFitTheModelIsNamed) {
  const auto worker = Start();
  const auto identity = models::IdentifyCheckpoint(Load());
  ASSERT_TRUE(identity.ok()) << identity.status();
  const auto answer = [&](std::vector<PartSpec> parts) {
    Assignment assignment = {.fingerprint = identity->fingerprint,
                             .dtype = "bfloat16",
                             .dummy_weights = true,
                             .max_model_len = 512,
                             .max_batch_tokens = 8,
                             .max_batch_size = 2,
                             .parts = std::move(parts)};
    std::vector<std::byte> payload;
    Encode(assignment, &payload);
    EXPECT_TRUE(Eventually([&] { return !worker->busy(); }));
    const auto error = AnswerTo(*worker, MessageType::kAssign, payload);
    EXPECT_TRUE(error.ok()) << error.status();
    return error.ok() ? std::string(error->status.message()) : "";
  };
  EXPECT_THAT(answer({{"a:1", {0, 3}}}), HasSubstr("the first layer is the server's"));
  EXPECT_THAT(answer({{"a:1", {1, 4}}}), HasSubstr("up to the model's 3"));
  EXPECT_THAT(answer({{"a:1", {1, 2}}}), HasSubstr("the layers end with 2, expected the model's 3"));
  EXPECT_THAT(answer({{"a:1", {2, 3}}, {"b:1", {1, 2}}}), HasSubstr("layers [1, 2) of b:1"));
}

TEST_F(WorkerTest, APeerThatSpeaksSomethingElseIsNotServed) {
  const auto worker = Start();
  auto connection = Connection::Open(absl::StrCat("127.0.0.1:", worker->port()), absl::Now() + absl::Seconds(30));
  ASSERT_TRUE(connection.ok()) << connection.status();
  std::vector<std::byte> payload;
  ASSERT_EQ(*(*connection)->Receive(kMaxControlBytes, &payload), MessageType::kChallenge);
  std::vector<std::byte> hello;
  Encode(Hello{.protocol = 99, .version = "9.9"}, &hello);
  ASSERT_TRUE((*connection)->Send(MessageType::kHello, hello).ok());
  ASSERT_EQ(*(*connection)->Receive(kMaxControlBytes, &payload), MessageType::kError);
  const auto error = DecodeError(payload);
  ASSERT_TRUE(error.ok()) << error.status();
  EXPECT_EQ(error->status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(error->status.message()), HasSubstr("hadal 9.9 with protocol 99"));
  EXPECT_FALSE(worker->busy());
}

}  // namespace
}  // namespace hadal::pipeline
