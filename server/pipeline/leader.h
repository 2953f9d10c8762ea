// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "base/sync.h"
#include "models/model.h"
#include "models/registry.h"
#include "server/base/notification.h"
#include "server/pipeline/pipeline_metrics.h"
#include "server/pipeline/pipeline_options.h"

namespace hadal::pipeline {

// What went wrong with the workers of a model, if anything did. Thread-safe.
class PipelineHealth {
 public:
  void SetFailure(std::string message) {
    base::MutexLock lock(&mutex_);
    if (message_.empty()) message_ = std::move(message);
  }
  // Names the worker that is lost and why; empty while all is well.
  std::string failure() const {
    base::MutexLock lock(&mutex_);
    return message_;
  }

 private:
  mutable base::Mutex mutex_;
  std::string message_ ABSL_GUARDED_BY(mutex_);
};

// What a model on several hosts reports to, all of it borrowed for as long as the model lives.
struct LeaderContext {
  PipelineMetrics* metrics = nullptr;
  PipelineHealth* health = nullptr;
  std::function<void()> on_failure;                // any thread: health names a failure now; may only wake somebody
  std::function<void(const std::string&)> notice;  // a line for the log
  std::string version;                             // the program's, for messages
};

// Loads a model whose first layers are here and whose later ones are with the workers: divides the layers, waits for
// the workers, has all load at the same time. Errors name the flag, or the worker and what it says: FailedPrecondition
// when one cannot be reached in time, is lost meanwhile, or has another version or checkpoint, PermissionDenied when it
// has another key, Cancelled once `cancelled`.
absl::StatusOr<std::unique_ptr<models::Model>> LoadPipeline(models::LoadOptions load, const PipelineOptions& options,
                                                            const LeaderContext& context,
                                                            base::Notification* cancelled);

}  // namespace hadal::pipeline
