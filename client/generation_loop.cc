// SPDX-License-Identifier: Apache-2.0
#include "client/generation_loop.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "client/results.h"

namespace hadal::client {
namespace {

// What its reader gets of a response that broke off. A lost connection is no more UNAVAILABLE then: that is for calls
// of which nothing came, and which may simply be made again.
absl::Status BrokenOff(const absl::Status& status, int pieces, const GenerationResult& result) {
  const absl::StatusCode code = absl::IsUnavailable(status) ? absl::StatusCode::kAborted : status.code();
  return absl::Status(code, absl::StrCat(status.message(), "; the response broke off after ", pieces,
                                         pieces == 1 ? " piece" : " pieces", " with ", result.text.size(),
                                         " bytes of text and ", result.reasoning.size(),
                                         " of reasoning, and was not asked for again: they would have come twice"));
}

}  // namespace

void GenerationLoop::EndThinking(std::function<void(absl::Status)> done) {
  struct Question {
    v1::EndThinkingRequest request;
    v1::EndThinkingResponse response;
  };
  auto question = std::make_shared<Question>();
  bool has_ended = false;
  {
    base::MutexLock lock(&read_mutex_);
    has_ended = ended();
    question->request.set_request_id(result_.request_id);
  }
  if (has_ended || question->request.request_id().empty()) {
    const char* const why = has_ended ? "the response has ended" : "the response has not begun";
    return RunSoon([done = std::move(done), why] { done(absl::FailedPreconditionError(why)); });
  }
  const SideCall call = MakeSideCall();
  call.stub->EndThinking(call.context.get(), &question->request, &question->response,
                         [self = shared_from_this(), question, context = call.context,
                          done = std::move(done)](const grpc::Status& status) { done(ToAbsl(status)); });
}

absl::StatusOr<GenerationResult> GenerationLoop::result() const {
  base::MutexLock lock(&read_mutex_);
  const absl::Status how = StatusLocked();
  if (how.ok()) return result_;
  const bool broke_off = ended() && pieces_ > 0 && !absl::IsCancelled(how);
  return broke_off ? BrokenOff(how, pieces_, result_) : how;
}

Piece GenerationLoop::Take(const v1::GenerateResponse& response) {
  ++pieces_;
  Append(response, &result_);
  return PieceOf(response);
}

AttemptLoop::AfterBreak GenerationLoop::BrokeOff() {
  if (!whole()) return AfterBreak::kEnd;
  base::MutexLock lock(&read_mutex_);
  pieces_ = 0;
  result_ = {};
  return AfterBreak::kBeginAgain;
}

void GenerationLoop::OnTrailers(const grpc::ClientContext& context) {
  base::MutexLock lock(&read_mutex_);
  result_.response_cache = TrailerOf(context, "x-hadal-cache");
  result_.degraded = TrailerOf(context, "x-hadal-degraded");
}

}  // namespace hadal::client
