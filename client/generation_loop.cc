// SPDX-License-Identifier: Apache-2.0
#include "client/generation_loop.h"

#include <optional>
#include <utility>

#include "client/requests.h"
#include "client/run_soon.h"

namespace hadal::client {

class GenerationLoop::Stream final : public Reader {
 public:
  explicit Stream(std::shared_ptr<GenerationLoop> loop) : loop_(std::move(loop)) {}

  const v1::GenerateResponse& response() const { return response_; }
  void Read() { StartRead(&response_); }

  void OnReadDone(bool ok) override { loop_->OnRead(ok); }
  void OnDone(const grpc::Status& status) override {
    const std::shared_ptr<GenerationLoop> loop = std::move(loop_);
    delete this;
    loop->AttemptDone(status);
  }

 private:
  std::shared_ptr<GenerationLoop> loop_;
  v1::GenerateResponse response_;
};

void GenerationLoop::Next(Generation::Then then) {
  Stream* read = nullptr;
  bool start = false, ended = false;
  {
    base::MutexLock lock(&read_mutex_);
    ended = ended_;
    if (!ended) {
      then_ = std::move(then);
      start = !std::exchange(started_, true);
      if (held_ != nullptr && !reading_) {
        reading_ = true;
        read = held_;
      }
    }
  }
  if (ended) return RunSoon([then = std::move(then)] { then(std::nullopt); });
  if (start) Start();
  if (read != nullptr) read->Read();
}

void GenerationLoop::Stop() {
  Stream* released = nullptr;
  {
    base::MutexLock lock(&read_mutex_);
    stopped_ = true;
    if (!reading_) released = ReleaseLocked();
  }
  Cancel();
  if (released != nullptr) released->RemoveHold();
}

void GenerationLoop::EndThinking(std::function<void(absl::Status)> done) {
  struct Question {
    v1::EndThinkingRequest request;
    v1::EndThinkingResponse response;
  };
  auto question = std::make_shared<Question>();
  bool ended = false;
  {
    base::MutexLock lock(&read_mutex_);
    ended = ended_;
    question->request.set_request_id(result_.request_id);
  }
  if (ended || question->request.request_id().empty()) {
    const char* const why = ended ? "the response has ended" : "the response has not begun";
    return RunSoon([done = std::move(done), why] { done(absl::FailedPreconditionError(why)); });
  }
  const SideCall call = MakeSideCall();
  call.stub->EndThinking(call.context.get(), &question->request, &question->response,
                         [self = shared_from_this(), question, context = call.context,
                          done = std::move(done)](const grpc::Status& status) { done(ToAbsl(status)); });
}

absl::StatusOr<GenerationResult> GenerationLoop::result() const {
  base::MutexLock lock(&read_mutex_);
  if (!ended_) return absl::FailedPreconditionError("the response has not ended");
  if (!status_.ok()) return status_;
  return result_;
}

void GenerationLoop::Launch(Async* stub, grpc::ClientContext* context) {
  auto* const stream = new Stream(std::static_pointer_cast<GenerationLoop>(shared_from_this()));
  open_(stub, context, stream);
  stream->AddHold();
  {
    base::MutexLock lock(&read_mutex_);
    held_ = stream;
    reading_ = true;
  }
  stream->Read();
  stream->StartCall();
}

void GenerationLoop::OnRead(bool ok) {
  Generation::Then then;
  Piece piece;
  Stream* released = nullptr;
  {
    base::MutexLock lock(&read_mutex_);
    reading_ = false;
    if (ok) {
      MarkBegun();
      piece = {held_->response().reasoning(), held_->response().text()};
      Append(held_->response(), &result_);
      then = std::exchange(then_, nullptr);
    }
    if (!ok || stopped_) released = ReleaseLocked();
  }
  if (then != nullptr) then(std::move(piece));
  if (released != nullptr) released->RemoveHold();
}

GenerationLoop::Stream* GenerationLoop::ReleaseLocked() { return std::exchange(held_, nullptr); }

void GenerationLoop::End(absl::Status status) {
  Generation::Then then;
  {
    base::MutexLock lock(&read_mutex_);
    ended_ = true;
    status_ = std::move(status);
    then = std::exchange(then_, nullptr);
  }
  if (then != nullptr) then(std::nullopt);
}

}  // namespace hadal::client
