// SPDX-License-Identifier: Apache-2.0
#include "client/generation_loop.h"

#include <utility>

#include "client/requests.h"

namespace hadal::client {

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
  if (absl::Status how = status(); !how.ok()) return how;
  base::MutexLock lock(&read_mutex_);
  return result_;
}

Piece GenerationLoop::Take(const v1::GenerateResponse& response) {
  Append(response, &result_);
  return {response.reasoning(), response.text()};
}

}  // namespace hadal::client
