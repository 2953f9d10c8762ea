// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/asio/awaitable.hpp>
#include <string>

#include "absl/status/status.h"
#include "server/http/codec/response.h"
#include "server/http/codec/route.h"
#include "server/http/connection.h"
#include "server/http/request_body.h"
#include "server/service/call_record.h"
#include "server/service/generate_service.h"

namespace hadal::http {

// What the answer of a route may ask besides the body.
struct UnaryContext {
  service::GenerateService* service;
  Route route;
  std::string parameter;  // RouteMatch::parameter
  std::string request_id;
  std::string tenant;  // of the caller
  int max_json_depth;
};

// From a body to the whole response, on a worker. Frees the body as soon as it is parsed.
using UnaryAnswer = absl::Status (*)(const UnaryContext& context, RequestBody* body, Response* response);

// The answer of a route with one response that needs no queue slot: its limit is the workers' bounded queue. Null for
// other routes.
UnaryAnswer UnaryAnswerOf(Route route);

// Reads the body, has it answered by a worker, and sends the response.
boost::asio::awaitable<void> HandleUnary(Connection& connection, UnaryAnswer answer, const RouteMatch& match,
                                         service::CallInfo info);

}  // namespace hadal::http
