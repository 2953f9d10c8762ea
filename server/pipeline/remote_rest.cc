// SPDX-License-Identifier: Apache-2.0
#include "server/pipeline/remote_rest.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "server/base/clock.h"
#include "server/pipeline/key.h"

namespace hadal::pipeline {
namespace {

constexpr absl::Duration kGreetingTimeout = absl::Seconds(10);
constexpr absl::Duration kRetryDelay = absl::Seconds(1);

// What a worker says, with its name in front unless the message names one already.
absl::Status Named(const std::string& address, const absl::Status& status) {
  if (absl::StartsWith(status.message(), "worker ")) return status;
  const bool starts_with_address = absl::StartsWith(status.message(), absl::StrCat(address, ":"));
  return absl::Status(status.code(), starts_with_address ? absl::StrCat("worker ", status.message())
                                                         : absl::StrCat("worker ", address, ": ", status.message()));
}

// Worth another attempt: nobody answers yet, or the worker serves another leader.
bool MayPass(const absl::Status& status) { return absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status); }

}  // namespace

RemoteRest::RemoteRest(std::unique_ptr<Connection> connection, const Options& options, const Assignment& assignment)
    : connection_(std::move(connection)),
      address_(connection_->peer()),
      on_lost_(options.on_lost),
      limits_{.max_tokens = assignment.max_batch_tokens, .max_sequences = assignment.max_batch_size},
      reader_([this] { ReadAnswers(); }) {}

RemoteRest::~RemoteRest() {
  {
    base::MutexLock lock(&mutex_);
    closing_ = true;
  }
  connection_->ShutDown();
  reader_.join();
}

absl::Status RemoteRest::Greet(Connection& connection, const Options& options, const Assignment& assignment) {
  const absl::Time deadline = absl::Now() + kGreetingTimeout;
  std::vector<std::byte> payload;
  const auto receive = [&](MessageType expected) -> absl::Status {
    const absl::StatusOr<MessageType> type = connection.Receive(kMaxControlBytes, &payload, deadline);
    if (!type.ok()) return type.status();
    if (*type == MessageType::kError) {
      const absl::StatusOr<Error> error = DecodeError(payload);
      return error.ok() ? error->status : error.status();
    }
    if (*type == expected) return absl::OkStatus();
    return absl::InvalidArgumentError(
        absl::StrCat("message ", MessageName(*type), " in place of ", MessageName(expected)));
  };
  if (absl::Status status = receive(MessageType::kChallenge); !status.ok()) return status;
  const absl::StatusOr<Challenge> challenge = DecodeChallenge(payload);
  if (!challenge.ok()) return challenge.status();
  if (challenge->protocol != kProtocolVersion) {
    return absl::FailedPreconditionError(absl::StrCat("hadal ", challenge->version, " with pipeline protocol ",
                                                      challenge->protocol, " cannot work for hadal ", options.version,
                                                      " with protocol ", kProtocolVersion));
  }
  Hello hello = {.version = options.version, .nonce = MakeNonce()};
  hello.mac = MakeMac(options.key, Side::kLeader, hello.nonce, challenge->nonce);
  std::vector<std::byte> message;
  Encode(hello, &message);
  if (absl::Status status = connection.Send(MessageType::kHello, message); !status.ok()) return status;
  if (absl::Status status = receive(MessageType::kWelcome); !status.ok()) return status;
  const absl::StatusOr<Welcome> welcome = DecodeWelcome(payload);
  if (!welcome.ok()) return welcome.status();
  if (!Equal(welcome->mac, MakeMac(options.key, Side::kWorker, hello.nonce, challenge->nonce))) {
    return absl::PermissionDeniedError("its --pipeline-key-file holds another key");
  }
  message.clear();
  Encode(assignment, &message);
  return connection.Send(MessageType::kAssign, message);
}

