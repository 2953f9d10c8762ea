// SPDX-License-Identifier: Apache-2.0
#include "tests/support/service_fixture.h"

#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <utility>

namespace hadal::testing {

ServiceFixture::ServiceFixture(ScriptedEngine::MakeScript script, Options options)
    : pool(options.pool_blocks * kBlockBytes) {
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
      other->model_index = admission->AddModel({"other", options.max_model_len, 64, kBlockBytes, &other_pool}).value();
      models.Add(std::move(other)).IgnoreError();
    }
    models.AddAlias("deepseek-chat", "", false);
    models.MarkComplete();
    admission->SetReady();
  }
  service::GenerateService::Options service_options;
  service_options.admission = admission.get();
  service_options.models = &models;
  service_options.clock = options.clock;
  service_options.worker_threads = options.worker_threads;
  service_options.max_worker_jobs = options.max_worker_jobs;
  service_options.stream_capacity_tokens = options.stream_capacity_tokens;
  service_options.metrics = &metrics;
  service_options.grammars = options.grammars;
  service_options.bodies = options.bodies;
  service_options.degradation = options.degradation;
  if (options.response_cache.enabled() || options.degradation.cache_bytes > 0) {
    response_cache = *response_cache::ResponseCache::Create({.cache = options.response_cache,
                                                             .ladder_bytes = options.degradation.cache_bytes,
                                                             .metrics = &response_cache_metrics});
  }
  service_options.response_cache = response_cache.get();
  service = std::make_unique<service::GenerateService>(std::move(service_options));
  engine = std::make_unique<ScriptedEngine>(admission.get(), std::move(script));
}

ServiceFixture::~ServiceFixture() {
  engine->Stop();
  service.reset();
}

ScriptedEngine::MakeScript ServiceFixture::Says(std::string text) {
  return [tokens = DemoEncode(text)](const request::Request&) {
    Script script;
    script.tokens = tokens;
    script.stop_token = 1;
    return script;
  };
}

bool ServiceFixture::Empty() const {
  const admission::AdmissionController::Load load = admission->GetLoad();
  return load.waiting == 0 && load.waiting_tokens == 0 && load.memory_leased_bytes == 0;
}

bool ServiceFixture::WaitEmpty(absl::Duration timeout) const {
  for (int i = 0; i < absl::ToInt64Milliseconds(timeout); ++i) {
    if (Empty() && engine->running() == 0) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return false;
}

}  // namespace hadal::testing
