// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/sync.h"
#include "server/batches/batch_runner.h"
#include "tests/server/batches/store_fixture.h"
#include "tests/support/fake_clock.h"

namespace hadal::testing {

// Answers lines as a test decides: at once, by `script`, or when it is told to.
class ScriptedExecutor final : public batches::LineExecutor {
 public:
  using Script = std::function<absl::Status(const batches::LineRequest&)>;

  explicit ScriptedExecutor(Script script) : script_(std::move(script)) {}

  std::unique_ptr<batches::RunningLine> Start(batches::LineRequest line, std::function<void()> notify) override {
    base::MutexLock lock(&mutex_);
    started_.push_back(line);
    return std::make_unique<Attempt>(this, std::move(line), std::move(notify));
  }
  bool OthersCome() const override { return others; }
  std::atomic<bool> others{false};
  std::string padding;  // of results; set before the start

  // Answers wait for Release.
  void Hold() {
    base::MutexLock lock(&mutex_);
    held_ = true;
  }
  void Release() {
    base::MutexLock lock(&mutex_);
    held_ = false;
    for (Attempt* attempt : open_) attempt->notify();
  }
  std::vector<batches::LineRequest> started() {
    base::MutexLock lock(&mutex_);
    return started_;
  }
  int open() {
    base::MutexLock lock(&mutex_);
    return static_cast<int>(open_.size());
  }

 private:
  class Attempt final : public batches::RunningLine {
   public:
    Attempt(ScriptedExecutor* owner, batches::LineRequest line, std::function<void()> notify_fn)
        : notify(std::move(notify_fn)), owner_(*owner), line_(std::move(line)) {
      owner_.open_.insert(this);
    }
    ~Attempt() override {
      base::MutexLock lock(&owner_.mutex_);
      owner_.open_.erase(this);
    }
    std::optional<batches::LineOutcome> Advance() override {
      {
        base::MutexLock lock(&owner_.mutex_);
        if (owner_.held_) return std::nullopt;
      }
      return batches::LineOutcome{owner_.script_(line_), absl::StrCat(line_.custom_id, owner_.padding, "\n")};
    }

    const std::function<void()> notify;

   private:
    ScriptedExecutor& owner_;
    const batches::LineRequest line_;
  };

  const Script script_;
  base::Mutex mutex_;
  std::vector<batches::LineRequest> started_;
  std::set<Attempt*> open_;
  bool held_ = false;
};

class RunnerFixture : public StoreFixture {
 public:
  explicit RunnerFixture(StoreKind kind, ScriptedExecutor::Script script, batches::BatchOptions options = {})
      : StoreFixture(kind, std::move(options)), executor(std::move(script)) {}
  // Another process with the same Redis.
  RunnerFixture(const RunnerFixture& other, ScriptedExecutor::Script script)
      : StoreFixture(other), executor(std::move(script)) {}
  // `time`: null for `clock`, which moves when the test says so.
  void Start(base::Clock* time = nullptr) {
    runner = std::make_unique<batches::BatchRunner>(
        batches::BatchRunner::Options{.store = store.get(),
                                      .executor = &executor,
                                      .metrics = &metrics,
                                      .clock = time == nullptr ? &clock : time,
                                      .unix_seconds = [this] { return unix_now.load(); }});
  }
  static bool WaitFor(const std::function<bool()>& condition) {
    for (int i = 0; i < 30'000 && !condition(); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    return condition();
  }
  bool WaitStatus(const batches::StoredBatch& batch, batches::BatchStatus status) {
    return WaitFor([&] { return Find(batch).status == status; });
  }
  double Lines(batches::BatchMetrics::Outcome outcome) { return metrics.lines.At(outcome).Value(); }

  ScriptedExecutor executor;
  batches::BatchMetrics metrics{nullptr};
  FakeClock clock;
  std::atomic<int64_t> unix_now{kNow};
  std::unique_ptr<batches::BatchRunner> runner;  // ends first
};

}  // namespace hadal::testing
