// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <utility>

#include "absl/status/statusor.h"
#include "client/attempt_loop.h"

namespace hadal::client {

// A call with one response through all its attempts.
template <typename Request, typename Response>
class UnaryLoop final : public AttemptLoop {
 public:
  using Async = v1::Inference::StubInterface::async_interface;
  using Method = void (Async::*)(grpc::ClientContext*, const Request*, Response*, std::function<void(grpc::Status)>);
  using Done = std::function<void(absl::StatusOr<Response>)>;

  UnaryLoop(std::shared_ptr<Connections> connections, Metadata metadata, absl::Time deadline, Method method,
            Request request, Done done)
      : AttemptLoop(std::move(connections), std::move(metadata), deadline),
        method_(method),
        request_(std::move(request)),
        done_(std::move(done)) {}

 private:
  void Launch(Async* stub, grpc::ClientContext* context) override {
    response_.Clear();
    (stub->*method_)(context, &request_, &response_,
                     [self = std::static_pointer_cast<UnaryLoop>(shared_from_this())](const grpc::Status& status) {
                       self->AttemptDone(status);
                     });
  }
  void End(absl::Status status) override {
    if (status.ok()) {
      done_(std::move(response_));
    } else {
      done_(std::move(status));
    }
  }

  const Method method_;
  const Request request_;
  const Done done_;
  Response response_;
};

}  // namespace hadal::client
