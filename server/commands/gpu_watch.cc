// SPDX-License-Identifier: Apache-2.0
#include "server/commands/gpu_watch.h"

#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "base/sync.h"
#include "server/base/clock.h"

namespace hadal::commands {
namespace {

// How long a driver may take to answer before nobody waits for it.
constexpr absl::Duration kPatience = absl::Seconds(1);

}  // namespace

// Lives as long as its thread.
struct GpuWatch::State {
  State(std::unique_ptr<GpuMonitor> asked, absl::Duration time, std::function<void(uint64_t)> told)
      : monitor(std::move(asked)), period(time), on_xid(std::move(told)) {}

  std::unique_ptr<GpuMonitor> monitor;  // the thread's
  const absl::Duration period;
  const std::function<void(uint64_t)> on_xid;

  mutable base::Mutex mutex;
  base::CondVar changed;
  Snapshot latest ABSL_GUARDED_BY(mutex);
  bool has_reading ABSL_GUARDED_BY(mutex) = false;
  bool stop ABSL_GUARDED_BY(mutex) = false;
  bool ended ABSL_GUARDED_BY(mutex) = false;

  void Run() {
    bool stopped = false;
    while (!stopped) {
      GpuReading reading = monitor->Read();
      const std::vector<uint64_t> xids = std::exchange(reading.xids, {});
      for (const uint64_t xid : xids) on_xid(xid);
      base::MutexLock lock(&mutex);
      latest = {std::move(reading), latest.xid_errors + xids.size()};
      has_reading = true;
      changed.NotifyAll();
      const base::Clock& clock = *base::Clock::Real();
      const absl::Time next = clock.Now() + period;
      while (!stop && clock.WaitUntil(&changed, &mutex, next)) {
      }
      stopped = stop;
    }
    monitor.reset();
    base::MutexLock lock(&mutex);
    ended = true;
    changed.NotifyAll();
  }
};

GpuWatch::GpuWatch(std::unique_ptr<GpuMonitor> monitor, absl::Duration period, std::function<void(uint64_t)> on_xid)
    : state_(std::make_shared<State>(std::move(monitor), period, std::move(on_xid))) {
  std::thread([state = state_] { state->Run(); }).detach();
  const base::Clock& clock = *base::Clock::Real();
  const absl::Time patience = clock.Now() + kPatience;
  base::MutexLock lock(&state_->mutex);
  while (!state_->has_reading && clock.WaitUntil(&state_->changed, &state_->mutex, patience)) {
  }
}

GpuWatch::~GpuWatch() {
  const base::Clock& clock = *base::Clock::Real();
  const absl::Time patience = clock.Now() + kPatience;
  base::MutexLock lock(&state_->mutex);
  state_->stop = true;
  state_->changed.NotifyAll();
  while (!state_->ended && clock.WaitUntil(&state_->changed, &state_->mutex, patience)) {
  }
}

GpuWatch::Snapshot GpuWatch::Latest() const {
  base::MutexLock lock(&state_->mutex);
  return state_->latest;
}

}  // namespace hadal::commands
