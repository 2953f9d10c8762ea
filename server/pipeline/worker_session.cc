// SPDX-License-Identifier: Apache-2.0
#include "server/pipeline/worker_session.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "server/base/clock.h"
#include "server/pipeline/inbox.h"
#include "server/pipeline/key.h"

namespace hadal::pipeline {
namespace {

// Whoever does not greet in time is no leader.
constexpr absl::Duration kHelloTimeout = absl::Seconds(5);

std::string RangeText(const models::LayerRange& layers) {
  return absl::StrCat("[", layers.begin, ", ", layers.end, ")");
}

void SendError(Connection& connection, const absl::Status& status, const std::string& lost) {
  std::vector<std::byte> message;
  Encode(Error{status, lost}, &message);
  connection.Send(MessageType::kError, message).IgnoreError();
}

}  // namespace

absl::Status WorkerSession::Greet(const Options& options, Connection& connection,
                                  const std::function<absl::Status()>& claim) {
  const auto greet = [&]() -> absl::Status {
    const Challenge challenge = {.version = options.version, .nonce = MakeNonce()};
    std::vector<std::byte> message, payload;
    Encode(challenge, &message);
    if (absl::Status status = connection.Send(MessageType::kChallenge, message); !status.ok()) return status;
    const absl::StatusOr<MessageType> type =
        connection.Receive(kMaxControlBytes, &payload, absl::Now() + kHelloTimeout);
    if (!type.ok()) return type.status();
    if (*type != MessageType::kHello) {
      return absl::InvalidArgumentError(absl::StrCat("message ", MessageName(*type), " in place of hello"));
    }
    const absl::StatusOr<Hello> hello = DecodeHello(payload);
    if (!hello.ok()) return hello.status();
    if (hello->protocol != kProtocolVersion) {
      return absl::FailedPreconditionError(absl::StrCat("hadal ", options.version, " with pipeline protocol ",
                                                        kProtocolVersion, " cannot work for hadal ", hello->version,
                                                        " with protocol ", hello->protocol));
    }
    if (!Equal(hello->mac, MakeMac(options.key, Side::kLeader, hello->nonce, challenge.nonce))) {
      return absl::PermissionDeniedError("its --pipeline-key-file holds another key");
    }
    if (absl::Status status = claim(); !status.ok()) return status;
    message.clear();
    Encode(Welcome{.mac = MakeMac(options.key, Side::kWorker, hello->nonce, challenge.nonce)}, &message);
    return connection.Send(MessageType::kWelcome, message);
  };
  const absl::Status status = greet();
  if (!status.ok()) SendError(connection, status, "");
  return status;
}

WorkerSession::~WorkerSession() {
  if (part_ != nullptr) metrics_.SetPart(part_->layers(), part_->info(), /*loaded=*/false);
}

void WorkerSession::CountReceived() {
  const uint64_t received = connection_.received_bytes();
  metrics_.received_bytes.Get().Increment(received - std::exchange(received_, received));
}

void WorkerSession::CountSent() {
  const uint64_t sent = connection_.sent_bytes();
  metrics_.sent_bytes.Get().Increment(sent - std::exchange(sent_, sent));
}

void WorkerSession::Log(const std::string& line) const {
  if (options_.log) options_.log(line);
}

void WorkerSession::Tell(const absl::Status& status) {
  SendError(connection_, status, rest_ != nullptr ? rest_->lost().lost : "");
}

absl::StatusOr<MessageType> WorkerSession::Receive(int64_t max_bytes) {
  absl::StatusOr<MessageType> type = connection_.Receive(max_bytes, &payload_);
  leader_gone_ = absl::IsUnavailable(type.status());
  CountReceived();
  return type;
}

absl::Status WorkerSession::Reply(MessageType type) {
  absl::Status status = connection_.Send(type, message_);
  leader_gone_ = !status.ok();
  CountSent();
  return status;
}

absl::Status WorkerSession::Run() {
  absl::Status status = ReceiveAssignment();
  if (status.ok()) status = Serve();
  const absl::Status forwarded = EndForwarding();
  // A worker behind this one that is lost (on_lost), or fails, ends the connection to the leader, which looks like its
  // end.
  const absl::Status lost = rest_ == nullptr ? absl::OkStatus() : rest_->lost().status;
  const absl::Status behind = lost.ok() ? forwarded : lost;
  if (leader_gone_ && behind.ok()) return absl::OkStatus();
  if (leader_gone_) status = behind;
  Tell(status);
  return status;
}

absl::Status WorkerSession::ReceiveAssignment() {
  const absl::StatusOr<MessageType> type = Receive(kMaxControlBytes);
  if (!type.ok()) return type.status();
  if (*type != MessageType::kAssign) {
    return absl::InvalidArgumentError(absl::StrCat("message ", MessageName(*type), " in place of assignment"));
  }
  absl::StatusOr<Assignment> assignment = DecodeAssignment(payload_);
  if (!assignment.ok()) return assignment.status();
  if (absl::Status status = CheckAssignment(*assignment); !status.ok()) return status;
  return Load(*assignment);
}

absl::Status WorkerSession::CheckAssignment(const Assignment& assignment) const {
  models::LoadOptions options = options_.load;
  options.load_format = assignment.dummy_weights ? models::LoadFormat::kDummy : models::LoadFormat::kAuto;
  const absl::StatusOr<models::CheckpointIdentity> own = models::IdentifyCheckpoint(options);
  if (!own.ok()) return own.status();
  if (own->fingerprint != assignment.fingerprint) {
    return absl::FailedPreconditionError(absl::StrCat("the checkpoint in ", options.dir, " is ", own->fingerprint,
                                                      ", expected the leader's ", assignment.fingerprint));
  }
  int64_t begin = assignment.parts.front().layers.begin;
  if (begin < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("layers ", RangeText(assignment.parts.front().layers), ": the first layer is the server's"));
  }
  for (const PartSpec& part : assignment.parts) {
    if (part.layers.begin != begin || part.layers.size() < 1 || part.layers.end > own->layers) {
      return absl::InvalidArgumentError(absl::StrCat("layers ", RangeText(part.layers), " of ", part.address,
                                                     ": expected some from ", begin, " on, up to the model's ",
                                                     own->layers));
    }
    begin = part.layers.end;
  }
  if (begin == own->layers) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("the layers end with ", begin, ", expected the model's ", own->layers));
}

