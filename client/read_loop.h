// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <grpcpp/grpcpp.h>

#include <functional>
#include <memory>
#include <optional>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "base/sync.h"
#include "client/attempt_loop.h"
#include "client/run_soon.h"

namespace hadal::client {

// A streamed response through all its attempts, read message by message, or, if it is `whole`, to its end without
// giving an item. Start is not called: the first Next does it. Subclasses make an `Item` of each message of type
// `Response`.
template <typename Service, typename Response, typename Item>
class ReadLoop : public AttemptLoop {
 public:
  using Async = typename Service::StubInterface::async_interface;
  using Reader = grpc::ClientReadReactor<Response>;
  // Begins the stream of one attempt; owns the request.
  using Open = std::function<void(Async* stub, grpc::ClientContext* context, Reader* reader)>;
  using Then = std::function<void(std::optional<Item>)>;

  ReadLoop(std::shared_ptr<Connections> connections, Metadata metadata, absl::Time deadline, Open open,
           bool whole = false)
      : AttemptLoop(std::move(connections), std::move(metadata), deadline), whole_(whole), open_(std::move(open)) {}

  // Calls `then` once with the next item, or with nullopt: that was the end. Not before the last `then` was called.
  void Next(Then then) {
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

  // Wants no more. Any thread.
  void Stop() {
    Stream* released = nullptr;
    {
      base::MutexLock lock(&read_mutex_);
      stopped_ = true;
      if (!reading_) released = ReleaseLocked();
    }
    Cancel();
    if (released != nullptr) released->RemoveHold();
  }

  // How it ended; FailedPrecondition before that.
  absl::Status status() const {
    base::MutexLock lock(&read_mutex_);
    return StatusLocked();
  }

 protected:
  // What the reader gets of a message.
  virtual Item Take(const Response& response) ABSL_EXCLUSIVE_LOCKS_REQUIRED(read_mutex_) = 0;

  absl::Status StatusLocked() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(read_mutex_) {
    return ended_ ? status_ : absl::FailedPreconditionError("the response has not ended");
  }
  bool whole() const { return whole_; }
  bool ended() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(read_mutex_) { return ended_; }

  mutable base::Mutex read_mutex_;

 private:
  // Of one attempt; deletes itself.
  class Stream final : public Reader {
   public:
    Stream(std::shared_ptr<ReadLoop> loop, grpc::ClientContext* context) : loop_(std::move(loop)), context_(context) {}

    const grpc::ClientContext* context() const { return context_; }
    const Response& response() const { return response_; }
    void Read() { this->StartRead(&response_); }

    void OnReadDone(bool ok) override { loop_->OnRead(this, ok); }
    void OnDone(const grpc::Status& status) override {
      const std::shared_ptr<ReadLoop> loop = std::move(loop_);
      const grpc::ClientContext* const context = context_;
      delete this;
      loop->AttemptDone(context, status);
    }

   private:
    std::shared_ptr<ReadLoop> loop_;
    grpc::ClientContext* const context_;
    Response response_;
  };

  void Launch(const Connections::Server& server, grpc::ClientContext* context) override {
    auto* const stream = new Stream(std::static_pointer_cast<ReadLoop>(shared_from_this()), context);
    open_(server.async<Service>(), context, stream);
    stream->AddHold();
    stream->Read();
    stream->StartCall();
  }

  void End(absl::Status status) override {
    Then then;
    {
      base::MutexLock lock(&read_mutex_);
      ended_ = true;
      status_ = std::move(status);
      then = std::exchange(then_, nullptr);
    }
    if (then != nullptr) then(std::nullopt);
  }

  void OnRead(Stream* stream, bool ok) {
    const bool counts = ok && this->Claim(stream->context());
    Then then;
    std::optional<Item> item;
    bool release = false;
    {
      base::MutexLock lock(&read_mutex_);
      if (counts) {
        held_ = stream;
        item = Take(stream->response());
        reading_ = whole_;
        if (!whole_) then = std::exchange(then_, nullptr);
      }
      release = !counts || stopped_;
      if (release && held_ == stream) held_ = nullptr;
    }
    if (then != nullptr) then(std::move(item));
    if (release) {
      stream->RemoveHold();
    } else if (whole_) {
      stream->Read();
    }
  }

  // gRPC ends a stream when no read is under way and nobody holds it. A hold is kept for reads to come.
  Stream* ReleaseLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(read_mutex_) { return std::exchange(held_, nullptr); }

  const bool whole_;
  const Open open_;
  Then then_ ABSL_GUARDED_BY(read_mutex_);
  Stream* held_ ABSL_GUARDED_BY(read_mutex_) = nullptr;  // whose answer has begun; null: nothing is to be read of it
  bool started_ ABSL_GUARDED_BY(read_mutex_) = false;
  bool reading_ ABSL_GUARDED_BY(read_mutex_) = false;
  bool stopped_ ABSL_GUARDED_BY(read_mutex_) = false;
  bool ended_ ABSL_GUARDED_BY(read_mutex_) = false;
  absl::Status status_ ABSL_GUARDED_BY(read_mutex_);
};

}  // namespace hadal::client
