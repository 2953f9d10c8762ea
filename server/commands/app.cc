// SPDX-License-Identifier: Apache-2.0
#include "server/commands/app.h"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "models/null_model.h"
#include "models/registry.h"
#include "server/base/log.h"
#include "server/base/strings.h"
#include "server/commands/commands.h"
#include "server/commands/demo_model.h"
#include "server/commands/generation_defaults.h"
#include "server/commands/memory_budget.h"

namespace hadal::commands {
namespace {

admission::LogSink MakeLogSink() {
  return [](admission::LogSeverity severity, std::string_view component, std::string_view message,
            const admission::LogFields& fields) {
    const base::LogLevel level = severity == admission::LogSeverity::kError     ? base::LogLevel::kError
                                 : severity == admission::LogSeverity::kWarning ? base::LogLevel::kWarn
                                                                                : base::LogLevel::kInfo;
    if (fields.reason == request::Reason::kNone) return base::Log(level, component, message);
    base::Log(level, component, message,
              {{"reason", request::ReasonName(fields.reason)},
               {"request_id", std::string_view(fields.request_id)},
               {"class", request::kPriorityNames[static_cast<int>(fields.priority)]},
               {"required_bytes", fields.required_bytes},
               {"available_bytes", fields.available_bytes},
               {"retry_after_ms", fields.retry_after_ms}});
  };
}

bool IsLoopback(const std::string& host) { return host == "localhost" || host == "::1" || host.starts_with("127."); }

std::vector<ModelFlag> ModelFlags(const ServerConfig& config) {
  if (!config.model.models.empty()) return config.model.models;
  return {{"hadal-demo", DemoModelDir()}};
}

// The style that chats are rendered in, and in the log by what it was chosen. A checkpoint that cannot chat is served
// all the same: chat requests are told why.
absl::Status ChooseChatTemplate(const std::string& wanted, service::ServedModel* served) {
  using chat::ChatTemplate;
  if (wanted == "auto") {
    served->chat_template = ChatTemplate::Detect(*served->tokenizer, served->info.family);
  } else {
    const std::optional<chat::ChatStyle> style = chat::ChatStyleFromName(wanted);
    if (!style.has_value()) {
      return absl::InvalidArgumentError(
          absl::StrCat("--chat-template is '", wanted, "'; expected auto, ", chat::ChatStyleNames()));
    }
    served->chat_template = ChatTemplate::ForStyle(*style, *served->tokenizer);
  }
  if (!served->chat_template.ok()) {
    base::Log(base::LogLevel::kWarn, "loader",
              absl::StrCat(served->name, ": ", served->chat_template.status().message()));
    return absl::OkStatus();
  }
  const bool guessed = served->chat_template->origin() == "the vocabulary";
  base::Log(guessed ? base::LogLevel::kWarn : base::LogLevel::kInfo, "loader",
            absl::StrCat(served->name, ": chats are rendered as ",
                         base::View(chat::ChatStyleName(served->chat_template->style())), ", by ",
                         base::View(served->chat_template->origin()),
                         guessed ? ", for want of a template; --chat-template overrides this" : ""));
  return absl::OkStatus();
}

int ServiceThreads() { return static_cast<int>(std::clamp(std::thread::hardware_concurrency() / 2, 1u, 8u)); }

}  // namespace

// A model in memory, before its engine exists.
struct App::Loaded {
  std::shared_ptr<models::Model> model;
  std::shared_ptr<service::ServedModel> served;
};

App::App(ServerConfig config, std::function<void()> on_failure)
    : config_(std::move(config)),
      on_failure_(std::move(on_failure)),
      model_flags_(ModelFlags(config_)),
      engine_metrics_(&metrics_),
      progress_(&metrics_, isatty(STDERR_FILENO) != 0 && config_.log.format != base::LogFormat::kJson) {}

App::~App() {
  if (http_ != nullptr) http_->Stop();
  if (grpc_ != nullptr) grpc_->Shutdown(absl::ZeroDuration());
  for (auto& engine : engines_) engine->Stop();
}

absl::Status App::Start() {
  for (const ModelFlag& flag : model_flags_) {
    std::error_code error;
    if (!std::filesystem::exists(std::filesystem::path(flag.dir) / "config.json", error)) {
      return absl::InvalidArgumentError(
          absl::StrCat("--model: '", flag.dir, "' is no checkpoint folder: it has no config.json"));
    }
  }
  if (!config_.api_key_file.empty()) {
    absl::StatusOr<service::ApiKeys> keys = service::ApiKeys::Load(config_.api_key_file);
    if (!keys.ok()) return keys.status();
    keys_ = *std::move(keys);
  }
  if (keys_.empty() && !config_.insecure_public && !IsLoopback(config_.front.host)) {
    return absl::InvalidArgumentError(
        absl::StrCat("--host=", config_.front.host,
                     " can be reached from outside: give --api-key-file, or --insecure-public to allow everybody"));
  }
  server_metrics_.build_info.With({kVersion, __VERSION__}).Set(1);

  admission::AdmissionOptions options = config_.admission;
  options.max_queue_requests = std::max<int64_t>(1, options.max_queue_requests);
  options.log = MakeLogSink();
  options.metrics = &metrics_;
  auto admission = admission::AdmissionController::Create(std::move(options));
  if (!admission.ok()) return admission.status();
  admission_ = *std::move(admission);
  admission_->SetLoading(absl::Seconds(2));
  server_metrics_.Watch([this] { return MakeLoad(Sources()); });

  service::GenerateService::Options service;
  service.admission = admission_.get();
  service.models = &models_;
  service.clock = base::Clock::Real();
  service.worker_threads = ServiceThreads();
  service.load = [this] { return MakeLoad(Sources()); };
  service.metrics = &metrics_;
  service.grammars = config_.grammar;
  service_ = std::make_unique<service::GenerateService>(std::move(service));

  auto grpc_server = rpc::GrpcServer::Start(config_.grpc, service_.get(), &keys_);
  if (!grpc_server.ok()) return grpc_server.status();
  grpc_ = *std::move(grpc_server);

  http::HttpOptions http = config_.http;
  http.version = kVersion;
  http::HttpServer::Dependencies dependencies;
  dependencies.service = service_.get();
  dependencies.keys = keys_;
  dependencies.metrics = &metrics_;
  dependencies.health = [this] { return Health(); };
  if (config_.grpc.port < 0) {
    dependencies.adopt_http2 = [this](int fd) { grpc_->Adopt(fd); };
  }
  auto http_server = http::HttpServer::Create(std::move(http), std::move(dependencies));
  if (!http_server.ok()) return http_server.status();
  http_ = *std::move(http_server);
  http_->Start();
  return absl::OkStatus();
}

absl::StatusOr<App::Loaded> App::LoadOne(const ModelFlag& flag, int index) {
  const absl::Time start = base::Clock::Real()->Now();
  progress_.Begin(flag.name, index, static_cast<int>(model_flags_.size()));
  // The tokenizer is parsed beside the weights: for a small model it is the longer part.
  absl::StatusOr<std::shared_ptr<const tokenizer::Tokenizer>> tokenizer = absl::UnknownError("not loaded");
  std::thread tokenizer_thread([&] { tokenizer = tokenizer::Tokenizer::Load(flag.dir); });

  absl::StatusOr<std::unique_ptr<models::Model>> model = absl::UnknownError("not loaded");
  const std::optional<absl::Duration>& null_step_time = config_.model.null_step_time;
  if (!null_step_time.has_value()) {
    models::LoadOptions options = config_.model.load;
    options.dir = flag.dir;
    options.name = flag.name;
    options.max_batch_tokens = config_.engine.max_batch_tokens;
    options.max_batch_size = config_.engine.max_batch_size;
    options.progress = [this](checkpoint::LoadProgress progress) {
      progress_.Update(progress.bytes_done, progress.bytes_total);
      admission_->SetLoading(std::max(absl::Seconds(1), progress_.Remaining()));
    };
    model = models::LoadModel(options);
  }
  tokenizer_thread.join();
  if (!tokenizer.ok()) return tokenizer.status();
  if (null_step_time.has_value()) {
    models::NullModel::Options null;
    null.name = flag.name;
    null.vocab_size = (*tokenizer)->vocab_size();
    null.step_latency = absl::ToChronoMicroseconds(*null_step_time);
    if (config_.model.load.max_model_len > 0) null.max_model_len = config_.model.load.max_model_len;
    absl::StatusOr<std::unique_ptr<models::NullModel>> created = models::NullModel::Create(null);
    if (!created.ok()) return created.status();
    model = *std::move(created);
  }
  if (!model.ok()) return model.status();
  const models::ModelInfo& info = (*model)->info();
  if ((*tokenizer)->vocab_size() > info.vocab_size) {
    return absl::InvalidArgumentError(
        absl::StrFormat("%s: tokenizer.json has ids up to %d, but the model's embedding has only %d rows", flag.dir,
                        (*tokenizer)->vocab_size() - 1, info.vocab_size));
  }

  auto served = std::make_shared<service::ServedModel>();
  served->name = flag.name;
  served->info = info;
  served->tokenizer = *tokenizer;
  if (absl::Status status = ChooseChatTemplate(config_.model.chat_template, served.get()); !status.ok()) return status;
  absl::StatusOr<service::GenerationDefaults> defaults = ReadGenerationDefaults(flag.dir);
  if (!defaults.ok()) return defaults.status();
  served->defaults = *defaults;
  served->grammar_compiler = grammar::GrammarCompiler::Create(*tokenizer, info.vocab_size);
  served->model_index = index;
  served->created_unix_s = absl::ToUnixSeconds(absl::Now());
  server_metrics_.model_info.With({flag.name, info.family, info.dtype, config_.model.load.device}).Set(1);
  base::Log(base::LogLevel::kInfo, "loader",
            absl::StrFormat("loaded %s: %s, %s, %.2f GB of weights in %.2f s", flag.name, info.family, info.dtype,
                            static_cast<double>(info.weights_bytes) / 1e9,
                            absl::ToDoubleSeconds(base::Clock::Real()->Now() - start)));
  return Loaded{*std::move(model), std::move(served)};
}

absl::Status App::StartEngines(std::vector<Loaded> loaded) {
  int64_t budget = config_.model.memory_budget_bytes;
  if (budget == 0) {
    absl::StatusOr<int64_t> automatic = AutoMemoryBudget(config_.model.load.device);
    if (!automatic.ok()) return automatic.status();
    budget = *automatic;
    // Weights are not in the available memory any more once they are loaded; the budget counts them.
    for (const Loaded& one : loaded) budget += one.model->info().weights_bytes;
  }
  auto ledger = admission::MemoryLedger::Create(budget);
  if (!ledger.ok()) return ledger.status();
  memory_ = *std::move(ledger);
  for (const Loaded& one : loaded) {
    const std::string& name = one.served->name;
    if (absl::Status status = memory_->Commit(absl::StrCat(name, " weights"), one.model->info().weights_bytes);
        !status.ok()) {
      return status;
    }
    const int64_t workspace = one.model->WorkspaceBytes(config_.engine.max_batch_tokens, config_.engine.max_batch_size);
    if (absl::Status status = memory_->Commit(absl::StrCat(name, " workspace"), workspace); !status.ok()) return status;
  }
  const int64_t rest = memory_->budget_bytes() - memory_->committed_bytes();
  for (const Loaded& one : loaded) {
    const models::ModelInfo& info = one.model->info();
    KvShare share;
    share.share_bytes = rest / static_cast<int64_t>(loaded.size());
    share.layout = one.model->kv_layout();
    absl::StatusOr<int32_t> block_tokens = KvBlockTokens(info.name, share.layout, config_.engine.block_tokens);
    if (!block_tokens.ok()) return block_tokens.status();
    share.block_tokens = *block_tokens;
    share.max_requests = int64_t{config_.engine.max_batch_size} + config_.admission.max_queue_requests;
    share.max_model_len = info.max_model_len;
    share.max_batch_size = config_.engine.max_batch_size;
    share.max_batch_tokens = std::max(config_.engine.max_batch_tokens, config_.engine.max_batch_size);
    const absl::StatusOr<models::KvCacheSize> size = KvPools(info.name, share);
    if (!size.ok()) return size.status();
    const int64_t block_bytes = share.layout.block_bytes(*block_tokens);
    // Requests lease full-attention KV blocks; window blocks belong to the slots of the batch.
    const int64_t window_bytes = size->window_blocks * share.layout.window_block_bytes(*block_tokens);
    if (window_bytes > 0) {
      absl::Status status = memory_->Commit(absl::StrCat(info.name, " windows"), window_bytes);
      if (!status.ok()) return status;
    }
    auto pool = memory_->CommitKvPool(info.name, size->blocks * block_bytes);
    if (!pool.ok()) return pool.status();

    admission::ModelLimits limits;
    limits.name = info.name;
    limits.max_model_len = info.max_model_len;
    limits.block_tokens = *block_tokens;
    limits.block_bytes = block_bytes;
    limits.pool = *pool;
    absl::StatusOr<int> index = admission_->AddModel(limits);
    if (!index.ok()) return index.status();

    engine::EngineOptions options = config_.engine;
    options.name = absl::StrCat("engine_", *index);
    options.num_blocks = size->blocks;
    options.num_window_blocks = size->window_blocks;
    options.block_tokens = *block_tokens;
    options.max_batch_tokens = share.max_batch_tokens;
    options.log = MakeLogSink();
    options.observer = &engine_metrics_;
    options.on_fault = on_failure_;
    auto engine = engine::Engine::Create(std::move(options), one.model, admission_.get(), *index);
    if (!engine.ok()) return engine.status();
    engines_.push_back(*std::move(engine));
    if (*block_tokens != config_.engine.block_tokens) {
      base::Log(
          base::LogLevel::kInfo, "main",
          absl::StrFormat("%s: KV blocks of %d tokens instead of %d, so that they hold whole entries of its caches",
                          info.name, *block_tokens, config_.engine.block_tokens));
    }
    base::Log(base::LogLevel::kInfo, "main",
              absl::StrFormat("%s: KV cache of %d blocks, %d tokens, %.2f GB; context %d tokens", info.name,
                              size->blocks, int64_t{size->blocks} * *block_tokens,
                              static_cast<double>(size->blocks * block_bytes) / 1e9, info.max_model_len));
    if (window_bytes > 0) {
      base::Log(base::LogLevel::kInfo, "main",
                absl::StrFormat("%s: window cache of %d blocks, %.2f GB", info.name, size->window_blocks,
                                static_cast<double>(window_bytes) / 1e9));
    }
    if (int64_t{size->blocks} * *block_tokens < info.max_model_len) {
      base::Log(
          base::LogLevel::kWarn, "main",
          absl::StrCat(info.name, ": a request of the whole context does not fit into the KV cache; longer ones than ",
                       int64_t{size->blocks} * *block_tokens,
                       " tokens are refused. Raise --memory-budget or set --max-model-len"));
    }
    if (absl::Status status = models_.Add(one.served); !status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status App::Load(const std::function<bool()>& cancelled) {
  std::vector<Loaded> loaded;
  for (size_t i = 0; i < model_flags_.size(); ++i) {
    absl::StatusOr<Loaded> one = LoadOne(model_flags_[i], static_cast<int>(i));
    if (!one.ok()) {
      progress_.End();
      return one.status();
    }
    loaded.push_back(*std::move(one));
    if (cancelled()) return absl::CancelledError("stopped while loading");
  }
  progress_.End();
  if (absl::Status status = StartEngines(std::move(loaded)); !status.ok()) return status;
  for (auto& engine : engines_) engine->Start();
  models_.AddAlias("deepseek-chat", "", false);
  models_.AddAlias("deepseek-reasoner", "", true);
  models_.MarkComplete();
  ready_.store(true, std::memory_order_release);
  admission_->SetReady();
  grpc_->SetServing(true);
  base::Log(base::LogLevel::kInfo, "main", "ready");
  return absl::OkStatus();
}

LoadSources App::Sources() const {
  LoadSources sources;
  sources.admission = admission_.get();
  sources.draining = draining_.load(std::memory_order_acquire);
  if (!ready_.load(std::memory_order_acquire)) return sources;
  for (const auto& engine : engines_) sources.engines.push_back(engine.get());
  sources.memory_budget_bytes = memory_->budget_bytes();
  for (const admission::MemoryLedger::Part& part : memory_->parts()) sources.memory_fixed_bytes += part.bytes;
  sources.memory_fixed_bytes -= admission_->GetLoad().memory_capacity_bytes;
  sources.ready = !sources.draining && Failure().empty();
  return sources;
}

http::HealthReport App::Health() const {
  http::HealthReport report;
  report.started = ready_.load(std::memory_order_acquire);
  const bool draining = draining_.load(std::memory_order_acquire);
  report.stage = !report.started ? "loading" : draining ? "draining" : "ready";
  report.progress = report.started ? 1 : progress_.progress();
  if (!report.started) {
    report.message = "the model is loading";
    return report;
  }
  for (const auto& engine : engines_) {
    const engine::HealthSnapshot health = engine->Health();
    if (health.live) continue;
    report.live = false;
    report.message = health.message;
  }
  const std::string failure = Failure();
  if (!failure.empty()) {
    report.stage = "device_fault";
    report.message = failure;
  }
  report.ready = !draining && failure.empty();
  return report;
}

std::string App::Failure() const {
  if (!ready_.load(std::memory_order_acquire)) return "";
  for (const auto& engine : engines_) {
    if (engine->snapshot().device_fault) return absl::StrCat(engine->options().name, ": the device failed");
  }
  return "";
}

void App::Drain(absl::Duration timeout) {
  draining_.store(true, std::memory_order_release);
  grpc_->SetServing(false);
  admission_->BeginDrain();
  http_->BeginDrain();
  for (auto& engine : engines_) engine->BeginDrain(timeout);
  bool hung = false;
  for (auto& engine : engines_) hung = !engine->WaitDrained() || hung;
  if (hung) {
    // The model never came back from a step: its thread cannot be joined, so the process ends without destructors.
    base::Log(base::LogLevel::kError, "main", "a model step did not end: leaving without it");
    base::ShutdownLogging();
    std::_Exit(4);
  }
  // What the engines have published still has to reach the clients.
  http_->WaitIdle(absl::Seconds(2));
  grpc_->Shutdown(absl::Seconds(2));
  http_->Stop();
  for (auto& engine : engines_) engine->Stop();
}

void App::ShortenDrain(absl::Duration timeout) {
  for (auto& engine : engines_) engine->BeginDrain(timeout);
}

int App::grpc_port() const { return grpc_->port(); }

}  // namespace hadal::commands
