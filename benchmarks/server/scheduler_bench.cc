// SPDX-License-Identifier: Apache-2.0
// The engine's own speed: the whole loop (queue, scheduler, KV blocks, streams) on one thread over a model that
// computes nothing. Consumers read on the same thread, so every token is paid for once.
//
// Usage: scheduler_bench [--sequences N] [--prompt N] [--output N] [--requests N] [--block-tokens N] [--window N]
//                        [--async 0|1]
// Writes one JSON object of metrics and settings; scheduler_bench.py adds machine and date.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include "models/null_model.h"
#include "server/admission/admission.h"
#include "server/engine/engine_observer.h"
#include "server/engine/step_loop.h"

namespace hadal {
namespace {

struct Settings {
  int sequences = 256;
  int prompt = 128;
  int output = 512;
  int requests = 1024;
  int block_tokens = 64;
  int window_tokens = 0;  // > 0: the model has a windowed cache
  int async = 0;          // 1: steps are launched before the tokens of the step before are known
};

// The engine's time for each full decode step: what the device waits for, and what is hidden behind its work.
class Watch : public engine::EngineObserver {
 public:
  explicit Watch(int sequences) : sequences_(sequences) {}
  void OnStep(const engine::StepFacts& facts) override {
    if (facts.sequences == sequences_ && facts.prefill_tokens == 0) {
      gap_us.push_back(absl::ToDoubleMicroseconds(facts.gap));
      overlapped_us.push_back(absl::ToDoubleMicroseconds(facts.overlapped));
    }
  }
  static double Percentile(std::vector<double>& values, double p) {
    if (values.empty()) return 0;
    const size_t index = std::min(values.size() - 1, static_cast<size_t>(p * static_cast<double>(values.size())));
    std::nth_element(values.begin(), values.begin() + index, values.end());
    return values[index];
  }
  std::vector<double> gap_us, overlapped_us;

 private:
  const int sequences_;
};

// The null model with a stopwatch, so that its own cost can be told from the engine's.
class TimedModel : public models::Model {
 public:
  explicit TimedModel(std::unique_ptr<models::NullModel> model) : model_(std::move(model)) {}
  const models::ModelInfo& info() const override { return model_->info(); }
  const models::KvLayout& kv_layout() const override { return model_->kv_layout(); }
  int64_t WorkspaceBytes(int32_t t, int32_t s) const override { return model_->WorkspaceBytes(t, s); }
  absl::Status AllocateKvCache(const models::KvCacheSize& size) override { return model_->AllocateKvCache(size); }
  int max_steps_in_flight() const override { return model_->max_steps_in_flight(); }
  absl::StatusOr<models::StepHandle> Launch(models::StepInput input) override {
    const auto start = std::chrono::steady_clock::now();
    auto handle = model_->Launch(std::move(input));
    seconds_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    return handle;
  }
  absl::StatusOr<models::StepOutput> Wait(models::StepHandle handle) override {
    const auto start = std::chrono::steady_clock::now();
    auto output = model_->Wait(handle);
    seconds_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    return output;
  }
  double seconds() const { return seconds_; }

