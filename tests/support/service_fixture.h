// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "server/service/generate_service.h"
#include "tests/support/demo_tokenizer.h"
#include "tests/support/scripted_engine.h"

namespace hadal::testing {

// Service, admission and scripted engine with the demo tokenizer under the name "demo", all in one process.
class ServiceFixture {
 public:
  static constexpr int64_t kBlockBytes = 1000;

  struct Options {
    int64_t max_queue_requests = 64;
    int32_t max_model_len = 512;
    int32_t stream_capacity_tokens = 1024;
    int worker_threads = 2;
    size_t max_worker_jobs = 256;
    bool ready = true;
    std::optional<chat::ChatStyle> chat_style;  // left out: the demo model's
    service::GrammarService::Options grammars = {};
    service::BodyBudget::Options bodies = {};
    service::DegradationOptions degradation = {};
    int64_t pool_blocks = int64_t{1} << 30;
    bool second_model = false;  // "other", which no engine runs
  };

  explicit ServiceFixture(ScriptedEngine::MakeScript script) : ServiceFixture(std::move(script), Options()) {}
  ServiceFixture(ScriptedEngine::MakeScript script, Options options) : pool(options.pool_blocks * kBlockBytes) {
    admission::AdmissionController::Options admission_options;
    admission_options.max_queue_requests = options.max_queue_requests;
    admission = *admission::AdmissionController::Create(std::move(admission_options));
    admission->AddModel({"demo", options.max_model_len, 64, kBlockBytes, &pool}).value();
    auto model = std::make_shared<service::ServedModel>();
    model->name = "demo";
    model->info.name = "demo";
    model->info.family = "null";
    model->info.dtype = "float32";
    model->info.fingerprint = "fp_test";
    model->info.vocab_size = DemoTokenizer()->vocab_size();
    model->info.max_model_len = options.max_model_len;
    model->tokenizer = DemoTokenizer();
    model->chat_template = options.chat_style.has_value()
                               ? chat::ChatTemplate::ForStyle(*options.chat_style, *model->tokenizer)
                               : chat::ChatTemplate::Detect(*model->tokenizer);
    model->grammar_compiler = grammar::GrammarCompiler::Create(model->tokenizer, model->info.vocab_size);
    if (options.ready) {
      models.Add(model).IgnoreError();
      if (options.second_model) {
        auto other = std::make_shared<service::ServedModel>(*model);
        other->name = "other";
        other->model_index =
            admission->AddModel({"other", options.max_model_len, 64, kBlockBytes, &other_pool}).value();
        models.Add(std::move(other)).IgnoreError();
      }
      models.AddAlias("deepseek-chat", "", false);
      models.MarkComplete();
      admission->SetReady();
    }
    service::GenerateService::Options service_options;
    service_options.admission = admission.get();
    service_options.models = &models;
    service_options.clock = base::Clock::Real();
    service_options.worker_threads = options.worker_threads;
    service_options.max_worker_jobs = options.max_worker_jobs;
    service_options.stream_capacity_tokens = options.stream_capacity_tokens;
    service_options.metrics = &metrics;
    service_options.grammars = options.grammars;
    service_options.bodies = options.bodies;
    service_options.degradation = options.degradation;
    service = std::make_unique<service::GenerateService>(std::move(service_options));
    engine = std::make_unique<ScriptedEngine>(admission.get(), std::move(script));
  }
  ~ServiceFixture() {
    engine->Stop();
    service.reset();
  }

  // A script that says `text` and then ends with the end-of-sequence token.
  static ScriptedEngine::MakeScript Says(std::string text) {
    return [tokens = DemoEncode(text)](const request::Request&) {
      Script script;
      script.tokens = tokens;
      script.stop_token = 1;
      return script;
    };
  }

  // Everything was given back: no slot, no token, no byte is held.
  bool Empty() const {
    const admission::AdmissionController::Load load = admission->GetLoad();
    return load.waiting == 0 && load.waiting_tokens == 0 && load.memory_leased_bytes == 0;
  }
  bool WaitEmpty(absl::Duration timeout = absl::Seconds(5)) const {
    for (int i = 0; i < absl::ToInt64Milliseconds(timeout); ++i) {
      if (Empty() && engine->running() == 0) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return false;
  }

  base::MetricRegistry metrics;
  admission::KvPoolLedger pool;
  admission::KvPoolLedger other_pool{int64_t{1} << 40};
  service::ModelTable models;
  std::unique_ptr<admission::AdmissionController> admission;
  std::unique_ptr<service::GenerateService> service;
  std::unique_ptr<ScriptedEngine> engine;
};

}  // namespace hadal::testing
