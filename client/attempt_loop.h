// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <grpcpp/alarm.h>
#include <grpcpp/grpcpp.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/sync.h"
#include "client/attempt_race.h"
#include "client/connections.h"
#include "client/retry.h"
#include "hadal/v1/inference.grpc.pb.h"

namespace hadal::client {

// The status that a caller gets.
absl::Status ToAbsl(const grpc::Status& status);

// A call through all its attempts. It has no thread: what comes next is begun by gRPC's callbacks and alarms, and those
// keep it alive. Subclasses make one attempt. Attempts come one after another, but for a hedge, which runs beside the
// one that is slow until something comes of either: Launch, Claim and AttemptDone of the two may come at one time.
class AttemptLoop : public std::enable_shared_from_this<AttemptLoop> {
 public:
  // `metadata` goes with every attempt; `deadline` is of all of them together.
  AttemptLoop(std::shared_ptr<Connections> connections, Metadata metadata, absl::Time deadline);
  virtual ~AttemptLoop() = default;

  // Once.
  void Start();
  // Thread-safe, any number of times: ends the attempts that are under way, or the wait for the next one.
  void Cancel();

 protected:
  // Begins an attempt; AttemptDone tells its end. May be called by AttemptDone.
  virtual void Launch(const Connections::Server& server, grpc::ClientContext* context) = 0;
  // Which kind of call may be made at two servers at one time; nullopt: this may not.
  virtual std::optional<CallKind> Hedged() const { return std::nullopt; }
  // Whether an attempt that nobody answered may have done all the same what must not be done twice. Then there is no
  // other one.
  virtual bool MayHaveTakenEffect(const grpc::ClientContext&) const { return false; }
  // Whether an attempt came as far as a server: with false nothing was sent.
  static bool WasSent(const grpc::ClientContext& context);
  // The answer has begun, and its server was lost or gave it up.
  enum class AfterBreak : uint8_t {
    kEnd,         // somebody has seen a part of it: that is the end
    kBeginAgain,  // nobody has, and what has come is forgotten
    kGoOn,        // the next attempt goes on where this one ended: it is as good as the first
  };
  virtual AfterBreak BrokeOff() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return AfterBreak::kEnd; }
  // An answer has begun to arrive: whatever becomes of this attempt is final, and the other one is cancelled. False:
  // this is the other one, and nothing of it counts.
  bool Claim(const grpc::ClientContext* context) { return Claim(context, /*answered=*/true); }
  void AttemptDone(const grpc::ClientContext* context, const grpc::Status& ended);
  // An attempt has ended that will be the last one.
  virtual void OnTrailers(const grpc::ClientContext&) {}
  // Another call to the server whose answer has begun. It has a deadline of its own, and no second attempt.
  struct SideCall {
    v1::Inference::StubInterface::async_interface* stub = nullptr;
    std::shared_ptr<grpc::ClientContext> context;
  };
  SideCall MakeSideCall() const;
  // Once. CANCELLED after Cancel.
  virtual void End(absl::Status status) = 0;

 private:
  // Its turn has come, its deadline has passed, or it was cancelled: the first attempt, or the end.
  void StopWaiting();
  // The next attempt, the wait for it, or the end.
  void Begin();
  // The end, for whoever waits for this one's place, too.
  void Finish(absl::Status status);
  // Asks another server as well when nothing has come of the attempt for long.
  void HedgeLater(const std::shared_ptr<grpc::ClientContext>& context);
  void Hedge(const std::shared_ptr<grpc::ClientContext>& context);
  bool Claim(const grpc::ClientContext* context, bool answered);
  // The context of a new attempt.
  std::shared_ptr<grpc::ClientContext> AddAttempt(Target* target, bool hedge) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // What the refusal of an attempt, or its silence, means for the next one.
  void PlanReturn(const AttemptRace::Attempt& attempt, const grpc::Status& status)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Runs `then` on a thread of gRPC; Cancel makes it run at once.
  void SetAlarm(absl::Duration wait, std::function<void()> then) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const std::shared_ptr<Connections> connections_;
  const Metadata metadata_;
  const absl::Time deadline_;

  mutable base::Mutex mutex_;
  RetriedCall call_ ABSL_GUARDED_BY(mutex_);
  bool cancelled_ ABSL_GUARDED_BY(mutex_) = false;
  AttemptRace race_ ABSL_GUARDED_BY(mutex_);
  absl::Status last_ ABSL_GUARDED_BY(mutex_);
  std::shared_ptr<grpc::Alarm> alarm_ ABSL_GUARDED_BY(mutex_);
  std::shared_ptr<grpc::Alarm> hedge_alarm_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace hadal::client
