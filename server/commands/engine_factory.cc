// SPDX-License-Identifier: Apache-2.0
#include "server/commands/engine_factory.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "models/warm_up.h"
#include "server/base/clock.h"
#include "server/base/log.h"

namespace hadal::commands {
namespace {

void LogCaches(const models::ModelInfo& info, const CachePlan& caches, int32_t wanted_block_tokens) {
  const models::KvCacheSize& size = caches.size;
  if (size.block_tokens != wanted_block_tokens) {
    base::Log(base::LogLevel::kInfo, "main",
              absl::StrFormat("%s: KV blocks of %d tokens instead of %d, so that they hold whole entries of its caches",
                              info.name, size.block_tokens, wanted_block_tokens));
  }
  base::Log(base::LogLevel::kInfo, "main",
            absl::StrFormat("%s: KV cache of %d blocks, %d tokens, %.2f GB; context %d tokens", info.name, size.blocks,
                            caches.tokens(), static_cast<double>(size.blocks * caches.block_bytes) / 1e9,
                            info.max_model_len));
  if (caches.window_bytes > 0) {
    base::Log(base::LogLevel::kInfo, "main",
              absl::StrFormat("%s: window cache of %d blocks, %.2f GB", info.name, size.window_blocks,
                              static_cast<double>(caches.window_bytes) / 1e9));
  }
  if (caches.tokens() < info.max_model_len) {
    base::Log(
        base::LogLevel::kWarn, "main",
        absl::StrCat(info.name, ": a request of the whole context does not fit into the KV cache; longer ones than ",
                     caches.tokens(), " tokens are refused. Raise --memory-budget or set --max-model-len"));
  }
}

absl::Status RunWarmUp(models::Model& model, models::WarmUpLimits limits,
                       const std::function<void(double)>& on_warm_up) {
  const models::ModelInfo& info = model.info();
  if (info.device == "none") return absl::OkStatus();
  limits.every_size = info.device.starts_with("cuda");
  const absl::Time start = base::Clock::Real()->Now();
  const absl::StatusOr<int> steps = models::WarmUp(model, limits, on_warm_up);
  if (!steps.ok()) return steps.status();
  base::Log(base::LogLevel::kInfo, "main",
            absl::StrFormat("%s: warmed up on %s in %.2f s, %d steps", info.name, info.device,
                            absl::ToDoubleSeconds(base::Clock::Real()->Now() - start), *steps));
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<engine::Engine>> CreateEngine(engine::EngineOptions options,
                                                             std::shared_ptr<models::Model> model,
                                                             const CachePlan& caches,
                                                             admission::AdmissionController* admission,
                                                             const std::function<void(double)>& on_warm_up) {
  const models::ModelInfo& info = model->info();
  admission::ModelLimits limits;
  limits.name = info.name;
  limits.max_model_len = info.max_model_len;
  limits.block_tokens = caches.size.block_tokens;
  limits.block_bytes = caches.block_bytes;
  limits.pool = caches.pool;
  absl::StatusOr<int> index = admission->AddModel(limits);
  if (!index.ok()) return index.status();

  const int32_t wanted_block_tokens = options.block_tokens;
  options.name = absl::StrCat("engine_", *index);
  options.num_blocks = caches.size.blocks;
  options.num_window_blocks = caches.size.window_blocks;
  options.block_tokens = caches.size.block_tokens;
  const models::WarmUpLimits warm_up = {options.max_batch_tokens, options.max_batch_size, caches.size};
  auto engine = engine::Engine::Create(std::move(options), model, admission, *index);
  if (!engine.ok()) return engine.status();
  LogCaches(info, caches, wanted_block_tokens);
  if (absl::Status status = RunWarmUp(*model, warm_up, on_warm_up); !status.ok()) return status;
  return engine;
}

}  // namespace hadal::commands
