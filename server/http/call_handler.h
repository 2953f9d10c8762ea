// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/asio/awaitable.hpp>

#include "server/http/codec/route.h"
#include "server/http/connection.h"
#include "server/service/call_record.h"

namespace hadal::http {

// The generating routes: reads the body, writes the response; service::CallPipeline does everything in between.
// `priority_from_header`: the body's service_tier does not count.
boost::asio::awaitable<void> HandleCall(Connection& connection, Route route, service::CallInfo info,
                                        bool priority_from_header);

}  // namespace hadal::http
