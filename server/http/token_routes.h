// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/asio/awaitable.hpp>

#include "server/http/connection.h"
#include "server/http/route.h"
#include "server/service/call_record.h"

namespace hadal::http {

// POST /tokenize, /detokenize and the render routes. They take no queue slot: the workers' bounded queue is their
// limit.
boost::asio::awaitable<void> HandleTokens(Connection& connection, Route route, service::CallInfo info);

}  // namespace hadal::http
