// SPDX-License-Identifier: Apache-2.0
#include "server/upstream/passage.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "server/base/log.h"
#include "server/base/strings.h"
#include "server/request/refusal.h"
#include "server/upstream/answer_head.h"
#include "server/upstream/curl_library.h"
#include "server/upstream/passage_core.h"
#include "server/upstream/request_model.h"

namespace hadal::upstream {
namespace {

using request::MakeError;
using request::Reason;

// Of an answer that is not passed on, so that its connection can be used again.
constexpr size_t kMaxIgnoredBytes = 64 << 10;

int64_t ParseDate(const char* text) {
  const absl::StatusOr<const CurlLibrary*> curl = LoadCurl();
  return curl.ok() ? static_cast<int64_t>((*curl)->getdate(text, nullptr)) : -1;
}

}  // namespace

Passage::~Passage() { core_->Leave(); }
Passage::Progress Passage::Read(std::string* out) { return core_->Read(out); }
const PassedHead& Passage::head() const { return core_->head(); }
absl::Status Passage::status() const { return core_->status(); }

PassageCore::PassageCore(PassageEnvironment environment, PassedRequest request, std::function<void()> notify)
    : environment_(environment),
      request_(std::move(request)),
      end_by_(base::Clock::Real()->Now() +
              std::min(environment.options->timeout, request_.deadline - environment.clock->Now())),
      notifier_(std::make_shared<request::Notifier>(std::move(notify))),
      tried_(environment.targets->size(), false) {}

void PassageCore::TryNext() {
  if (cancelled_) return;
  const absl::Time now = environment_.clock->Now();
  if (base::Clock::Real()->Now() >= end_by_ || now >= request_.first_by) {
    return EndWith(Progress::kDeclined, MakeError(Reason::kDeadlineExpired, "no upstream has answered in time"));
  }
  attempt_ = environment_.targets->Begin(tried_);
  if (!attempt_.has_value()) {
    return EndWith(Progress::kDeclined, MakeError(Reason::kUpstreamFailed, last_failure_));
  }
  const size_t index = attempt_->target();
  tried_[index] = true;
  const TargetOptions& target = environment_.targets->target(index);
  std::shared_ptr<const std::string> body = request_.body;
  if (!target.model.empty()) {
    std::optional<std::string> changed = WithModel(*body, target.model);
    if (!changed.has_value()) {
      attempt_.reset();
      return EndWith(Progress::kDeclined, MakeError(Reason::kUpstreamFailed, "the body is no JSON object"));
    }
    body = std::make_shared<const std::string>(*std::move(changed));
  }
  answer_ = {};
  ignored_bytes_ = 0;
  transfer_ = environment_.loop->Begin(RequestFor(target, index, std::move(body)), shared_from_this());
}

TransferRequest PassageCore::RequestFor(const TargetOptions& target, size_t index,
                                        std::shared_ptr<const std::string> body) const {
  const UpstreamOptions& options = *environment_.options;
  const absl::Time now = environment_.clock->Now();
  const absl::Time real_now = base::Clock::Real()->Now();
  TransferRequest request;
  request.url = target.base_url + request_.path;
  request.body = std::move(body);
  request.ca_file = target.ca_file;
  request.connect_timeout = options.connect_timeout;
  request.stall_timeout = options.stall_timeout;
  request.first_byte_by = real_now + std::min(options.first_byte_timeout, request_.first_by - now);
  request.end_by = end_by_;
  request.fields = {{"Content-Type", "application/json"}, {"x-hadal-hop", std::to_string(request_.hop)}};
  for (const auto& field : request_.fields) request.fields.push_back(field);
  if (request_.deadline < absl::InfiniteFuture()) {
    const int64_t left_ms = std::max<int64_t>(absl::ToInt64Milliseconds(request_.deadline - now), 1);
    request.fields.emplace_back("x-hadal-deadline-ms", std::to_string(left_ms));
  }
  const std::string key = environment_.keys->Get(index);
  if (!key.empty() && request_.key_in_x_api_key) request.fields.emplace_back("x-api-key", key);
  if (!key.empty() && !request_.key_in_x_api_key) request.fields.emplace_back("Authorization", "Bearer " + key);
  return request;
}

void PassageCore::OnHead(TransferHead head) { answer_ = std::move(head); }

TransferListener::Taken PassageCore::OnBody(std::string_view bytes) {
  if (!committed_ && !IsPassedOn(answer_)) {
    ignored_bytes_ += bytes.size();
    return ignored_bytes_ > kMaxIgnoredBytes ? Taken::kStop : Taken::kAll;
  }
  {
    base::MutexLock lock(&mutex_);
    if (waiting_.size() >= kMaxWaitingBytes) {
      paused_ = true;
      return Taken::kNothing;
    }
    if (!committed_) {
      head_ = {.status = answer_.status,
               .content_type = std::string(answer_.Find("content-type")),
               .fields = PassedFields(answer_),
               .served_by = environment_.targets->target(attempt_->target()).name};
      progress_ = Progress::kStreaming;
    }
    waiting_.append(bytes);
  }
  if (!std::exchange(committed_, true)) attempt_->SawFirstByte();
  notifier_->Notify();
  return Taken::kAll;
}

void PassageCore::OnEnd(TransferEnd end) {
  if (cancelled_) return;
  transfer_ = 0;
  if (!committed_) {
    const Outcome outcome = OutcomeOf(end);
    NoteFailure(outcome, end);
    attempt_->End(outcome, RestOf(answer_, absl::Now(), ParseDate));
    return TryNext();
  }
  switch (end.kind) {
    case TransferEnd::Kind::kComplete:
      attempt_->End(Outcome::kOk);
      return EndWith(Progress::kComplete, absl::OkStatus());
    case TransferEnd::Kind::kExpired:
      attempt_->End(Outcome::kExpired);
      break;
    case TransferEnd::Kind::kTimeout:
      attempt_->End(Outcome::kTimeout);
      break;
    default:
      attempt_->End(Outcome::kBroken);
  }
  EndWith(Progress::kBroken, BrokenStatus(end));
}

Outcome PassageCore::OutcomeOf(const TransferEnd& end) const {
  if (end.kind == TransferEnd::Kind::kExpired) return Outcome::kExpired;
  const int status = answer_.status;
  if (status == 429 || status == 503 || status == 529) return Outcome::kBusy;
  // Until the key is right it takes nobody's requests.
  if (status >= 500 || status == 401) return Outcome::kError;
  if (status >= 300) return Outcome::kRejected;
  switch (end.kind) {
    case TransferEnd::Kind::kComplete:  // without a byte, or of a kind that is not passed on
    case TransferEnd::Kind::kMalformed:
      return Outcome::kMalformed;
    case TransferEnd::Kind::kUnreachable:
      return Outcome::kUnreachable;
    case TransferEnd::Kind::kTimeout:
    case TransferEnd::Kind::kExpired:
      return Outcome::kTimeout;
    case TransferEnd::Kind::kBroken:
      return status != 0 && !IsPassedOn(answer_) ? Outcome::kMalformed : Outcome::kBroken;
  }
  return Outcome::kBroken;
}

void PassageCore::NoteFailure(Outcome outcome, const TransferEnd& end) {
  const std::string& name = environment_.targets->target(attempt_->target()).name;
  last_failure_ = absl::StrCat(name, " has not answered: ", base::View(kOutcomes[static_cast<size_t>(outcome)]));
  base::Log(base::LogLevel::kDebug, "upstream", last_failure_,
            {{"status", int64_t{answer_.status}},
             {"detail", std::string_view(end.text)},
             {"request_id", std::string_view(request_.request_id)},
             {"trace_id", std::string_view(request_.trace_id)}});
}

absl::Status PassageCore::BrokenStatus(const TransferEnd& end) const {
  if (end.kind != TransferEnd::Kind::kExpired) {
    return MakeError(Reason::kUpstreamFailed, "the server that answers for this one broke off");
  }
  if (environment_.clock->Now() >= request_.deadline) {
    return MakeError(Reason::kDeadlineExpired, "the request's deadline has passed");
  }
  return MakeError(Reason::kInsufficientSystemResource, "the answer took longer than this server could wait for it");
}

void PassageCore::EndWith(Progress progress, absl::Status status) {
  {
    base::MutexLock lock(&mutex_);
    progress_ = progress;
    status_ = std::move(status);
  }
  notifier_->Notify();
}

void PassageCore::Cancel() {
  cancelled_ = true;
  environment_.loop->Cancel(transfer_);
  attempt_.reset();  // counted as cancelled, unless it has ended
}

Passage::Progress PassageCore::Read(std::string* out) {
  bool resume = false;
  Progress progress;
  {
    base::MutexLock lock(&mutex_);
    out->append(waiting_);
    waiting_.clear();
    resume = std::exchange(paused_, false);
    progress = progress_;
  }
  if (resume) {
    environment_.loop->Post([core = shared_from_this()] { core->environment_.loop->Resume(core->transfer_); });
  }
  return progress;
}

const PassedHead& PassageCore::head() const {
  base::MutexLock lock(&mutex_);
  return head_;
}

absl::Status PassageCore::status() const {
  base::MutexLock lock(&mutex_);
  return status_;
}

void PassageCore::Leave() {
  notifier_->Disconnect();
  environment_.loop->Post([core = shared_from_this()] { core->Cancel(); });
}

}  // namespace hadal::upstream
