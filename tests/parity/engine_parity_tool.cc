// SPDX-License-Identifier: Apache-2.0
//
// Runs prompts on a checkpoint through the real engine: admission, scheduler, prefix cache, preemption, the loaded
// model. The C++ half of test_engine_parity.py. One JSON object on stdin, one on stdout.
//
//   in:  {"dir", "device", "dtype", "threads", "block_tokens", "engines": [{"kv_tokens", "extra_window_blocks",
//         "max_batch_size", "max_batch_tokens", "prefix_cache", "async", "parts", "batches": [{"prompts": [[id, ...],
//         ...], "greedy": 24}]}]}
//   out: {"engines": [{"batches": [{"results": [{"tokens", "logprobs", "cached_tokens"}, ...], "preemptions",
//         "largest_step_sequences"}]}]}
//
// An engine is one model, loaded afresh, in that many parts and with pools of that size. The prompts of a batch are
// queued at once; the next batch follows when all have ended, and finds what the ones before left in the prefix cache.
// The ledger of admission leases far more than the pool has, so that a small pool preempts instead of refusing.

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "models/registry.h"
#include "models/status_macros.h"
#include "nlohmann/json.hpp"
#include "server/admission/admission.h"
#include "server/engine/step_loop.h"
#include "tests/models/model_in_parts.h"
#include "tests/parity/json_tool.h"

namespace hadal::engine {
namespace {

using nlohmann::json;

class Counter : public EngineObserver {
 public:
  void OnStep(const StepFacts& facts) override { largest_step = std::max(largest_step, facts.sequences); }
  void OnPreempted(int32_t) override { ++preemptions; }

  int32_t preemptions = 0;
  int32_t largest_step = 0;
};

absl::StatusOr<std::unique_ptr<models::Model>> Load(const json& request, const json& engine) {
  models::LoadOptions options;
  options.dir = request.at("dir").get<std::string>();
  options.device = request.value("device", std::string("cpu"));
  options.dtype = request.value("dtype", std::string("auto"));
  options.threads = request.value("threads", 0);
  options.max_batch_tokens = engine.at("max_batch_tokens").get<int32_t>();
  options.max_batch_size = engine.at("max_batch_size").get<int32_t>();
  const int parts = engine.value("parts", 1);
  return parts == 1 ? models::LoadModel(options) : models::testing::LoadInParts(options, parts);
}

// One engine with what it needs around it, turned by this thread.
class Server {
 public:
  Server(std::unique_ptr<models::Model> model, const json& request, const json& engine)
      : model_(std::move(model)), pool_(int64_t{1} << 40) {
    const models::KvLayout& layout = model_->kv_layout();
    options_.observer = &counter_;
    options_.block_tokens = layout.round_block_tokens(request.value("block_tokens", 4));
    options_.num_blocks = (engine.at("kv_tokens").get<int32_t>() + options_.block_tokens - 1) / options_.block_tokens;
    options_.max_batch_size = engine.at("max_batch_size").get<int32_t>();
    options_.max_batch_tokens = engine.at("max_batch_tokens").get<int32_t>();
    options_.prefix_cache = engine.value("prefix_cache", true);
    options_.async_scheduling = engine.value("async", false) ? AsyncScheduling::kOn : AsyncScheduling::kOff;
    options_.num_window_blocks = static_cast<int32_t>(
        layout.window_blocks_for(options_.block_tokens, options_.max_batch_size, options_.max_batch_tokens));
    if (layout.window_tokens > 0) options_.num_window_blocks += engine.value("extra_window_blocks", 0);
  }

  absl::Status Start() {
    HADAL_RETURN_IF_ERROR(options_.Validate());
    HADAL_RETURN_IF_ERROR(
        model_->AllocateKvCache({options_.num_blocks, options_.block_tokens, options_.num_window_blocks}));
    HADAL_ASSIGN_OR_RETURN(admission_, admission::AdmissionController::Create({}));
    const models::ModelInfo& info = model_->info();
    HADAL_RETURN_IF_ERROR(
        admission_->AddModel({info.name, info.max_model_len, options_.block_tokens, 1, &pool_}).status());
    admission_->SetReady();
    loop_ = std::make_unique<StepLoop>(options_, model_.get(), admission_.get(), 0, wake_, published_);
    return absl::OkStatus();
  }