absl::StatusOr<std::unique_ptr<RemoteRest>> RemoteRest::Open(const Options& options, const Assignment& assignment) {
  const std::string& address = assignment.parts.front().address;
  const absl::Time deadline = absl::Now() + options.patience;
  bool told = false;
  while (true) {
    absl::StatusOr<std::unique_ptr<Connection>> connection = Connection::Open(address, absl::Now() + kGreetingTimeout);
    absl::Status status = connection.status();
    if (status.ok()) status = Greet(**connection, options, assignment);
    if (status.ok()) {
      return std::unique_ptr<RemoteRest>(new RemoteRest(*std::move(connection), options, assignment));
    }
    status = Named(address, status);
    if (!MayPass(status)) return status;
    if (absl::Now() + kRetryDelay > deadline) {
      return absl::Status(status.code(),
                          absl::StrCat(status.message(), "; given up after ", absl::FormatDuration(options.patience)));
    }
    if (!told && options.on_notice) options.on_notice(absl::StrCat("waiting for ", status.message()));
    told = true;
    if (options.cancelled == nullptr) {
      base::Notification never;
      never.WaitFor(kRetryDelay);
    } else if (options.cancelled->WaitFor(kRetryDelay)) {
      return absl::CancelledError("stopped while waiting for workers");
    }
  }
}

void RemoteRest::SetLost(Error error) {
  {
    base::MutexLock lock(&mutex_);
    if (closing_ || !lost_.status.ok()) return;
    lost_ = std::move(error);
  }
  changed_.NotifyAll();
  if (on_lost_) on_lost_();
}

void RemoteRest::ReadAnswers() {
  const int64_t max_bytes = std::max(kMaxControlBytes, limits_.MaxOutputBytes());
  while (true) {
    Answer answer;
    const absl::StatusOr<MessageType> type = connection_->Receive(max_bytes, &answer.payload);
    if (!type.ok()) return SetLost({Named(address_, type.status()), address_});
    answer.type = *type;
    if (*type == MessageType::kError) {
      const absl::StatusOr<Error> error = DecodeError(answer.payload);
      if (!error.ok()) return SetLost({Named(address_, error.status()), address_});
      if (!error->lost.empty()) return SetLost({Named(address_, error->status), error->lost});
    }
    bool expected = false;
    {
      base::MutexLock lock(&mutex_);
      expected = asked_ > 0;
      if (expected) {
        --asked_;
        answers_.push_back(std::move(answer));
      }
    }
    changed_.NotifyAll();
    if (!expected) return SetLost({Named(address_, absl::InternalError("an answer to no message")), address_});
  }
}

Error RemoteRest::lost() const {
  base::MutexLock lock(&mutex_);
  return lost_;
}

absl::StatusOr<RemoteRest::Answer> RemoteRest::Await(MessageType type) {
  Answer answer;
  {
    base::MutexLock lock(&mutex_);
    while (answers_.empty() && lost_.status.ok()) changed_.Wait(&mutex_);
    if (answers_.empty()) return lost_.status;
    answer = std::move(answers_.front());
    answers_.pop_front();
  }
  if (answer.type == type) return answer;
  if (answer.type == MessageType::kError) {
    const absl::StatusOr<Error> error = DecodeError(answer.payload);
    return error.ok() ? Named(address_, error->status) : Named(address_, error.status());
  }
  return absl::InternalError(
      absl::StrCat("worker ", address_, ": message ", MessageName(answer.type), " in place of ", MessageName(type)));
}

absl::Status RemoteRest::Ask(MessageType type, absl::Span<const std::byte> head, absl::Span<const std::byte> tail) {
  {
    base::MutexLock lock(&mutex_);
    if (!lost_.status.ok()) return lost_.status;
    ++asked_;
  }
  if (connection_->Send(type, head, tail).ok()) return absl::OkStatus();
  // The reader may know more: a worker says why before it goes.
  connection_->ShutDown();
  base::MutexLock lock(&mutex_);
  while (lost_.status.ok()) changed_.Wait(&mutex_);
  return lost_.status;
}

