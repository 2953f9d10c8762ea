// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/sync.h"
#include "server/relay/event_reader.h"
#include "server/relay/openai_answer.h"
#include "server/request/notifier.h"
#include "server/service/call_pipeline.h"
#include "server/service/generate_service.h"
#include "server/upstream/upstreams.h"

namespace hadal::relay {

// One call of a front whose API upstreams need not speak, answered by one of them: it is asked in OpenAI's form, and
// its stream is read as the updates of a call, which the front then encodes as it does its own.
//
// Shared by the front and by its job on a worker, which decodes and translates. `notify` runs whenever Read may give
// something new, under the notifier's lock: it may only post to the front's executor. After Cancel it does not run and
// has been destroyed. Bytes wait for a reader as in Passage.
class RelayedCall : public std::enable_shared_from_this<RelayedCall> {
 public:
  using Decode = service::CallPipeline::Decode;
  using Progress = upstream::Passage::Progress;

  // What the call needs; outlives it.
  struct Environment {
    upstream::Upstreams* upstreams = nullptr;
    service::GenerateService* service = nullptr;
  };

  // What the client sent.
  struct Message {
    int64_t bytes = 0;
    Decode decode;  // run once, on a worker, and destroyed with what it holds before the front is told of anything
  };

  // `request` lacks path and body, which the message is translated to. `caller` says which classes are allowed.
  static std::shared_ptr<RelayedCall> Begin(const Environment& environment, upstream::PassedRequest request,
                                            service::Caller caller, Message message, std::function<void()> notify);

  // Ends it at once. Thread-safe, any number of times; what is read later is kBroken.
  void Cancel();

  // What has come since the last read is added to `update`, which must be empty. kDeclined: no update was ever given
  // out, and none will be; with kComplete the update is `done`. Not from two threads at a time.
  Progress Read(service::CallUpdate* update);

  // Of kDeclined and kBroken: INVALID_REQUEST, OUT_OF_RANGE, ... when the call itself is wrong; else Passage's.
  absl::Status status() const;
  // Whether kDeclined is due to the call itself, so that its own error is to be told.
  bool invalid() const;
  // The upstream's name, and that of its model, once updates have come.
  std::string served_by() const;
  std::string model() const;

 private:
  RelayedCall(const Environment& environment, upstream::PassedRequest request, service::Caller caller,
              std::function<void()> notify);

  void TranslateOnWorker(Decode decode);
  // The request is complete then, and the number of choices known.
  absl::StatusOr<int32_t> Translate(const Decode& decode);
  Progress ReadLocked(service::CallUpdate* update) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  Progress FailLocked(absl::Status status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const Environment environment_;
  const std::shared_ptr<request::Notifier> notifier_;
  upstream::PassedRequest request_;  // the worker's
  service::Caller caller_;           // the worker's

  mutable base::Mutex mutex_;
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;  // cancelled, or `status_` says why
  bool invalid_ ABSL_GUARDED_BY(mutex_) = false;
  bool begun_ ABSL_GUARDED_BY(mutex_) = false;  // an update has been given out
  absl::Status status_ ABSL_GUARDED_BY(mutex_);
  EventReader events_ ABSL_GUARDED_BY(mutex_);
  std::unique_ptr<OpenAiAnswer> answer_ ABSL_GUARDED_BY(mutex_);
  std::string served_by_ ABSL_GUARDED_BY(mutex_);
  std::unique_ptr<upstream::Passage> passage_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace hadal::relay
