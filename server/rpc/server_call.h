// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/grpcpp.h>

#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/promised_order.h"
#include "base/sync.h"
#include "server/rpc/call_context.h"
#include "server/rpc/call_environment.h"
#include "server/service/body_budget.h"

namespace hadal::rpc {

// A call's message in memory with the lease of its bytes; freed together, so it is dropped as soon as it has been
// parsed. Move-only.
struct CallMessage {
  service::BodyBudget::Lease lease;
  grpc::ByteBuffer bytes;
};

// Who may make a call, and what is recorded of it.
enum class Access : uint8_t {
  kKey,     // needs a key when the server has keys; recorded as a request
  kPublic,  // without a key, like health and metrics over HTTP; not recorded
};

// One call, from its headers to its end. Every method of the server goes through the same steps, so that clients are
// checked before their data is accepted:
//   1. Start (gRPC thread): limits, metadata and key. A refusal ends the call here, without requesting its message.
//   2. OnMessage (gRPC thread): the message has arrived, and its bytes are leased. If it is late, the call ends.
//   3. Send, End (any thread): messages are written in order, one at a time; the status comes last, together with the
//   last
//      message if that is small. Nothing is sent before the first Send or End, so that the gRPC library can retry a
//      refused call.
// If the client disappears, or does not accept a message in time, the call ends from outside: OnAbort.
//
// Owns itself from Start until OnDone; jobs that work for it hold a reference. gRPC frees the context after OnDone,
// which waits for its users. Thread-safe.
class ServerCall : public grpc::ServerGenericBidiReactor, public std::enable_shared_from_this<ServerCall> {
 public:
  // Returns the reactor for gRPC.
  static grpc::ServerGenericBidiReactor* Start(std::shared_ptr<ServerCall> call);
  ~ServerCall() override = default;

  void OnReadDone(bool ok) final;
  void OnWriteDone(bool ok) final;
  void OnCancel() final;
  void OnDone() final;

  // Ends the call when its message is late, or a write has been pending for longer than the limit.
  void Sweep(absl::Time now);
  // The server stops: ends the call when it waits for a message.
  void StopWaiting();

 protected:
  // `environment` outlives the call, `context` is valid until OnDone, `route` is a fixed name.
  ServerCall(const CallEnvironment* environment, grpc::GenericCallbackServerContext* context, std::string_view route,
             Access access);

  // Whose method it is, where it is not hadal.v1.Inference's. In the constructor; a fixed name.
  void SetService(std::string_view service) { metadata_.info.rpc_service = service; }

  // A refusal that needs no look at the metadata.
  virtual absl::Status CheckRoute() const { return absl::OkStatus(); }
  // The key is good: a refusal before the message is asked for.
  virtual absl::Status OnOpened() { return absl::OkStatus(); }
  // The call's message; further ones only after ReadNext.
  virtual void OnMessage(CallMessage message) = 0;
  // The client has ended its side instead of sending a message.
  virtual void OnHalfClose();
  // Everything sent has been written, and the call goes on.
  virtual void OnWritten() {}
  // Nothing can be sent any more; the call then ends by itself.
  virtual void OnAbort() {}
  // Called once, just before the status is sent: frees and records. `code` is the code sent to the client.
  virtual void OnEnd(const absl::Status& status, int code);

  // Adds to what goes out with the status. Within OnEnd only.
  void AddTrailer(const char* key, std::string_view value);

  void ReadNext();
  // With `end`, as Send and End in one step, and in fewer packets.
  void Send(std::vector<grpc::ByteBuffer> messages, std::optional<absl::Status> end = std::nullopt);
  // The status goes out when everything sent has been written. The first one counts.
  void End(absl::Status status);
  // Whether a message that is sent now would go out at once.
  bool ready() const;

  const CallEnvironment& environment() const { return *environment_; }
  const service::CallInfo& info() const { return metadata_.info; }
  bool has_priority() const { return metadata_.has_priority; }
  const std::optional<upstream::PassedRequest>& passed() const { return metadata_.passed; }

 private:
  // What gRPC promises, for the length of one reaction: it comes after Start has returned and ends before OnDone.
  class Reaction {
   public:
    explicit Reaction(ServerCall* call) : call_(call) { call_->started_.Acquire(); }
    ~Reaction() { call_->settled_.Release(); }

   private:
    ServerCall* const call_;
  };

  void Begin();
  absl::Status CheckLimits();
  void StartWaiting();
  absl::StatusOr<CallMessage> Lease(grpc::ByteBuffer bytes) const;
  // Ends the wait for a message; false when it has ended already.
  bool StopWaitingLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Abort(absl::Status status);
  absl::Status CancelledStatus() const;
  // The next write, or the status once the end is known and nothing is left to write, or only a small message.
  void Advance();
  // `last` goes out with the status unless it is null.
  void FinishWith(const absl::Status& status, const grpc::ByteBuffer* last);

  const CallEnvironment* const environment_;
  grpc::GenericCallbackServerContext* const context_;
  const Access access_;
  std::shared_ptr<ServerCall> self_;
  CallMetadata metadata_;
  std::shared_ptr<Connection> connection_;
  grpc::ByteBuffer message_;  // gRPC's while a read is pending

  base::PromisedOrder started_;  // from Start to every reaction
  base::PromisedOrder settled_;  // from Finish and every other reaction to OnDone

  mutable base::Mutex mutex_;
  base::CondVar cancelled_;                                                    // cancelling_ has become false
  absl::Time waiting_since_ ABSL_GUARDED_BY(mutex_) = absl::InfiniteFuture();  // for a message; infinite: for none
  absl::Time half_closed_ ABSL_GUARDED_BY(mutex_) = absl::InfiniteFuture();
  PendingCalls::Slot slot_ ABSL_GUARDED_BY(mutex_);
  std::deque<grpc::ByteBuffer> outbox_ ABSL_GUARDED_BY(mutex_);
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;  // the outbox's head
  absl::Time writing_since_ ABSL_GUARDED_BY(mutex_);
  bool aborted_ ABSL_GUARDED_BY(mutex_) = false;
  bool cancelling_ ABSL_GUARDED_BY(mutex_) = false;          // TryCancel uses the context: OnDone waits
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;            // the status is on its way
  bool done_ ABSL_GUARDED_BY(mutex_) = false;                // OnDone was called
  std::optional<absl::Status> end_ ABSL_GUARDED_BY(mutex_);  // final status, sent when the outbox is empty
};

}  // namespace hadal::rpc
