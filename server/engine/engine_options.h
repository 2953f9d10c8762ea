// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "server/admission/admission_log.h"
#include "server/base/clock.h"
#include "server/base/flag_set.h"
#include "server/base/flag_values.h"
#include "server/request/stream_options.h"

namespace hadal::engine {

class BlockEvents;
class EngineObserver;

inline constexpr int32_t kMaxBlockTokens = 1024;

// Whether a decode step is launched before the tokens of the previous step are known (README.md, "Asynchronous
// scheduling"). kAuto: on a GPU, which would otherwise wait for the host. A CPU would only compute one more row for
// each sequence that ends.
enum class AsyncScheduling { kAuto, kOn, kOff };

struct EngineOptions {
  std::string name = "engine_0";  // in logs and as thread name
  base::Clock* clock = base::Clock::Real();
  int32_t num_blocks = 0;           // KV blocks of the pool; at least 1
  int32_t num_window_blocks = 0;    // of the window pool; 0 for a model without a window, else at least
                                    // KvLayout::window_blocks_for(the three below): more keeps windows for reuse
  int32_t block_tokens = 64;        // token slots in a block; 1..kMaxBlockTokens
  int32_t max_batch_size = 256;     // sequences in a step
  int32_t max_batch_tokens = 2048;  // tokens in a step; at least max_batch_size, so that decode always fits
  // What a step that also computes prompts may take while sequences decode (StepTokenBudget); 0: as long as it takes.
  absl::Duration step_time_target = absl::Milliseconds(50);
  AsyncScheduling async_scheduling = AsyncScheduling::kAuto;
  absl::Duration batch_wait = absl::ZeroDuration();  // how long an idle engine waits to gather a first batch
  request::StreamOptions stream;
  absl::Duration stall_timeout = absl::Seconds(30);  // liveness: runnable work and no finished step for so long
  int32_t max_preemptions = 2;  // of one sequence, while others can be; 0: all its blocks are reserved at once
  bool prefix_cache = true;
  admission::LogSink log;               // empty: none
  std::function<void()> on_fault;       // called once, on the engine's thread, when the device has failed; may be empty
  EngineObserver* observer = nullptr;   // not owned; outlives the engine; nullptr: none
  BlockEvents* block_events = nullptr;  // the same; of this engine alone

  // `stream` registers its own.
  void AddFlags(base::FlagSet* flags) {
    flags->AddInt("kv-block-tokens", &block_tokens, {1, 4096}, "tokens per KV block");
    flags->AddInt("max-batch-size", &max_batch_size, {1, 65536}, "maximum sequences per step");
    flags->AddInt("max-batch-tokens", &max_batch_tokens, {1, 1 << 20}, "maximum tokens per step");
    flags->AddDuration("step-time-target", &step_time_target,
                       "how long a step may take with prompts in it while other sequences decode: the time between "
                       "their tokens; 0: as long as --max-batch-tokens take");
    flags->AddEnum("async-scheduling", &async_scheduling,
                   {{"auto", AsyncScheduling::kAuto}, {"on", AsyncScheduling::kOn}, {"off", AsyncScheduling::kOff}},
                   "launch a decode step before the tokens of the step before have come to the host; auto: on a GPU");
    flags->Add({.name = "batch-wait-us",
                .help = "how long an idle engine waits to fill a batch, in microseconds",
                .default_text = std::to_string(absl::ToInt64Microseconds(batch_wait)),
                .set =
                    [this](const std::string& text) {
                      const absl::StatusOr<int64_t> us = base::ParseInt(text, 0, 10'000'000);
                      if (us.ok()) batch_wait = absl::Microseconds(*us);
                      return us.status();
                    },
                .value_name = "N"});
    flags->AddDuration("stall-timeout", &stall_timeout,
                       "liveness fails when runnable work completes no step for this long");
    flags->AddBool("prefix-cache", &prefix_cache, "share KV blocks of equal prompt prefixes");
  }

  // InvalidArgument names the option, the limit and the value.
  absl::Status Validate() const;
};

}  // namespace hadal::engine
