// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/asio/awaitable.hpp>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "server/http/codec/response.h"
#include "server/http/connection.h"
#include "server/service/call_record.h"

namespace hadal::http {

// Responses to requests that have no pipeline: each is recorded once, then sent.

// What is known of the connection's request, arriving now. The caller is filled in when the key has been checked.
service::CallInfo InfoOf(const Connection& connection, std::string_view route);

// Records the request with the response's HTTP status and sends the response.
boost::asio::awaitable<void> SendRecorded(Connection& connection, service::CallInfo info, absl::Status status,
                                          Response response);
// The same with the status as an error response, and further headers.
boost::asio::awaitable<void> Refuse(Connection& connection, service::CallInfo info, absl::Status status,
                                    Headers headers = {});
// The client disconnected before it had its response.
void RecordGone(const Connection& connection, const service::CallInfo& info);

}  // namespace hadal::http
