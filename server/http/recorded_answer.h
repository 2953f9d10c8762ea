// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/asio/awaitable.hpp>
#include <string_view>

#include "absl/status/status.h"
#include "server/http/connection.h"
#include "server/http/error_answer.h"
#include "server/service/call_record.h"

namespace hadal::http {

// Answers of requests that have no pipeline: each is recorded once, then sent.

// What is known of the connection's request, arriving now. The caller is filled in when the key has been checked.
service::CallInfo InfoOf(const Connection& connection, std::string_view route);

// Records the request with the answer's HTTP status and sends the answer.
boost::asio::awaitable<void> SendRecorded(Connection& connection, service::CallInfo info, absl::Status status,
                                          Answer answer);
// The same with the status as an error answer, and further headers.
boost::asio::awaitable<void> Refuse(Connection& connection, service::CallInfo info, absl::Status status,
                                    Headers headers = {});
// The client left before it had its answer.
void RecordGone(const Connection& connection, const service::CallInfo& info);

}  // namespace hadal::http
