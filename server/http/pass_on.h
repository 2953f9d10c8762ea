// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/asio/awaitable.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "server/http/codec/route.h"
#include "server/http/connection.h"
#include "server/http/request_body.h"
#include "server/http/translated_answer.h"
#include "server/service/call_record.h"
#include "server/upstream/passage.h"
#include "server/upstream/upstreams.h"

namespace hadal::http {

// Passes one generating request on to another server if this one refuses it. On the connection's thread only.
class PassOn {
 public:
  // Whether the request may take it is decided here: by its route, its headers, and the hops that it has made.
  PassOn(const Connection& connection, Route route, const service::CallInfo& info);

  // An upstream would be asked if the request were refused now.
  bool open() const { return request_.has_value() && upstreams_->MayTake(hops_); }
  // Whether an upstream may answer what was refused so; the body need not be there yet. `waited`: it had been admitted
  // before. Cheap: what is refused at the door costs no more than without upstreams unless one may be asked.
  bool MayAnswer(const absl::Status& refusal, bool waited) const;

  // The body is needed in case a refusal comes later; its bytes stay leased. Without effect where nothing is passed on,
  // and while bodies take more than half of the memory that they may: then what waits here stays here.
  void Keep(std::shared_ptr<RequestBody> body, const service::BodyBudget& bodies);
  // There is an answer of our own, or none will be needed.
  void Forget() { body_.reset(); }
  bool has_body() const { return body_ != nullptr; }
  int64_t body_bytes() const { return static_cast<int64_t>(body_->text.size()); }

  using End = PassOnEnd;
  using Answer = PassOnAnswer;
  // Asks the upstreams and gives the client what they send; uses the body up. `on_begin` is called before the first
  // byte goes to the client.
  boost::asio::awaitable<Answer> Run(Connection& connection, std::function<void()> on_begin);

 private:
  upstream::Upstreams* const upstreams_;  // null: there are none
  std::optional<upstream::PassedRequest> request_;
  std::optional<TranslatedCall> translated_;  // its API is not one that upstreams must speak
  int hops_ = 0;
  std::shared_ptr<RequestBody> body_;
};

}  // namespace hadal::http
