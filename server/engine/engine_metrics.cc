// SPDX-License-Identifier: Apache-2.0
#include "server/engine/engine_metrics.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "server/engine/engine_options.h"
#include "server/engine/engine_snapshot.h"

namespace hadal::engine {
namespace {

size_t Index(request::Priority priority) { return static_cast<size_t>(priority); }

uint64_t Count(int32_t tokens) { return static_cast<uint64_t>(std::max(tokens, 0)); }

}  // namespace

void EngineMetrics::OnCreated(const EngineOptions& options, std::shared_ptr<const PublishedState> state) {
  kv_cache_info_.With({absl::StrCat(options.block_tokens), absl::StrCat(options.num_blocks)}).Set(1);
  base::MutexLock lock(&mutex_);
  engines_.push_back(std::move(state));
}

void EngineMetrics::ExportLevels() {
  int64_t running = 0, runnable = 0, free = 0, leased = 0, cached = 0, total = 0;
  int64_t free_windows = 0, leased_windows = 0, cached_windows = 0;
  {
    base::MutexLock lock(&mutex_);
    for (const auto& engine : engines_) {
      running += engine->running;
      runnable += engine->running - engine->paused_requests;
      free += engine->free_blocks;
      leased += engine->leased_blocks;
      cached += engine->cached_blocks;
      total += engine->total_blocks;
      free_windows += engine->free_window_blocks;
      leased_windows += engine->leased_window_blocks;
      cached_windows += engine->cached_window_blocks;
    }
  }
  requests_running_.Get().Set(running);
  requests_runnable_.Get().Set(runnable);
  kv_usage_.Get().Set(KvUsageRatio(leased, total));
  kv_blocks_.At(kFree).Set(free);
  kv_blocks_.At(kLeased).Set(leased);
  kv_blocks_.At(kCached).Set(cached);
  kv_window_blocks_.At(kFree).Set(free_windows);
  kv_window_blocks_.At(kLeased).Set(leased_windows);
  kv_window_blocks_.At(kCached).Set(cached_windows);
}

void EngineMetrics::OnStep(const StepFacts& facts) {
  step_duration_.Get().Observe(absl::ToDoubleSeconds(facts.duration));
  step_tokens_.Get().Observe(facts.tokens);
  last_step_.Get().Set(absl::ToDoubleSeconds(absl::Now() - absl::UnixEpoch()));
}

void EngineMetrics::OnMasks(const MaskFacts& facts) {
  mask_time_.Get().ObserveMany(absl::ToDoubleSeconds(facts.duration) / facts.rows, Count(facts.rows));
}

void EngineMetrics::OnStarted(request::Priority priority, absl::Duration queue_time) {
  queue_time_.At(Index(priority)).Observe(absl::ToDoubleSeconds(queue_time));
}

void EngineMetrics::OnFirstToken(request::Priority priority, absl::Duration since_arrival) {
  first_token_.At(Index(priority)).Observe(absl::ToDoubleSeconds(since_arrival));
}

void EngineMetrics::OnTokens(int32_t tokens) { generation_tokens_.Get().Increment(Count(tokens)); }

void EngineMetrics::OnInterToken(absl::Duration duration) {
  inter_token_.Get().Observe(absl::ToDoubleSeconds(duration));
}

void EngineMetrics::OnPrefixLookup(int32_t query_tokens, int32_t hit_tokens) {
  prefix_query_.Get().Increment(Count(query_tokens));
  prefix_hit_.Get().Increment(Count(hit_tokens));
}

void EngineMetrics::OnSetAside(int32_t sequences) { set_aside_.Get().Increment(Count(sequences)); }

void EngineMetrics::OnRested(int32_t rows) { rested_.Get().Increment(Count(rows)); }

void EngineMetrics::OnPreempted(int32_t lost_tokens) {
  preemptions_.At(0).Increment();
  wasted_.At(kPreempted).Increment(Count(lost_tokens));
}

void EngineMetrics::OnRecomputed(int32_t tokens) { recomputed_.Get().Increment(Count(tokens)); }

void EngineMetrics::OnDiscarded(int32_t rows) { discarded_.Get().Increment(Count(rows)); }

void EngineMetrics::OnChoiceEnded(request::FinishReason reason) {
  switch (reason) {
    case request::FinishReason::kStop:
      return choices_.At(kStop).Increment();
    case request::FinishReason::kLength:
      return choices_.At(kLength).Increment();
    case request::FinishReason::kCancelled:
    case request::FinishReason::kInsufficientSystemResource:  // a drain cut it short
      return choices_.At(kAbort).Increment();
    case request::FinishReason::kNone:
    case request::FinishReason::kError:
      return choices_.At(kFailed).Increment();
  }
}

void EngineMetrics::OnEnded(const RequestFacts& facts) {
  const request::StreamUsage& usage = facts.usage;
  const Where where = facts.stage == Stage::kQueue ? kInQueue : kRunning;
  const uint64_t computed = Count(usage.prompt_tokens - usage.cached_tokens + usage.completion_tokens);
  switch (facts.reason) {
    case request::Reason::kNone:
      break;
    case request::Reason::kCancelled:
      cancellations_.At(where).Increment();
      wasted_.At(kCancelled).Increment(computed);
      break;
    case request::Reason::kDeadlineExpired:
      deadline_misses_.At(where).Increment();
      wasted_.At(kDeadline).Increment(computed);
      break;
    case request::Reason::kSlowReader:
      wasted_.At(kSlowReader).Increment(computed);
      break;
    default:
      wasted_.At(kError).Increment(computed);
      break;
  }
  if (where == kInQueue) return;
  if (facts.good) {
    goodput_.At(admission::ClassAndLengthIndex(facts.priority, usage.prompt_tokens))
        .Increment(Count(usage.prompt_tokens + usage.completion_tokens));
  }
  prompt_tokens_.Get().Increment(Count(usage.prompt_tokens));
  prompt_length_.Get().Observe(usage.prompt_tokens);
  output_length_.Get().Observe(usage.completion_tokens);
  duration_.At(Index(facts.priority)).Observe(absl::ToDoubleSeconds(facts.total_time));
  if (usage.completion_tokens == 0) return;
  prefill_time_.Get().Observe(absl::ToDoubleSeconds(facts.prefill_time));
  decode_time_.Get().Observe(absl::ToDoubleSeconds(facts.decode_time));
  if (usage.completion_tokens > 1) {
    time_per_token_.Get().Observe(absl::ToDoubleSeconds(facts.decode_time) / (usage.completion_tokens - 1));
  }
}

}  // namespace hadal::engine
