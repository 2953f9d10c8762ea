// SPDX-License-Identifier: Apache-2.0
#include "server/engine/engine.h"

#include <pthread.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/engine/step_loop.h"

namespace hadal::engine {

absl::StatusOr<std::unique_ptr<Engine>> Engine::Create(EngineOptions options, std::shared_ptr<models::Model> model,
                                                       admission::AdmissionController* admission, int model_index) {
  if (absl::Status status = options.Validate(); !status.ok()) return status;
  if (model == nullptr || admission == nullptr) return absl::InvalidArgumentError("engine: model or admission is null");
  const int64_t windows =
      model->kv_layout().window_blocks_for(options.block_tokens, options.max_batch_size, options.max_batch_tokens);
  if (options.num_window_blocks < windows) {
    return absl::InvalidArgumentError(
        absl::StrCat("engine: num_window_blocks is ", options.num_window_blocks, ", but max_batch_size ",
                     options.max_batch_size, " and max_batch_tokens ", options.max_batch_tokens, " need ", windows));
  }
  const models::KvCacheSize size = {options.num_blocks, options.block_tokens, options.num_window_blocks};
  if (absl::Status status = model->AllocateKvCache(size); !status.ok()) return status;
  return std::unique_ptr<Engine>(new Engine(std::move(options), std::move(model), admission, model_index));
}

Engine::Engine(EngineOptions options, std::shared_ptr<models::Model> model, admission::AdmissionController* admission,
               int model_index)
    : options_(std::move(options)),
      model_(std::move(model)),
      admission_(admission),
      model_index_(model_index),
      wake_(std::make_shared<request::WakeSignal>()),
      published_(std::make_shared<PublishedState>()),
      loop_(std::make_unique<StepLoop>(options_, model_.get(), admission_, model_index_, wake_, published_)) {}

Engine::~Engine() { Stop(); }

void Engine::Start() {
  thread_ = std::thread([this] { ThreadMain(); });
  pthread_setname_np(thread_.native_handle(), options_.name.substr(0, 15).c_str());
}

void Engine::ThreadMain() {
  uint32_t signals = 0;
  while (!stop_.load(std::memory_order_acquire)) {
    const bool draining = ApplyDrain();
    const StepLoop::Round round = loop_->RunOnce(signals | wake_->Take());
    signals = 0;
    if (draining && loop_->idle()) SetDrained();
    if (round.progressed) continue;
    absl::Time wake_at = round.wake_at;
    const int64_t drain_deadline_us = drain_deadline_us_.load(std::memory_order_acquire);
    if (drain_deadline_us != INT64_MAX && !loop_->idle()) {
      wake_at = std::min(wake_at, absl::FromUnixMicros(drain_deadline_us));
    }
    signals = wake_->Wait(wake_at - options_.clock->Now());
  }
  loop_->Abort();
  SetDrained();
}

void Engine::SetDrained() {
  base::MutexLock lock(&mutex_);
  drained_ = true;
  drain_changed_.NotifyAll();
}

bool Engine::ApplyDrain() {
  const int64_t deadline_us = drain_deadline_us_.load(std::memory_order_acquire);
  if (deadline_us == INT64_MAX) return false;
  loop_->BeginDrain();
  if (absl::ToUnixMicros(options_.clock->Now()) >= deadline_us) loop_->EndRunning();
  return true;
}

void Engine::BeginDrain(absl::Duration timeout) {
  const int64_t mine_us = absl::ToUnixMicros(options_.clock->Now() + timeout);
  int64_t current_us = drain_deadline_us_.load();
  while (mine_us < current_us && !drain_deadline_us_.compare_exchange_weak(current_us, mine_us)) {
  }
  wake_->Notify(request::WakeSignal::kControl);
  base::MutexLock lock(&mutex_);
  drain_changed_.NotifyAll();
}

bool Engine::WaitDrained() {
  if (!thread_.joinable()) return true;
  base::MutexLock lock(&mutex_);
  while (!drained_) {
    const absl::Time give_up = absl::FromUnixMicros(drain_deadline_us_.load()) + options_.stall_timeout;
    if (options_.clock->Now() >= give_up) return false;
    options_.clock->WaitUntil(&drain_changed_, &mutex_, give_up);
  }
  return true;
}

void Engine::Stop() {
  stop_.store(true, std::memory_order_release);
  wake_->Notify(request::WakeSignal::kControl);
  if (thread_.joinable()) thread_.join();
}

EngineSnapshot Engine::snapshot() const {
  const PublishedState& state = *published_;
  EngineSnapshot snapshot;
  snapshot.running = state.running;
  snapshot.waiting = static_cast<int32_t>(admission_->QueuedRequests(model_index_));
  snapshot.running_sequences = state.running_sequences;
  snapshot.preempted_sequences = state.preempted_sequences;
  snapshot.paused_requests = state.paused_requests;
  snapshot.paused_sequences = state.paused_sequences;
  snapshot.free_blocks = state.free_blocks;
  snapshot.leased_blocks = state.leased_blocks;
  snapshot.cached_blocks = state.cached_blocks;
  snapshot.total_blocks = state.total_blocks;
  snapshot.free_window_blocks = state.free_window_blocks;
  snapshot.leased_window_blocks = state.leased_window_blocks;
  snapshot.cached_window_blocks = state.cached_window_blocks;
  snapshot.total_window_blocks = state.total_window_blocks;
  snapshot.steps = state.steps;
  snapshot.last_step_tokens = state.last_step_tokens;
  const int64_t last_step_us = state.last_step_us;
  snapshot.last_step = last_step_us == INT64_MIN ? absl::InfinitePast() : absl::FromUnixMicros(last_step_us);
  snapshot.last_step_duration = absl::Microseconds(state.last_step_duration_us.load());
  snapshot.step_in_flight = state.step_in_flight;
  snapshot.runnable = state.runnable_since_us != INT64_MIN;
  snapshot.draining = state.draining;
  snapshot.device_fault = state.device_fault;
  return snapshot;
}

HealthSnapshot Engine::Health() const {
  HealthSnapshot health;
  if (published_->device_fault.load(std::memory_order_acquire)) {
    health.live = false;
    health.message = absl::StrCat(options_.name, ": the device has failed");
    return health;
  }
  const int64_t runnable_since_us = published_->runnable_since_us.load(std::memory_order_acquire);
  if (runnable_since_us == INT64_MIN) return health;
  const int64_t progress_us = std::max(runnable_since_us, published_->last_step_us.load(std::memory_order_acquire));
  health.since_progress = options_.clock->Now() - absl::FromUnixMicros(progress_us);
  if (health.since_progress > options_.stall_timeout) {
    health.live = false;
    health.message = absl::StrCat(options_.name, ": work is runnable, but no step has ended for ",
                                  absl::FormatDuration(health.since_progress));
  }
  return health;
}

}  // namespace hadal::engine
