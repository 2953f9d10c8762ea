// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

#include "absl/status/statusor.h"
#include "client/attempt_loop.h"

namespace hadal::client {

// What becomes of a call whose server was lost before it answered.
enum class Repeat : uint8_t {
  kAlways,   // it is made again: to ask twice does no harm
  kNotSent,  // only if it was not sent
};

// A call with one response through all its attempts.
template <typename Request, typename Response, typename Service = v1::Inference>
class UnaryLoop final : public AttemptLoop {
 public:
  using Async = typename Service::StubInterface::async_interface;
  using Method = void (Async::*)(grpc::ClientContext*, const Request*, Response*, std::function<void(grpc::Status)>);
  using Done = std::function<void(absl::StatusOr<Response>)>;

  UnaryLoop(std::shared_ptr<Connections> connections, Metadata metadata, absl::Time deadline, Method method,
            Request request, Done done, Repeat repeat = Repeat::kAlways)
      : AttemptLoop(std::move(connections), std::move(metadata), deadline),
        repeat_(repeat),
        method_(method),
        request_(std::move(request)),
        done_(std::move(done)) {}

 private:
  void Launch(const Connections::Server& server, grpc::ClientContext* context) override {
    auto response = std::make_shared<Response>();  // of this attempt; another one may run beside it
    (server.async<Service>()->*method_)(context, &request_, response.get(),
                                        [self = std::static_pointer_cast<UnaryLoop>(shared_from_this()), context,
                                         response](const grpc::Status& status) {
                                          if (status.ok() && self->Claim(context))
                                            self->response_ = std::move(*response);
                                          self->AttemptDone(context, status);
                                        });
  }
  std::optional<CallKind> Hedged() const override {
    if (repeat_ != Repeat::kAlways || !std::is_same_v<Service, v1::Inference>) return std::nullopt;
    return CallKind::kQuestion;
  }
  bool MayHaveTakenEffect(const grpc::ClientContext& context) const override {
    return repeat_ == Repeat::kNotSent && WasSent(context);
  }
  void End(absl::Status status) override {
    if (status.ok()) {
      done_(std::move(response_));
    } else {
      done_(std::move(status));
    }
  }

  const Repeat repeat_;
  const Method method_;
  const Request request_;
  const Done done_;
  Response response_;
};

}  // namespace hadal::client
