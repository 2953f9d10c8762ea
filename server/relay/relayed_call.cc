// SPDX-License-Identifier: Apache-2.0
#include "server/relay/relayed_call.h"

#include <utility>
#include <variant>

#include "absl/strings/match.h"
#include "server/relay/openai_request.h"
#include "server/request/refusal.h"

namespace hadal::relay {
namespace {

using request::Reason;

// The name by which another server knows the model of a call that names none.
std::string ModelFor(const service::GenerateService& service, const std::string& wanted) {
  if (!wanted.empty()) return wanted;
  const auto found = service.FindModel(wanted);
  return found.ok() ? found->model->name : std::string();
}

// A limit that no answer of the model here can reach, of a client that does not know the context (Ollama's), is none.
// As a number another server would refuse it, as more than its context leaves.
void DropUnreachableLimit(const service::GenerateService& service, service::CallOptions* options) {
  service::StopOptions& stopping = options->stopping;
  if (!stopping.cap_max_tokens || !stopping.max_tokens.has_value()) return;
  const auto found = service.FindModel(options->model);
  if (found.ok() && *stopping.max_tokens >= found->model->info.max_model_len) stopping.max_tokens.reset();
}

}  // namespace

std::shared_ptr<RelayedCall> RelayedCall::Begin(const Environment& environment, upstream::PassedRequest request,
                                                service::Caller caller, Message message, std::function<void()> notify) {
  const auto lane = service::WorkerPool::LaneFor(message.bytes);
  std::shared_ptr<RelayedCall> call(
      new RelayedCall(environment, std::move(request), std::move(caller), std::move(notify)));
  const bool posted = environment.service->workers().TryPost(
      [call, decode = std::move(message.decode)]() mutable { call->TranslateOnWorker(std::exchange(decode, nullptr)); },
      lane);
  if (!posted) {
    {
      base::MutexLock lock(&call->mutex_);
      call->ended_ = true;
      call->status_ = service::WorkersBusy();
    }
    call->notifier_->Notify();
  }
  return call;
}

RelayedCall::RelayedCall(const Environment& environment, upstream::PassedRequest request, service::Caller caller,
                         std::function<void()> notify)
    : environment_(environment),
      notifier_(std::make_shared<request::Notifier>(std::move(notify))),
      request_(std::move(request)),
      caller_(std::move(caller)) {}

void RelayedCall::TranslateOnWorker(Decode decode) {
  const absl::StatusOr<int32_t> choices = Translate(decode);
  decode = nullptr;  // and with it the message: before the front is told
  {
    base::MutexLock lock(&mutex_);
    if (ended_) return;
    if (choices.ok()) {
      answer_ = std::make_unique<OpenAiAnswer>(*choices);
      passage_ = environment_.upstreams->Begin(std::move(request_), [notifier = notifier_] { notifier->Notify(); });
    } else {
      ended_ = true;
      status_ = choices.status();
      // What cannot be said in that form is refused as without upstreams.
      invalid_ = request::GetErrorDetail(status_).reason != Reason::kUnsupported;
    }
  }
  notifier_->Notify();
}

absl::StatusOr<int32_t> RelayedCall::Translate(const Decode& decode) {
  absl::StatusOr<service::DecodedRequest> decoded = decode();
  if (!decoded.ok()) return decoded.status();
  if (decoded->priority.has_value()) {
    if (absl::Status status = caller_.AskFor(*decoded->priority); !status.ok()) return status;
    request_.fields.emplace_back("x-hadal-priority", request::kPriorityNames[static_cast<size_t>(*decoded->priority)]);
  }
  return std::visit(
      [this](auto& call) -> absl::StatusOr<int32_t> {
        if (absl::Status status = service::Validate(call); !status.ok()) return status;
        DropUnreachableLimit(*environment_.service, &call.options);
        absl::StatusOr<OpenAiRequest> request = EncodeOpenAi(call, ModelFor(*environment_.service, call.options.model));
        if (!request.ok()) return request.status();
        request_.path = request->path;
        request_.body = std::make_shared<const std::string>(std::move(request->body));
        return call.options.n;
      },
      decoded->calls.front());
}

void RelayedCall::Cancel() {
  notifier_->Disconnect();
  std::unique_ptr<upstream::Passage> freed;
  base::MutexLock lock(&mutex_);
  freed = std::move(passage_);
  if (std::exchange(ended_, true)) return;
  status_ = request::MakeError(Reason::kCancelled, "the client is gone");
  begun_ = true;
}

RelayedCall::Progress RelayedCall::Read(service::CallUpdate* update) {
  base::MutexLock lock(&mutex_);
  return ReadLocked(update);
}

RelayedCall::Progress RelayedCall::ReadLocked(service::CallUpdate* update) {
  if (ended_) return begun_ ? Progress::kBroken : Progress::kDeclined;
  if (passage_ == nullptr) return Progress::kWaiting;
  std::string bytes;
  const Progress progress = passage_->Read(&bytes);
  if (progress == Progress::kDeclined) return FailLocked(passage_->status());
  if (!bytes.empty() && served_by_.empty()) {
    const upstream::PassedHead& head = passage_->head();
    if (!absl::StartsWithIgnoreCase(head.content_type, "text/event-stream")) {
      return FailLocked(AnswerFailed("does not stream"));
    }
    served_by_ = head.served_by;
  }
  OpenAiAnswer* const answer = answer_.get();
  absl::Status status = events_.Feed(bytes, [&](std::string_view data) { return answer->Take(data, update); });
  if (status.ok() && progress == Progress::kBroken) status = passage_->status();
  if (status.ok() && progress == Progress::kComplete && !answer->complete()) {
    status = AnswerFailed("ended in the middle of its answer");
  }
  if (!status.ok()) {
    // Nothing has been given out: what came goes, and the caller is free to refuse.
    if (!begun_) *update = {};
    return FailLocked(std::move(status));
  }
  if (progress == Progress::kComplete) answer->End(update);
  begun_ = begun_ || !update->empty();
  return progress;
}

RelayedCall::Progress RelayedCall::FailLocked(absl::Status status) {
  ended_ = true;
  status_ = std::move(status);
  passage_ = nullptr;
  return begun_ ? Progress::kBroken : Progress::kDeclined;
}

absl::Status RelayedCall::status() const {
  base::MutexLock lock(&mutex_);
  return status_;
}

bool RelayedCall::invalid() const {
  base::MutexLock lock(&mutex_);
  return invalid_;
}

std::string RelayedCall::served_by() const {
  base::MutexLock lock(&mutex_);
  return served_by_;
}

std::string RelayedCall::model() const {
  base::MutexLock lock(&mutex_);
  return answer_ == nullptr ? std::string() : answer_->model();
}

}  // namespace hadal::relay
