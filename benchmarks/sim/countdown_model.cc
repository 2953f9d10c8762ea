// SPDX-License-Identifier: Apache-2.0
#include "benchmarks/sim/countdown_model.h"

#include <algorithm>
#include <utility>

#include "server/base/check.h"

namespace hadal::sim {

CountdownModel::CountdownModel(DeviceSpec device, std::function<void(absl::Duration)> run_until_done)
    : device_(std::move(device)), run_until_done_(std::move(run_until_done)) {
  info_.name = device_.name;
  info_.family = "countdown";
  info_.fingerprint = "countdown";
  info_.vocab_size = kMaxOutputTokens + 1;
  info_.max_model_len = device_.max_model_len;
  const int64_t bytes = std::max<int64_t>(1, static_cast<int64_t>(device_.kv_bytes_per_token));
  kv_layout_.caches.push_back({.name = "kv", .layers = 1, .bytes_per_entry_layer = bytes});
}

absl::StatusOr<models::StepHandle> CountdownModel::Launch(models::StepInput input) {
  output_.samples.clear();
  for (const models::SampleRow& row : input.samples) {
    models::SampleResult result;
    result.token_id = std::max(input.token_ids[row.token_index] - 1, kEndToken);
    output_.samples.push_back(std::move(result));
  }
  step_time_ = device_.StepTime(input);
  busy_ += step_time_;
  return models::StepHandle{++launched_};
}

absl::StatusOr<models::StepOutput> CountdownModel::Wait(models::StepHandle handle) {
  HADAL_CHECK(handle.id == launched_) << "step " << handle.id << " is not in flight";
  run_until_done_(step_time_);
  return std::move(output_);
}

}  // namespace hadal::sim