absl::Status WorkerSession::Load(const Assignment& assignment) {
  assignment_ = assignment;
  const models::LayerRange layers = assignment.parts.front().layers;
  Log(absl::StrCat("loading layers ", RangeText(layers), " for ", connection_.peer()));
  models::LoadOptions options = options_.load;
  options.load_format = assignment.dummy_weights ? models::LoadFormat::kDummy : models::LoadFormat::kAuto;
  options.dtype = assignment.dtype;
  options.batch_invariant = assignment.batch_invariant;
  options.max_model_len = assignment.max_model_len;
  options.max_batch_tokens = assignment.max_batch_tokens;
  options.max_batch_size = assignment.max_batch_size;
  options.layers = layers;
  absl::StatusOr<std::unique_ptr<models::ModelPart>> part = models::LoadPart(options);
  if (!part.ok()) return part.status();
  const models::ModelInfo& info = (*part)->info();
  limits_ = {.max_tokens = assignment.max_batch_tokens,
             .max_sequences = assignment.max_batch_size,
             .max_model_len = assignment.max_model_len,
             .block_tokens = 1,
             .vocab_size = info.vocab_size,
             .state_bytes = (*part)->state_bytes()};
  if (assignment.parts.size() > 1) {
    Assignment behind = assignment;
    behind.parts.erase(behind.parts.begin());
    RemoteRest::Options rest_options = {
        .key = options_.key, .version = options_.version, .patience = options_.patience};
    rest_options.on_notice = options_.log;
    // The session waits for its leader: this wakes it.
    rest_options.on_lost = [this] { connection_.ShutDownReceiving(); };
    auto opened = RemoteRest::Open(rest_options, behind);
    if (!opened.ok()) return opened.status();
    rest_ = *std::move(opened);
  }
  Log(absl::StrFormat("loaded layers %s of %s: %.2f GB of weights on %s", RangeText(layers), info.family,
                      static_cast<double>(info.weights_bytes) / 1e9, info.device_text));
  message_.clear();
  Encode(Loaded{.weights_bytes = info.weights_bytes}, &message_);
  part_ = *std::move(part);
  metrics_.SetPart(layers, part_->info(), /*loaded=*/true);
  if (rest_ != nullptr) {
    if (absl::Status status = rest_->AwaitLoaded(); !status.ok()) return status;
  }
  return Reply(MessageType::kLoaded);
}

