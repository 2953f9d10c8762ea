// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "base/sync.h"
#include "models/token_grammar.h"

namespace hadal::service {

// A grammar that is being compiled, or the reason why it was not. Shared by all calls that wait for it. Thread-safe.
class PendingGrammar {
 public:
  using Result = absl::StatusOr<std::shared_ptr<const models::TokenGrammar>>;

  PendingGrammar() = default;
  explicit PendingGrammar(Result result) : result_(std::move(result)) {}

  bool ready() const;
  // Runs `done` once when it is ready: at once, or on the thread that completes it. It may only post work elsewhere.
  void OnReady(std::function<void()> done);
  // Blocks until it is ready.
  Result Wait() const;

  // The first result stays; later ones are ignored.
  void Set(Result result);

 private:
  mutable base::Mutex mutex_;
  mutable base::CondVar changed_;
  std::optional<Result> result_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::function<void()>> waiting_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace hadal::service
