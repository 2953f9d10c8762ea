// SPDX-License-Identifier: Apache-2.0
#include "server/http/recorded_response.h"

#include <utility>

#include "server/http/codec/route.h"

namespace hadal::http {

namespace asio = boost::asio;

service::CallInfo InfoOf(const Connection& connection, std::string_view route) {
  service::CallInfo info;
  info.protocol = service::Protocol::kHttp;
  info.route = route;
  info.request_id = connection.request_id();
  info.network = connection.network();
  info.trace =
      connection.context().dependencies.service->OpenTrace(connection.head().traceparent, connection.head().tracestate);
  info.arrival = connection.context().dependencies.service->clock().Now();
  return info;
}

asio::awaitable<void> SendRecorded(Connection& connection, service::CallInfo info, absl::Status status,
                                   Response response) {
  connection.context().dependencies.service->Record(info, {.status = std::move(status), .code = response.status});
  co_await connection.Send(std::move(response));
}

asio::awaitable<void> Refuse(Connection& connection, service::CallInfo info, absl::Status status, Headers headers) {
  Response response =
      ErrorResponse(status, connection.context().options.overload_http_status, ApiOf(connection.head().target));
  for (auto& header : headers) response.headers.push_back(std::move(header));
  co_await SendRecorded(connection, std::move(info), std::move(status), std::move(response));
}

void RecordGone(const Connection& connection, const service::CallInfo& info) {
  connection.context().dependencies.service->Record(info, {.status = connection.disconnect_status(), .code = 499});
}

}  // namespace hadal::http
