// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/asio/awaitable.hpp>

#include "server/http/connection.h"

namespace hadal::http {

// Handles one request: finds the route, checks key and class, and hands calls to the service. Runs on the connection's
// thread; what takes long runs on the service's workers meanwhile.
boost::asio::awaitable<void> HandleRequest(Connection& connection);

// The same for a server without a service: health, metrics and version, or 404.
boost::asio::awaitable<void> HandleProbe(Connection& connection);

}  // namespace hadal::http