 private:
  std::unique_ptr<models::NullModel> model_;
  double seconds_ = 0;
};

bool Submit(admission::AdmissionController& controller, const Settings& settings, int index,
            std::vector<std::shared_ptr<request::TokenStream>>& streams) {
  auto request = std::make_unique<request::Request>();
  request->id = std::to_string(index);
  request->arrival = base::Clock::Real()->Now();
  request->prompt.resize(settings.prompt);
  for (int i = 0; i < settings.prompt; ++i) request->prompt[i] = (index * 7919 + i * 31) % 32000;
  request->max_tokens = settings.output;
  request->stop_token_ids = {0};
  request->ignore_eos = true;
  request->stream = std::make_shared<request::TokenStream>(1024);
  auto stream = request->stream;
  auto ticket = controller.TryAdmit({request->priority, "", request->id, settings.prompt * 4});
  if (!ticket.ok()) return false;
  if (!ticket->Finalize(*request, 0).ok()) return false;
  if (!controller.Enqueue(0, std::move(request), *std::move(ticket)).ok()) return false;
  streams.push_back(std::move(stream));
  return true;
}

int Run(const Settings& settings) {
  const int blocks = settings.sequences * 2 * ((settings.prompt + settings.output) / settings.block_tokens + 2);
  admission::KvPoolLedger pool(int64_t{blocks} * 1000);
  admission::AdmissionController::Options admission_options;
  auto controller = *admission::AdmissionController::Create(std::move(admission_options));
  controller->AddModel({"null", 131072, settings.block_tokens, 1000, &pool}).value();
  controller->SetReady();

  Watch watch(settings.sequences);
  engine::EngineOptions options;
  options.num_blocks = blocks;
  options.block_tokens = settings.block_tokens;
  options.max_batch_size = settings.sequences;
  options.max_batch_tokens = std::max(2048, settings.sequences);
  options.observer = &watch;
  options.async_scheduling = settings.async != 0 ? engine::AsyncScheduling::kOn : engine::AsyncScheduling::kOff;
  TimedModel model(*models::NullModel::Create({.window_tokens = settings.window_tokens}));
  options.num_window_blocks = static_cast<int32_t>(
      2 * model.kv_layout().window_blocks_for(options.block_tokens, options.max_batch_size, options.max_batch_tokens));
  if (!model.AllocateKvCache({blocks, settings.block_tokens, options.num_window_blocks}).ok()) return 1;
  auto wake = std::make_shared<request::WakeSignal>();
  engine::StepLoop loop(options, &model, controller.get(), 0, wake, std::make_shared<engine::PublishedState>());

  std::vector<std::shared_ptr<request::TokenStream>> streams;
  int submitted = 0;
  int64_t tokens = 0;
  int64_t finished = 0;
  int64_t rounds = 0;
  const auto start = std::chrono::steady_clock::now();
  while (finished < settings.requests) {
    // The queue always holds a few, so that a place in the batch is filled at once.
    while (submitted < settings.requests && controller->QueuedRequests(0) < 16) {
      if (!Submit(*controller, settings, submitted, streams)) break;
      ++submitted;
    }
    loop.RunOnce(wake->Take());
    if (++rounds % 8 != 0 && submitted < settings.requests) continue;
    for (size_t i = 0; i < streams.size();) {
      const request::StreamBatch batch = streams[i]->Read();
      tokens += static_cast<int64_t>(batch.tokens.size());
      if (!batch.closed) {
        ++i;
        continue;
      }
      if (!batch.status.ok()) {
        std::fprintf(stderr, "request failed: %s\n", batch.status.ToString().c_str());
        return 1;
      }
      ++finished;
      streams[i] = std::move(streams.back());
      streams.pop_back();
    }
  }
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  const double engine_seconds = seconds - model.seconds();
  std::printf(
      "{\"metrics\": {\"tokens_per_s\": %.0f, \"tokens_per_s_without_model\": %.0f, \"host_gap_us_p50\": %.1f, "
      "\"host_gap_us_p99\": %.1f, \"host_overlapped_us_p50\": %.1f, \"host_overlapped_us_p99\": %.1f, "
      "\"null_model_share_ratio\": %.3f, \"wall_s\": %.3f, \"full_steps\": %zu}, "
      "\"settings\": {\"sequences\": %d, \"prompt_tokens\": %d, \"output_tokens\": %d, \"requests\": %d, "
      "\"block_tokens\": %d, \"window_tokens\": %d, \"async\": %d, \"threads\": 1}}\n",
      static_cast<double>(tokens) / seconds, static_cast<double>(tokens) / engine_seconds,
      Watch::Percentile(watch.gap_us, 0.5), Watch::Percentile(watch.gap_us, 0.99),
      Watch::Percentile(watch.overlapped_us, 0.5), Watch::Percentile(watch.overlapped_us, 0.99),
      model.seconds() / seconds, seconds, watch.gap_us.size(), settings.sequences, settings.prompt, settings.output,
      settings.requests, settings.block_tokens, settings.window_tokens, settings.async);
  return 0;
}

}  // namespace
}  // namespace hadal

int main(int argc, char** argv) {
  hadal::Settings settings;
  for (int i = 1; i + 1 < argc; i += 2) {
    const int value = std::atoi(argv[i + 1]);
    int* target = std::strcmp(argv[i], "--sequences") == 0      ? &settings.sequences
                  : std::strcmp(argv[i], "--prompt") == 0       ? &settings.prompt
                  : std::strcmp(argv[i], "--output") == 0       ? &settings.output
                  : std::strcmp(argv[i], "--requests") == 0     ? &settings.requests
                  : std::strcmp(argv[i], "--block-tokens") == 0 ? &settings.block_tokens
                  : std::strcmp(argv[i], "--window") == 0       ? &settings.window_tokens
                  : std::strcmp(argv[i], "--async") == 0        ? &settings.async
                                                                : nullptr;
    const bool may_be_0 = target == &settings.window_tokens || target == &settings.async;
    if (target == nullptr || value < (may_be_0 ? 0 : 1)) {
      std::fprintf(stderr, "scheduler_bench: bad argument %s %s\n", argv[i], argv[i + 1]);
      return 2;
    }
    *target = value;
  }
  return hadal::Run(settings);
}
