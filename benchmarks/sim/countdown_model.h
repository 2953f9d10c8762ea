// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <vector>

#include "benchmarks/sim/device.h"
#include "models/model.h"

namespace hadal::sim {

// A model that counts down: after token k it samples k - 1, and 0 is its end token. So the last prompt token says how
// long the output becomes, the server cannot know, and a preempted sequence continues where it was. A step lasts as
// long as the device says; Wait lets the simulated world go on for that time. Nothing is allocated.
class CountdownModel final : public models::Model {
 public:
  static constexpr int32_t kEndToken = 0;
  static constexpr int32_t kMaxOutputTokens = 1 << 20;

  // `run_until_done` moves the world on by the length of a step, in Wait.
  CountdownModel(DeviceSpec device, std::function<void(absl::Duration)> run_until_done);

  const models::ModelInfo& info() const override { return info_; }
  const models::KvLayout& kv_layout() const override { return kv_layout_; }
  int64_t WorkspaceBytes(int32_t, int32_t) const override { return 0; }
  absl::Status AllocateKvCache(const models::KvCacheSize&) override { return absl::OkStatus(); }
  absl::StatusOr<models::StepHandle> Launch(models::StepInput input) override;
  absl::StatusOr<models::StepOutput> Wait(models::StepHandle handle) override;

  int64_t steps() const { return static_cast<int64_t>(launched_); }
  absl::Duration busy() const { return busy_; }

 private:
  const DeviceSpec device_;
  const std::function<void(absl::Duration)> run_until_done_;
  models::ModelInfo info_;
  models::KvLayout kv_layout_;
  uint64_t launched_ = 0;
  absl::Duration step_time_;
  absl::Duration busy_;
  models::StepOutput output_;
};

}  // namespace hadal::sim