absl::Status WorkerSession::Serve() {
  while (!allocated_) {
    // Before the caches are allocated nothing longer than a control message can be right.
    const absl::StatusOr<MessageType> type = Receive(kMaxControlBytes);
    if (!type.ok()) return type.status();
    absl::Status status;
    if (*type == MessageType::kFitCache) {
      status = FitCache();
    } else if (*type == MessageType::kAllocate) {
      status = Allocate();
    } else {
      status = absl::InvalidArgumentError(
          absl::StrCat("message ", MessageName(*type), " before the caches were allocated is out of order"));
    }
    if (!status.ok()) return status;
  }
  return RunSteps();
}

absl::Status WorkerSession::RunSteps() {
  if (rest_ != nullptr) forwarder_ = std::thread([this] { ForwardResults(); });
  const int64_t max_step = 8 + limits_.MaxStepBytes() + limits_.MaxStateBytes();
  Inbox inbox(&connection_, std::max(kMaxControlBytes, max_step));
  while (true) {
    const absl::Time begin = base::Clock::Real()->Now();
    const absl::StatusOr<MessageType> type = inbox.Next(&payload_);
    leader_gone_ = absl::IsUnavailable(type.status());
    CountReceived();
    if (!type.ok()) return type.status();
    if (*type != MessageType::kStep) {
      return absl::InvalidArgumentError(
          absl::StrCat("message ", MessageName(*type), " after the caches were allocated is out of order"));
    }
    metrics_.leader_wait.Get().Observe(absl::ToDoubleSeconds(base::Clock::Real()->Now() - begin));
    if (absl::Status status = RunStep(); !status.ok()) return status;
  }
}

void WorkerSession::ForwardResults() {
  std::vector<std::byte> message;  // reused
  while (true) {
    {
      base::MutexLock lock(&mutex_);
      while (forwarding_ == 0 && !ending_) changed_.Wait(&mutex_);
      if (forwarding_ == 0) return;
      --forwarding_;
    }
    absl::StatusOr<models::StepOutput> output = rest_->Receive();
    if (!output.ok()) {
      base::MutexLock lock(&mutex_);
      forward_status_ = output.status();
      connection_.ShutDownReceiving();  // the session waits for its leader: this wakes it
      return;
    }
    message.clear();
    EncodeResult({.output = *std::move(output), .facts = rest_->facts()}, &message);
    if (!connection_.Send(MessageType::kResult, message).ok()) return;  // the session sees that the leader is gone
    CountSent();
  }
}

absl::Status WorkerSession::EndForwarding() {
  if (!forwarder_.joinable()) return absl::OkStatus();
  {
    base::MutexLock lock(&mutex_);
    ending_ = true;
  }
  changed_.NotifyAll();
  forwarder_.join();
  base::MutexLock lock(&mutex_);
  return forward_status_;
}

absl::StatusOr<models::KvCacheSize> WorkerSession::FitOwnCache(const models::KvCacheSize& wanted) const {
  const models::ModelPart& part = *part_;
  const absl::StatusOr<int64_t> budget = options_.memory_budget(part.info());
  if (!budget.ok()) return budget.status();
  const int64_t workspace = part.WorkspaceBytes(assignment_.max_batch_tokens, assignment_.max_batch_size);
  const int64_t left = *budget - part.info().weights_bytes - workspace;
  const models::KvLayout& layout = part.kv_layout();
  if (wanted.block_tokens % layout.block_tokens_multiple() != 0) {
    return absl::InvalidArgumentError(absl::StrCat("blocks of ", wanted.block_tokens,
                                                   " tokens, expected a multiple of ", layout.block_tokens_multiple()));
  }
  models::KvCacheSize size =
      layout.Divide(left, wanted.block_tokens, assignment_.max_batch_size, assignment_.max_batch_tokens);
  if (size.blocks < 1) {
    return absl::ResourceExhaustedError(
        absl::StrCat("no memory is left for the KV cache of layers ", RangeText(part.layers()), ": the budget is ",
                     *budget, " bytes, weights need ", part.info().weights_bytes, ", workspace ", workspace,
                     ", windows ", size.window_blocks * layout.window_block_bytes(wanted.block_tokens), ", one block ",
                     layout.block_bytes(wanted.block_tokens)));
  }
  size.blocks = std::min(size.blocks, wanted.blocks);
  size.window_blocks = std::min(size.window_blocks, wanted.window_blocks);
  return size;
}

