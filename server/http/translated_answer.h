// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/asio/awaitable.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "server/http/codec/call_body.h"
#include "server/http/codec/route.h"
#include "server/http/connection.h"
#include "server/http/request_body.h"
#include "server/relay/relayed_call.h"
#include "server/service/api_keys.h"
#include "server/upstream/upstreams.h"

namespace hadal::http {

enum class PassOnEnd : uint8_t {
  kDeclined,  // no upstream has answered, and the client has been sent nothing
  kAnswered,  // the client has its answer, or the part of it that came
  kInvalid,   // the request itself is wrong, as `status` says; the client has been sent nothing
  kGone,      // the client is gone or does not read
};

// How a request ended that was passed on.
struct PassOnAnswer {
  PassOnEnd end = PassOnEnd::kDeclined;
  absl::Status status;    // of kAnswered: UPSTREAM_FAILED, DEADLINE_EXPIRED, ... when it broke off
  int code = 0;           // HTTP status that the client was given; 0: none
  std::string served_by;  // the upstream's name
};

// A request of a route whose API upstreams need not speak.
struct TranslatedCall {
  Route route = Route::kOllamaChat;
  service::Caller caller;
  std::string id;
  absl::Time arrival;
};

// The answer of an upstream to such a request, asked for and read in OpenAI's form (relay::RelayedCall) and written in
// the route's own. On the connection's thread only.
class TranslatedAnswer {
 public:
  static std::unique_ptr<TranslatedAnswer> Begin(Connection& connection, const TranslatedCall& call,
                                                 upstream::Upstreams* upstreams, upstream::PassedRequest request,
                                                 std::shared_ptr<const RequestBody> body, std::function<void()> notify);
  ~TranslatedAnswer() { relayed_->Cancel(); }
  TranslatedAnswer(const TranslatedAnswer&) = delete;
  TranslatedAnswer& operator=(const TranslatedAnswer&) = delete;

  // Gives the client what comes. `on_begin` is called before the first byte goes to the client.
  boost::asio::awaitable<PassOnAnswer> Run(std::function<void()> on_begin);

 private:
  TranslatedAnswer(Connection& connection, const TranslatedCall& call) : connection_(connection), call_(call) {}

  ResponseHead Head() const;
  Headers OwnHeaders() const;
  PassOnAnswer EndAs(PassOnEnd end, absl::Status status = absl::OkStatus()) const;
  // Adds what has come to `out_`, in the route's form.
  relay::RelayedCall::Progress Read();
  boost::asio::awaitable<bool> Write(std::function<void()>& on_begin);
  boost::asio::awaitable<void> SendWhole(std::function<void()>& on_begin);

  Connection& connection_;
  const TranslatedCall call_;
  // Written by the worker that decodes, read once an update has come.
  const std::shared_ptr<ResponsePlan> plan_ = std::make_shared<ResponsePlan>();
  std::shared_ptr<relay::RelayedCall> relayed_;
  const Calls no_calls_;
  request::StreamTimes times_;
  std::unique_ptr<ResponseEncoder> encoder_;
  std::string out_;
  bool begun_ = false;
};

}  // namespace hadal::http