absl::StatusOr<RemoteRest::Answer> RemoteRest::Call(MessageType type, absl::Span<const std::byte> head,
                                                    absl::Span<const std::byte> tail, MessageType answer) {
  if (absl::Status status = Ask(type, head, tail); !status.ok()) return status;
  return Await(answer);
}

absl::Status RemoteRest::AwaitLoaded() {
  const absl::StatusOr<Answer> answer = Await(MessageType::kLoaded);
  if (!answer.ok()) return answer.status();
  return DecodeLoaded(answer->payload).status();
}

absl::StatusOr<models::KvCacheSize> RemoteRest::FitKvCache(const models::KvCacheSize& wanted) {
  message_.clear();
  Encode(wanted, &message_);
  const absl::StatusOr<Answer> answer = Call(MessageType::kFitCache, message_, {}, MessageType::kCacheSize);
  if (!answer.ok()) return answer.status();
  const absl::StatusOr<models::KvCacheSize> size = DecodeCacheSize(answer->payload);
  if (!size.ok()) return Named(address_, size.status());
  if (size->blocks <= wanted.blocks && size->window_blocks <= wanted.window_blocks &&
      size->block_tokens == wanted.block_tokens) {
    return size;
  }
  return absl::InternalError(absl::StrCat("worker ", address_, ": a larger cache than was asked for"));
}

absl::Status RemoteRest::AllocateKvCache(const models::KvCacheSize& size) {
  const absl::StatusOr<models::KvCacheSize> fits = FitKvCache(size);
  if (!fits.ok()) return fits.status();
  if (*fits != size) {
    return absl::ResourceExhaustedError(absl::StrCat("worker ", address_, ": a cache of ", size.blocks, " blocks and ",
                                                     size.window_blocks, " window blocks, limit ", fits->blocks,
                                                     " and ", fits->window_blocks));
  }
  message_.clear();
  Encode(size, &message_);
  return Call(MessageType::kAllocate, message_, {}, MessageType::kAllocated).status();
}

absl::Status RemoteRest::Send(const models::StepInput& input, absl::Span<const std::byte> state,
                              std::chrono::nanoseconds computed) {
  const absl::Time at = base::Clock::Real()->Now();
  message_.clear();
  // The length of the step, so that the receiver finds the state behind it.
  message_.resize(sizeof(uint64_t));
  EncodeStep(input, &message_);
  const uint64_t step_bytes = message_.size() - sizeof(uint64_t);
  std::copy_n(reinterpret_cast<const std::byte*>(&step_bytes), sizeof(step_bytes), message_.begin());
  const auto busy_us = std::chrono::duration_cast<std::chrono::microseconds>(computed).count();
  Sent sent = {.begun = at - absl::FromChrono(computed), .at = at, .own = {}};
  sent.own.busy_us = static_cast<uint64_t>(busy_us);
  sent.own.sent_bytes = Connection::kFrameBytes + message_.size() + state.size();
  {
    base::MutexLock lock(&mutex_);
    sent_.push_back(sent);  // its result may be here before the call below is over
  }
  return Ask(MessageType::kStep, message_, state);
}

absl::StatusOr<models::StepOutput> RemoteRest::Receive() {
  const absl::StatusOr<Answer> answer = Await(MessageType::kResult);
  if (!answer.ok()) return answer.status();
  absl::StatusOr<StepResult> result = DecodeResult(answer->payload, limits_);
  if (!result.ok()) return Named(address_, result.status());
  Sent sent;
  {
    base::MutexLock lock(&mutex_);
    if (sent_.empty()) return Named(address_, absl::InternalError("a result of no step"));
    sent = sent_.front();
    sent_.pop_front();
  }
  sent.own.wait_us = static_cast<uint64_t>(absl::ToInt64Microseconds(base::Clock::Real()->Now() - sent.at));
  begun_ = sent.begun;
  facts_ = std::move(result->facts);
  facts_.insert(facts_.begin(), sent.own);
  return std::move(result->output);
}

}  // namespace hadal::pipeline
