// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/streaming_call.h"

#include <utility>

#include "hadal/v1/inference.pb.h"
#include "server/rpc/message_codec.h"
#include "server/rpc/request_codec.h"
#include "server/upstream/pass_rules.h"

namespace hadal::rpc {

using service::CallPipeline;
using Relayed = relay::RelayedCall;

namespace {

std::vector<grpc::ByteBuffer> SerializeAll(const std::vector<v1::GenerateResponse>& responses) {
  std::vector<grpc::ByteBuffer> messages;
  for (const v1::GenerateResponse& response : responses) messages.push_back(Serialize(response));
  return messages;
}

}  // namespace

absl::Status StreamingCall::OnOpened() {
  service::CallInfo call = info();
  if (passed().has_value()) {
    passable_.emplace(environment().passable_calls);
    call.upstream_first = environment().upstreams->MayTake(passed()->hop - 1);
  }
  pipeline_ = CallPipeline::Create(environment().service, std::move(call), [this] { SchedulePump(); });
  absl::Status room = pipeline_->CheckRoom(/*body_bytes=*/0);
  if (!IsForOthers(room, /*waited=*/false)) return room;
  refused_at_door_ = std::move(room);
  return absl::OkStatus();
}

CallPipeline::Decode StreamingCall::DecodeOf(Message message) const {
  return [message = std::move(message), decode = decode_, priority_in_metadata = has_priority()] {
    return decode(message->bytes, priority_in_metadata);
  };
}

void StreamingCall::OnMessage(CallMessage message) {
  // Shared because the pipeline's function must be copyable; the pipeline destroys it once it has run.
  Message shared = std::make_shared<const CallMessage>(std::move(message));
  const auto bytes = static_cast<int64_t>(shared->bytes.Length());
  if (passed().has_value()) {
    const service::BodyBudget& bodies = environment().service->bodies();
    base::MutexLock lock(&pump_mutex_);
    // While messages take more than half of the memory that they may, what waits here stays here.
    if (bodies.bytes() <= bodies.options().max_bytes / 2) kept_ = shared;
  }
  absl::Status status = refused_at_door_;
  if (status.ok()) status = pipeline_->Admit(bytes);
  if (status.ok()) return pipeline_->Submit(DecodeOf(std::move(shared)));
  base::MutexLock lock(&pump_mutex_);
  EndOrPassOn(status, /*waited=*/false);
}

bool StreamingCall::IsForOthers(const absl::Status& refusal, bool waited) const {
  return passed().has_value() && upstream::IsForOthers(refusal, waited) &&
         environment().upstreams->MayTake(passed()->hop - 1);
}

void StreamingCall::EndOrPassOn(const absl::Status& refusal, bool waited) {
  const Message message = std::exchange(kept_, nullptr);
  if (message == nullptr || !IsForOthers(refusal, waited)) return End(refusal);
  const auto bytes = static_cast<int64_t>(message->bytes.Length());
  if (absl::Status quota = pipeline_->PassOn(bytes); !quota.ok()) return End(std::move(quota));
  refusal_ = refusal;
  const std::shared_ptr<Relayed> relayed =
      Relayed::Begin({environment().upstreams, environment().service}, *passed(), info().caller,
                     {.bytes = bytes, .decode = DecodeOf(message)}, [this] { SchedulePump(); });
  bool over = false;
  {
    base::MutexLock lock(&relay_mutex_);
    relayed_ = relayed;
    over = over_;
  }
  if (over) relayed->Cancel();
  // Whoever was notified before it was here has found nothing.
  SchedulePump();
}

std::shared_ptr<Relayed> StreamingCall::relayed() const {
  base::MutexLock lock(&relay_mutex_);
  return relayed_;
}

void StreamingCall::SchedulePump() {
  if (pump_scheduled_.exchange(true, std::memory_order_acq_rel)) return;
  environment().executor->Post([self = std::static_pointer_cast<StreamingCall>(shared_from_this())] { self->Pump(); });
}

void StreamingCall::Pump() {
  pump_scheduled_.exchange(false, std::memory_order_acq_rel);
  base::MutexLock lock(&pump_mutex_);
  // While a write is pending nothing is read: the token stream fills, and the engine pauses this request alone.
  if (!ready()) return;
  if (passed().has_value()) {
    if (const std::shared_ptr<Relayed> other = relayed()) return PumpRelayed(*other);
  }
  std::vector<v1::GenerateResponse> responses;
  const CallPipeline::Progress progress = pipeline_->Read(
      [this, &responses, first = first_](size_t, const service::ActiveCall& call, service::CallUpdate&& update) {
        if (call.has_partial_grammar()) partial_grammar_ = true;
        if (call.degraded() != service::Rung::kNone) degraded_ = call.degraded();
        cache_ = call.cache();
        EncodeUpdate(update, HeadOf(call), first, &responses);
      });
  if (!responses.empty()) {
    first_ = false;
    kept_ = nullptr;
  }
  const bool ended = progress == CallPipeline::Progress::kEnded;
  const absl::Status status = ended ? pipeline_->status() : absl::OkStatus();
  if (!status.ok() && first_) return EndOrPassOn(status, /*waited=*/true);
  std::vector<grpc::ByteBuffer> messages = SerializeAll(responses);
  if (ended) {
    Send(std::move(messages), status);
  } else if (!messages.empty()) {
    Send(std::move(messages));
  }
}

std::vector<grpc::ByteBuffer> StreamingCall::Encode(const service::CallUpdate& update, Relayed& relayed) {
  if (update.empty()) return {};
  if (first_) {
    degraded_ = service::Rung::kUpstream;
    environment().service->CountDegraded(service::Rung::kUpstream);
    environment().service->Withdraw(refusal_);
    base::MutexLock lock(&relay_mutex_);
    served_by_ = relayed.served_by();
  }
  const std::string model = relayed.model();
  std::vector<v1::GenerateResponse> responses;
  EncodeUpdate(update, {.request_id = info().request_id, .model = model}, first_, &responses);
  first_ = false;
  return SerializeAll(responses);
}

void StreamingCall::PumpRelayed(Relayed& relayed) {
  service::CallUpdate update;
  const Relayed::Progress progress = relayed.Read(&update);
  std::vector<grpc::ByteBuffer> messages = Encode(update, relayed);
  switch (progress) {
    case Relayed::Progress::kComplete:
      return Send(std::move(messages), absl::OkStatus());
    case Relayed::Progress::kBroken:
      return Send(std::move(messages), relayed.status());
    case Relayed::Progress::kDeclined:
      return End(relayed.invalid() ? relayed.status() : refusal_);
    case Relayed::Progress::kWaiting:
    case Relayed::Progress::kStreaming:
      if (!messages.empty()) Send(std::move(messages));
  }
}

void StreamingCall::OnAbort() {
  if (pipeline_ != nullptr) pipeline_->Cancel();
}

void StreamingCall::OnEnd(const absl::Status& status, int code) {
  if (pipeline_ == nullptr) return ServerCall::OnEnd(status, code);
  std::shared_ptr<Relayed> other;
  std::string served_by;
  if (passed().has_value()) {
    base::MutexLock lock(&relay_mutex_);
    over_ = true;
    other = std::exchange(relayed_, nullptr);
    served_by = served_by_;
  }
  if (other != nullptr) other->Cancel();
  if (partial_grammar_) AddTrailer("x-hadal-grammar", "partial");
  if (const service::Rung rung = degraded_; rung != service::Rung::kNone) {
    AddTrailer("x-hadal-degraded", service::RungName(rung));
  }
  if (!served_by.empty()) AddTrailer("x-hadal-served-by", served_by);
  if (const response_cache::CacheResult cache = cache_; cache != response_cache::CacheResult::kNone) {
    AddTrailer("x-hadal-cache", response_cache::CacheResultName(cache));
  }
  pipeline_->Finish(status, code, served_by);
}

}  // namespace hadal::rpc
