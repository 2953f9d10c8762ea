// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string_view>
#include <variant>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/sync.h"
#include "server/admission/admission.h"
#include "server/base/log_scope.h"
#include "server/request/notifier.h"
#include "server/service/active_call.h"
#include "server/service/call_record.h"
#include "server/service/calls.h"
#include "server/service/generate_service.h"
#include "server/service/key_quota.h"

namespace hadal::service {

// A request's body decoded into plain calls.
struct DecodedRequest {
  std::vector<std::variant<ChatCall, GenerateCall>> calls;  // one, or one for each prompt of a completions body
  std::optional<request::Priority> priority;                // the class that the body asks for and the headers do not
  int64_t body_bytes = 0;                                   // further calls' prompts are estimated from their share
};

// One request of a generating route, from its headers to its record. Both fronts use it in the same way and only handle
// bytes: they decode bodies into calls, encode updates, and write them.
//
//   front's I/O thread   Create, CheckRoom  a refusal before anything is read
//                        Admit              a queue slot, once the body is there: no slot waits for bytes
//                        Submit
//   worker                                  decode, validate, render, tokenise
//   no thread                               waits for the response cache's second level, and for a grammar that is
//                                           being compiled
//   worker                                  true size, memory lease, into the queue
//   engine                                  runs the calls; notifies
//   front's executor     Read               until kEnded
//                        Finish             exactly one record; everything is given back
//
// A request may hold several calls. The first runs in the slot taken by Admit, the others each reserve one of their
// own while they are prepared, and the first failure ends the request.
//
// Ownership: shared by the front and by its jobs on workers and compile threads. A job never touches the front: it owns
// its data, leaves the result here, and notifies. Results that arrive after the end are dropped.
//
// Notifications: `notify` runs on the thread that has news, under the notifier's lock, so it may only post to the
// front's executor, which then calls Read. It is set before any producer exists; after Finish it does not run and has
// been destroyed.
//
// Cancel, from any thread, depending on what the request is doing:
//   waits for a worker or a grammar   ends at once; the slot is free when Cancel returns
//   a worker decodes or starts it     ends when that worker is done, which is bounded work
//   runs                              Read delivers the end; the engine ends what nobody else reads within one step
//   has ended                         nothing
//
// The end comes once: from a refusal, a failed step, a cancellation, or the calls' last updates. Errors keep reason and
// retry hint: full worker queue WORKER_QUEUE_FULL, client gone CANCELLED, a key's limits TENANT_QUOTA, all others
// those of GenerateService.
class CallPipeline : public std::enable_shared_from_this<CallPipeline> {
 public:
  // Runs on a worker and owns what it reads. Destroyed before the front is told of the end.
  using Decode = std::function<absl::StatusOr<DecodedRequest>()>;
  enum class Progress : uint8_t { kPreparing, kRunning, kEnded };

  // `service` is borrowed; its destructor waits for the jobs of every pipeline.
  static std::shared_ptr<CallPipeline> Create(GenerateService* service, CallInfo info, std::function<void()> notify);

  // Whether Admit would succeed now, or the response cache or the degradation ladder might answer. Takes nothing. O(1).
  absl::Status CheckRoom(int64_t body_bytes);
  // Reserves a queue slot for a body of that many bytes, before it is parsed, within the quota of the caller's key.
  // O(1).
  absl::Status Admit(int64_t body_bytes);
  // After a refusal, when another server is asked for the answer: charges the key's quota as Admit does, unless Admit
  // already has. TENANT_QUOTA.
  absl::Status PassOn(int64_t body_bytes);
  // After Admit: has the body decoded and its calls started. A full worker queue is reported by Read, too.
  void Submit(Decode decode);
  // Cancels the request. Thread-safe, any number of times.
  void Cancel();

  // What Read would return, without reading.
  Progress progress() const;
  // Hands what is new to `take`: the call's number, the call, and an update that is not empty. Not from two threads at
  // a time; `take` must not call the pipeline. An update with an error is the last one.
  Progress Read(absl::FunctionRef<void(size_t index, const ActiveCall& call, CallUpdate&& update)> take);
  // The calls, from kRunning until Finish; they do not change.
  const std::vector<std::unique_ptr<ActiveCall>>& calls() const;
  // Of the calls that have ended.
  Usage usage() const;
  // How the request ended; from kEnded on.
  absl::Status status() const;