absl::Status WorkerSession::FitCache() {
  const absl::StatusOr<models::KvCacheSize> wanted = DecodeCacheSize(payload_);
  if (!wanted.ok()) return wanted.status();
  absl::StatusOr<models::KvCacheSize> size = FitOwnCache(*wanted);
  if (size.ok() && rest_ != nullptr) size = rest_->FitKvCache(*size);
  if (!size.ok()) return size.status();
  fits_ = *size;
  message_.clear();
  Encode(*size, &message_);
  return Reply(MessageType::kCacheSize);
}

absl::Status WorkerSession::Allocate() {
  const absl::StatusOr<models::KvCacheSize> size = DecodeCacheSize(payload_);
  if (!size.ok()) return size.status();
  if (!fits_.has_value() || size->blocks > fits_->blocks || size->window_blocks > fits_->window_blocks ||
      size->block_tokens != fits_->block_tokens) {
    return absl::InvalidArgumentError(absl::StrCat("a cache of ", size->blocks, " blocks of ", size->block_tokens,
                                                   " tokens and ", size->window_blocks,
                                                   " window blocks is not what was said to fit"));
  }
  if (absl::Status status = part_->AllocateKvCache(*size); !status.ok()) return status;
  if (rest_ != nullptr) {
    if (absl::Status status = rest_->AllocateKvCache(*size); !status.ok()) return status;
  }
  limits_.block_tokens = size->block_tokens;
  allocated_ = true;
  Log(absl::StrCat("KV cache of ", size->blocks, " blocks of ", size->block_tokens, " tokens: serving ",
                   connection_.peer()));
  on_serving_();
  message_.clear();
  return Reply(MessageType::kAllocated);
}

absl::Status WorkerSession::RunStep() {
  uint64_t step_bytes = 0;
  if (payload_.size() < sizeof(step_bytes)) return absl::InvalidArgumentError("a step without its length");
  std::memcpy(&step_bytes, payload_.data(), sizeof(step_bytes));
  absl::Span<const std::byte> rest = absl::MakeConstSpan(payload_).subspan(sizeof(step_bytes));
  if (step_bytes > rest.size()) {
    return absl::InvalidArgumentError(absl::StrCat("a step of ", step_bytes, " bytes in ", rest.size()));
  }
  absl::StatusOr<models::StepInput> input = DecodeStep(rest.first(step_bytes), limits_);
  if (!input.ok()) return absl::InvalidArgumentError(absl::StrCat("step: ", input.status().message()));
  rest.remove_prefix(step_bytes);
  if (absl::Status status = part_->Check(*input, 0); !status.ok()) return status;
  const absl::Time begin = base::Clock::Real()->Now();
  absl::StatusOr<models::StepOutput> output = part_->Run(*input, rest, &state_);
  if (!output.ok()) return output.status();
  const absl::Duration busy = base::Clock::Real()->Now() - begin;
  metrics_.step.Get().Observe(absl::ToDoubleSeconds(busy));
  if (rest_ != nullptr) {
    if (absl::Status status = rest_->Send(*input, state_, absl::ToChronoNanoseconds(busy)); !status.ok()) return status;
    base::MutexLock lock(&mutex_);
    ++forwarding_;
    changed_.NotifyAll();
    return absl::OkStatus();
  }
  const auto busy_us = static_cast<uint64_t>(absl::ToInt64Microseconds(busy));
  const StepResult result = {.output = *std::move(output), .facts = {{.busy_us = busy_us}}};
  message_.clear();
  EncodeResult(result, &message_);
  return Reply(MessageType::kResult);
}

}  // namespace hadal::pipeline
