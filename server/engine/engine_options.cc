// SPDX-License-Identifier: Apache-2.0
#include "server/engine/engine_options.h"

#include "absl/strings/str_cat.h"

namespace hadal::engine {
namespace {

absl::Status CheckRange(absl::string_view name, int64_t value, int64_t low, int64_t high) {
  if (value >= low && value <= high) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("engine: ", name, " is ", value, ", allowed ", low, " to ", high));
}

}  // namespace

absl::Status EngineOptions::Validate() const {
  for (const absl::Status& status : {
           CheckRange("num_blocks", num_blocks, 1, int64_t{1} << 30),
           CheckRange("num_window_blocks", num_window_blocks, 0, int64_t{1} << 30),
           CheckRange("block_tokens", block_tokens, 1, kMaxBlockTokens),
           CheckRange("max_batch_size", max_batch_size, 1, 65536),
           CheckRange("max_batch_tokens", max_batch_tokens, max_batch_size, int64_t{1} << 24),
           CheckRange("step_time_target in us", absl::ToInt64Microseconds(step_time_target), 0, INT64_MAX),
           CheckRange("max_preemptions", max_preemptions, 0, 1000),
           CheckRange("batch_wait in us", absl::ToInt64Microseconds(batch_wait), 0, 10'000'000),
           CheckRange("slow_reader_timeout in ms", absl::ToInt64Milliseconds(stream.slow_reader_timeout), 1, INT64_MAX),
           CheckRange("stall_timeout in ms", absl::ToInt64Milliseconds(stall_timeout), 1, INT64_MAX),
       }) {
    if (!status.ok()) return status;
  }
  if (clock == nullptr) return absl::InvalidArgumentError("engine: clock is null");
  return absl::OkStatus();
}

}  // namespace hadal::engine