  // The response is complete, or the client is unreachable: records the request with the status and the code that the
  // client was given, cancels what still runs, and frees the rest. `served_by`: the upstream that answered. Later calls
  // do nothing.
  void Finish(const absl::Status& status, int code, std::string_view served_by = {});

 private:
  // In order; each may also go to kEnded.
  enum class State : uint8_t {
    kCreated,
    kAdmitted,
    kDecodeQueued,  // waits for a worker
    kDecoding,      // a worker has what was pending
    kAwaiting,      // waits for grammars and look-ups
    kStartQueued,   // waits for a worker
    kStarting,      // a worker has what was pending
    kRunning,
    kEnded,
  };
  // A call on its way to the queue, with its slot.
  struct Admitted {
    std::unique_ptr<PreparedCall> call;  // null until it is decoded
    admission::Ticket ticket;
    absl::Status refusal;  // no ticket: it goes on for the response cache or the degradation ladder alone
  };
  // What the next step needs. Taken out under the lock, freed without it.
  struct Pending {
    Decode decode;
    std::vector<Admitted> admitted;
  };

  CallPipeline(GenerateService* service, CallInfo info, std::function<void()> notify);

  // What a caller beyond its quota is told: a server that serves nobody says that instead.
  absl::Status OverQuota(const admission::AdmissionRequest& request, const absl::Status& refusal);
  // Whether a call that was refused so goes on all the same.
  bool MayAnswer(const absl::Status& refusal) const;
  static admission::AdmissionRequest AdmissionOf(const CallInfo& info, int64_t body_bytes);
  static absl::Status Cancelled();
  // Of what is logged about this request. Only what never changes of it is read.
  base::LogScope Named() const ABSL_NO_THREAD_SAFETY_ANALYSIS { return {info_.request_id, info_.trace.trace_id}; }
  static Admitted AdmittedOf(absl::StatusOr<admission::Ticket> ticket);
  // One state further; false when the request has ended meanwhile.
  bool Advance(State to) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  Progress ProgressLocked() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  Pending EndLocked(absl::Status status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void End(absl::Status status);

  // Runs a step on a worker.
  void Post(void (CallPipeline::*step)(), WorkerPool::Lane lane);
  void DecodeOnWorker();
  // Validates and prepares every call; reserves slots for all but the first.
  absl::Status Prepare(DecodedRequest decoded, CallInfo* info, std::vector<Admitted>* admitted);
  // Continues if no grammar and no answer of the response cache's second level is pending; otherwise it is called again
  // when the pending one is ready.
  void AwaitMissing(bool on_worker);
  void StartOnWorker();

  GenerateService* const service_;
  const std::shared_ptr<request::Notifier> notifier_;
  const bool allow_degraded_;
  const bool asks_cache_;  // an answer from the response cache will do
  const bool upstream_first_;

  mutable base::Mutex mutex_;
  CallInfo info_ ABSL_GUARDED_BY(mutex_);
  WorkerPool::Lane lane_ ABSL_GUARDED_BY(mutex_) = WorkerPool::Lane::kShort;  // of decoding
  State state_ ABSL_GUARDED_BY(mutex_) = State::kCreated;
  Pending pending_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::unique_ptr<ActiveCall>> calls_ ABSL_GUARDED_BY(mutex_);
  std::vector<bool> call_ended_ ABSL_GUARDED_BY(mutex_);
  bool cancelled_ ABSL_GUARDED_BY(mutex_) = false;  // while a worker had what was pending
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;
  QuotaUse quota_use_ ABSL_GUARDED_BY(mutex_);   // from Admit to Finish
  bool at_door_ ABSL_GUARDED_BY(mutex_) = true;  // not admitted yet
  bool passed_on_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Time asked_ ABSL_GUARDED_BY(mutex_);  // when that could last be decided
  Usage usage_ ABSL_GUARDED_BY(mutex_);
  std::vector<service::Finish> finishes_ ABSL_GUARDED_BY(mutex_);
  absl::Time first_update_ ABSL_GUARDED_BY(mutex_) = absl::InfiniteFuture();
  absl::Status status_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace hadal::service
