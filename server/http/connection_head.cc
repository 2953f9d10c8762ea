// SPDX-License-Identifier: Apache-2.0
// What stands at the head of every response.
#include <optional>

#include "absl/strings/str_format.h"
#include "server/http/codec/route.h"
#include "server/http/connection.h"
#include "server/service/load_report.h"

namespace hadal::http {

std::string Connection::FormatHead(int status, std::string_view content_type, const Headers& headers) {
  std::string text = absl::StrFormat("HTTP/1.1 %d ", status);
  text.append(ReasonPhrase(status)).append("\r\n");
  const auto add = [&](std::string_view name, std::string_view value) {
    text.append(name).append(": ").append(value).append("\r\n");
  };
  if (!content_type.empty()) add("content-type", content_type);
  if (!request_id_.empty()) add("x-request-id", request_id_);
  if (!trace_response_.empty()) add("traceresponse", trace_response_);
  if (!request_id_.empty() && ApiOf(head().target) == Api::kAnthropic) add("request-id", request_id_);
  for (const auto& [name, value] : headers) add(name, value);
  // What a router in front wants with each response, refusals included.
  for (const auto& [name, value] : head().session) add(name, value);
  if (const service::GenerateService* const served = context_->dependencies.service; served != nullptr) {
    if (const auto format = service::ParseLoadReportFormat(head().load_format); format.has_value()) {
      add(service::kLoadReportHeader, service::FormatLoadReport(served->GetLoadReport(), *format));
    }
  }
  Headers cors;
  context_->options.cors.AddTo(head().origin, &cors);
  for (const auto& [name, value] : cors) add(name, value);
  add("server", context_->options.server_header);
  if (!keep_alive_) {
    add("connection", "close");
  } else if (head().http_1_0) {
    add("connection", "keep-alive");
  }
  return text;
}

}  // namespace hadal::http
