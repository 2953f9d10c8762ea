// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/asio/awaitable.hpp>

#include "server/http/connection.h"
#include "server/http/route.h"
#include "server/service/call_record.h"

namespace hadal::http {

// POST /tokenize, /detokenize, /v1/messages/count_tokens and the render routes. They take no queue slot: their limit is
// the workers' bounded queue.
boost::asio::awaitable<void> HandleTokens(Connection& connection, Route route, service::CallInfo info);

}  // namespace hadal::http
