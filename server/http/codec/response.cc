// SPDX-License-Identifier: Apache-2.0
#include "server/http/codec/response.h"

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "server/base/strings.h"
#include "server/http/codec/json_writer.h"
#include "server/request/refusal.h"

namespace hadal::http {

namespace {

// Clients and agents compare this one with OpenAI's text, to shorten the talk and try again.
std::string_view CodeOf(request::Reason reason) {
  return reason == request::Reason::kContextLengthExceeded ? "context_length_exceeded" : request::ReasonName(reason);
}

// The types of Anthropic's errors that other APIs call otherwise.
std::string_view AnthropicErrorType(const request::WireError& wire) {
  if (wire.http_status == 404) return "not_found_error";
  if (wire.http_status == 413) return "request_too_large";
  const bool own_fault = wire.error_type == "server_error" || wire.error_type == "cancelled_error";
  return own_fault ? "api_error" : wire.error_type;
}

std::string AnthropicErrorObject(const absl::Status& status) {
  const request::ErrorDetail detail = request::GetErrorDetail(status);
  std::string body;
  JsonWriter json(&body);
  json.BeginObject().Key("type").String("error").Key("error").BeginObject();
  json.Key("type").String(AnthropicErrorType(request::WireErrorFor(detail.reason)));
  json.Key("message").String(base::StdView(status.message()));
  json.Key("details").BeginObject().Key("error_code").String(request::ReasonName(detail.reason));
  if (!detail.param.empty()) json.Key("param").String(detail.param);
  json.EndObject().EndObject().EndObject();
  return body;
}

}  // namespace

std::string ErrorObject(const absl::Status& common, Api api) {
  const absl::Status status = InWordsOf(api, common);
  if (api == Api::kAnthropic) return AnthropicErrorObject(status);
  const request::ErrorDetail detail = request::GetErrorDetail(status);
  std::string body;
  JsonWriter json(&body);
  if (api == Api::kOllama) {
    json.BeginObject().Key("error").String(base::StdView(status.message())).EndObject();
    return body;
  }
  json.BeginObject().Key("error").BeginObject();
  json.Key("message").String(base::StdView(status.message()));
  json.Key("type").String(request::WireErrorFor(detail.reason).error_type);
  json.Key("param");
  if (detail.param.empty()) {
    json.Null();
  } else {
    json.String(detail.param);
  }
  json.Key("code").String(CodeOf(detail.reason));
  json.EndObject().EndObject();
  return body;
}

int HttpStatusOf(const absl::Status& status, int overload_http_status, Api api) {
  const request::WireError& wire = request::WireErrorFor(request::GetErrorDetail(status).reason);
  if (wire.capacity) return overload_http_status;
  const bool knows_422 = api != Api::kAnthropic && api != Api::kOllama;
  return wire.http_status == 422 && !knows_422 ? 400 : wire.http_status;
}

Response ErrorResponse(const absl::Status& status, int overload_http_status, Api api) {
  const request::ErrorDetail detail = request::GetErrorDetail(status);
  Response response;
  response.status = HttpStatusOf(status, overload_http_status, api);
  response.body = ErrorObject(status, api);
  if (detail.retry_after.has_value()) {
    const int64_t ms = std::max<int64_t>(absl::ToInt64Milliseconds(*detail.retry_after), 1);
    response.headers.emplace_back("Retry-After", std::to_string((ms + 999) / 1000));
    response.headers.emplace_back("retry-after-ms", std::to_string(ms));
    response.headers.emplace_back("x-hadal-promise", detail.promised ? "held" : "none");
  }
  if (!detail.ticket.empty()) response.headers.emplace_back("x-hadal-ticket", detail.ticket);
  if (detail.estimated_wait.has_value()) {
    response.headers.emplace_back("x-hadal-estimated-wait-ms",
                                  std::to_string(absl::ToInt64Milliseconds(*detail.estimated_wait)));
  }
  const bool should_retry = detail.retry_after.has_value() && detail.should_retry;
  response.headers.emplace_back("x-should-retry", should_retry ? "true" : "false");
  response.headers.emplace_back("x-hadal-reason", request::ReasonName(detail.reason));
  return response;
}

std::string_view ReasonPhrase(int http_status) {
  switch (http_status) {
    case 100:
      return "Continue";
    case 200:
      return "OK";
    case 204:
      return "No Content";
    case 206:
      return "Partial Content";
    case 304:
      return "Not Modified";
    case 400:
      return "Bad Request";
    case 401:
      return "Unauthorized";
    case 403:
      return "Forbidden";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 408:
      return "Request Timeout";
    case 409:
      return "Conflict";
    case 413:
      return "Content Too Large";
    case 414:
      return "URI Too Long";
    case 415:
      return "Unsupported Media Type";
    case 416:
      return "Range Not Satisfiable";
    case 417:
      return "Expectation Failed";
    case 422:
      return "Unprocessable Content";
    case 429:
      return "Too Many Requests";
    case 431:
      return "Request Header Fields Too Large";
    case 499:
      return "Client Closed Request";
    case 500:
      return "Internal Server Error";
    case 501:
      return "Not Implemented";
    case 502:
      return "Bad Gateway";
    case 503:
      return "Service Unavailable";
    case 504:
      return "Gateway Timeout";
    case 507:
      return "Insufficient Storage";
    case 529:
      return "Overloaded";
    default:
      return "Status";
  }
}

}  // namespace hadal::http
