// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/asio/awaitable.hpp>
#include <functional>

#include "absl/status/status.h"
#include "server/batches/batch_store.h"
#include "server/http/codec/route.h"
#include "server/http/connection.h"
#include "server/service/call_record.h"

namespace hadal::http {

// The routes of /v1/files and /v1/batches.
bool IsBatchRoute(Route route);

// Answers one of them; UNSUPPORTED if the server has no batch store. Store operations run on the store's thread, and
// the connection's thread never blocks.
boost::asio::awaitable<void> HandleBatchRoute(Connection& connection, const RouteMatch& match, service::CallInfo info);

// Has `job` run on the store's thread and waits for it; with its error as clients are told of it. What it refers to
// must live as long as the coroutine that waits.
boost::asio::awaitable<absl::Status> OnStore(Connection& connection,
                                             const std::function<absl::Status(batches::Tables&)>& job);

}  // namespace hadal::http
