// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/asio/awaitable.hpp>

#include "absl/time/time.h"
#include "server/http/connection.h"
#include "server/http/route.h"
#include "server/service/api_keys.h"

namespace hadal::http {

// One request of a generating route, from the admission to the last byte.
struct CallContext {
  RouteMatch route;
  service::Caller caller;             // as the headers and the key say
  bool priority_from_header = false;  // then the body's service_tier does not count
  absl::Time arrival;
  absl::Time deadline = absl::InfiniteFuture();
};

// Chat and plain completions. Reserves a queue slot before the body is read; the outcome is recorded with the service.
boost::asio::awaitable<void> HandleCall(Connection& connection, CallContext context);

// Runs `job` on a worker and waits for it on the connection's thread; false when the workers' queue is full. The job is
// left out when the client has gone before it began.
boost::asio::awaitable<bool> RunOnWorker(Connection& connection, std::function<void()> job);

// The refusal of a full worker queue.
absl::Status WorkersBusy();

}  // namespace hadal::http