  absl::StatusOr<json> Run(const json& batch) {
    counter_ = Counter();
    std::vector<std::shared_ptr<request::TokenStream>> streams;
    for (const json& prompt : batch.at("prompts")) {
      HADAL_ASSIGN_OR_RETURN(streams.emplace_back(),
                             Submit(prompt.get<std::vector<int32_t>>(), batch.at("greedy").get<int32_t>()));
    }
    while (loop_->RunOnce(wake_->Take()).progressed) {
    }
    json results = json::array();
    for (const auto& stream : streams) {
      const request::StreamBatch answer = stream->Read();
      if (!answer.closed) return absl::InternalError("a request has not ended");
      HADAL_RETURN_IF_ERROR(answer.status);
      json tokens = json::array(), logprobs = json::array();
      for (const request::TokenEvent& event : answer.tokens) {
        tokens.push_back(event.token_id);
        logprobs.push_back(event.logprob);
      }
      results.push_back({{"tokens", std::move(tokens)},
                         {"logprobs", std::move(logprobs)},
                         {"cached_tokens", answer.usage.cached_tokens}});
    }
    if (published_->leased_blocks != 0 || published_->leased_window_blocks != 0) {
      return absl::InternalError("blocks are still held");
    }
    return json{{"results", std::move(results)},
                {"preemptions", counter_.preemptions},
                {"largest_step_sequences", counter_.largest_step}};
  }

 private:
  absl::StatusOr<std::shared_ptr<request::TokenStream>> Submit(std::vector<int32_t> prompt, int32_t max_tokens) {
    auto request = std::make_unique<request::Request>();
    request->id = std::to_string(submitted_++);
    request->arrival = options_.clock->Now();
    request->prompt = std::move(prompt);
    request->sampling.temperature = 0;
    request->max_tokens = max_tokens;
    request->top_logprobs = 0;
    request->stream = std::make_shared<request::TokenStream>(1 << 20);
    std::shared_ptr<request::TokenStream> stream = request->stream;
    HADAL_ASSIGN_OR_RETURN(admission::Ticket ticket, admission_->TryAdmit({request->priority, "", request->id, 0}));
    HADAL_RETURN_IF_ERROR(ticket.Finalize(*request, 0));
    HADAL_RETURN_IF_ERROR(admission_->Enqueue(0, std::move(request), std::move(ticket)));
    return stream;
  }

  std::unique_ptr<models::Model> model_;
  admission::KvPoolLedger pool_;
  Counter counter_;
  EngineOptions options_;
  std::unique_ptr<admission::AdmissionController> admission_;
  std::shared_ptr<request::WakeSignal> wake_ = std::make_shared<request::WakeSignal>();
  std::shared_ptr<PublishedState> published_ = std::make_shared<PublishedState>();
  std::unique_ptr<StepLoop> loop_;
  int64_t submitted_ = 0;
};

absl::StatusOr<json> RunAll(const json& request) {
  json answer = {{"engines", json::array()}};
  for (const json& engine : request.at("engines")) {
    HADAL_ASSIGN_OR_RETURN(std::unique_ptr<models::Model> model, Load(request, engine));
    Server server(std::move(model), request, engine);
    HADAL_RETURN_IF_ERROR(server.Start());
    json batches = json::array();
    for (const json& batch : engine.at("batches")) {
      HADAL_ASSIGN_OR_RETURN(json result, server.Run(batch));
      batches.push_back(std::move(result));
    }
    answer["engines"].push_back({{"batches", std::move(batches)}});
  }
  return answer;
}

}  // namespace
}  // namespace hadal::engine

int main() { return hadal::testing::AnswerJson(hadal::engine::RunAll); }
