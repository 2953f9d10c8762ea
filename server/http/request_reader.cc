// SPDX-License-Identifier: Apache-2.0
#include "server/http/request_reader.h"

#include <algorithm>
#include <boost/asio/buffer.hpp>
#include <boost/beast/http/buffer_body.hpp>
#include <boost/beast/http/parser.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/base/strings.h"
#include "server/http/codec/route.h"
#include "server/http/request_target.h"
#include "server/request/refusal.h"
#include "server/service/load_report.h"
#include "server/service/session_headers.h"

namespace hadal::http {
namespace {

namespace beast = boost::beast;
namespace bhttp = boost::beast::http;
using request::MakeError;
using request::Reason;

// Longest unfinished piece between the lines of a body: chunk headers and trailers.
constexpr size_t kMaxPendingBytes = 64 << 10;
// The body grows as bytes arrive; no announced length makes it larger at once.
constexpr int64_t kFirstReserveBytes = 64 << 10;

// From this on doubling reaches the length with nothing to spare.
size_t FirstReserve(int64_t length) {
  int64_t divisor = 1;
  while (length / divisor > kFirstReserveBytes) divisor *= 2;
  return static_cast<size_t>((length + divisor - 1) / divisor);
}

using Message = bhttp::request<bhttp::buffer_body>;

std::string Value(const Message& message, std::string_view name) {
  const auto found = message.find(beast::string_view(name.data(), name.size()));
  return found == message.end() ? "" : std::string(found->value().data(), found->value().size());
}

// Where the body ends must be said once, in a way that every reader understands alike. The parser has checked the
// numbers, and that no Content-Length stands beside chunked.
absl::Status CheckFraming(const Message& message) {
  const size_t codings = message.count(bhttp::field::transfer_encoding);
  if (codings > 0) {
    const std::string coding = Value(message, "transfer-encoding");
    if (codings > 1 || !beast::iequals(coding, "chunked")) {
      return MakeError(Reason::kInvalidRequest,
                       absl::StrCat("Transfer-Encoding may only be chunked, given once; found '", coding, "'",
                                    codings > 1 ? " and more" : ""));
    }
    if (message.version() < 11) {
      return MakeError(Reason::kInvalidRequest, "an HTTP/1.0 request cannot have a Transfer-Encoding");
    }
  }
  if (message.count(bhttp::field::content_length) > 1 ||
      Value(message, "content-length").find(',') != std::string::npos) {
    return MakeError(Reason::kInvalidRequest, "Content-Length is given more than once");
  }
  return absl::OkStatus();
}

absl::Status CheckHost(const Message& message) {
  const size_t hosts = message.count(bhttp::field::host);
  if (hosts > 1 || (hosts == 0 && message.version() >= 11)) {
    return MakeError(Reason::kInvalidRequest,
                     absl::StrCat("a request needs exactly one Host header; this one has ", hosts));
  }
  const std::string host = Value(message, "host");
  if (host.empty() || IsAuthority(host)) return absl::OkStatus();
  return MakeError(Reason::kInvalidRequest, "the Host header names no valid host");
}

std::string FirstContentCoding(const Message& message) {
  const auto [begin, end] = message.equal_range(bhttp::field::content_encoding);
  for (auto it = begin; it != end; ++it) {
    if (!beast::iequals(it->value(), "identity")) return std::string(it->value());
  }
  return "";
}

// The header fields that are kept as they are.
struct KeptField {
  std::string_view name;
  std::string RequestHead::*kept;
};
constexpr KeptField kKeptFields[] = {
    {"authorization", &RequestHead::authorization},
    {"x-api-key", &RequestHead::api_key},
    {"x-request-id", &RequestHead::request_id},
    {"traceparent", &RequestHead::traceparent},
    {"tracestate", &RequestHead::tracestate},
    {"x-hadal-priority", &RequestHead::priority},
    {"x-hadal-allow-degraded", &RequestHead::allow_degraded},
    {"x-hadal-cache", &RequestHead::cache},
    {"x-hadal-allow-fallback", &RequestHead::allow_fallback},
    {"x-hadal-hop", &RequestHead::hop},
    {"anthropic-version", &RequestHead::anthropic_version},
    {"anthropic-beta", &RequestHead::anthropic_beta},
    {"x-hadal-deadline-ms", &RequestHead::deadline_ms},
    {"x-hadal-queue", &RequestHead::queue},
    {"x-stainless-timeout", &RequestHead::sdk_timeout},
    {"x-stainless-read-timeout", &RequestHead::read_timeout},
    {"x-llm-d-slo-ttft-ms", &RequestHead::slo_ttft_ms},
    {"idempotency-key", &RequestHead::idempotency_key},
    {"x-stainless-retry-count", &RequestHead::retry_count},
    {"x-hadal-client", &RequestHead::client},
    {"x-hadal-ticket", &RequestHead::ticket},
    {"content-type", &RequestHead::content_type},
    {"if-none-match", &RequestHead::if_none_match},
    {"range", &RequestHead::range},
    {"if-range", &RequestHead::if_range},
    {"origin", &RequestHead::origin},
    {"access-control-request-method", &RequestHead::cors_method},
    {"access-control-request-headers", &RequestHead::cors_headers},
    {service::kLoadReportFormatHeader, &RequestHead::load_format},
};

void CopyFields(const Message& message, RequestHead* head) {
  for (const KeptField& field : kKeptFields) head->*field.kept = Value(message, field.name);
  head->content_encoding = FirstContentCoding(message);
  for (const std::string_view name : service::kSessionHeaders) {
    std::string value = Value(message, name);
    if (service::IsSessionValue(value)) head->session.emplace_back(name, std::move(value));
  }
}

// The only expectation there is (RFC 9110, 10.1.1).
bool IsContinue(std::string_view expect) {
  return beast::iequals(beast::string_view(expect.data(), expect.size()), "100-continue");
}

}  // namespace

struct RequestReader::Parser {
  bhttp::request_parser<bhttp::buffer_body> parser;
};

RequestReader::RequestReader(const Limits& limits)
    : limits_(limits), body_limit_(limits.body_bytes), parser_(std::make_unique<Parser>()) {
  parser_->parser.header_limit(static_cast<std::uint32_t>(std::min<int64_t>(limits.header_bytes, UINT32_MAX)));
  parser_->parser.body_limit(boost::none);  // counted here, so that one message tells limit and value
  parser_->parser.eager(false);
}

RequestReader::~RequestReader() = default;

void RequestReader::DiscardBody() {
  discard_ = true;
  body_.clear();
  body_.shrink_to_fit();
}

void RequestReader::Fail(absl::Status error) {
  state_ = State::kError;
  error_ = std::move(error);
}

void RequestReader::Feed(std::string_view bytes) {
  if (state_ == State::kError) return;
  pending_.append(bytes);
  if (state_ == State::kDone) return;
  if (!head_begun_ && !BeginHead()) return;
  if (state_ == State::kHead && HasFoldedLine(bytes.size())) {
    Fail(MakeError(Reason::kInvalidRequest, "a header field goes on in the next line; such folding is obsolete"));
    return;
  }
  pending_.erase(0, Parse(pending_));
  if ((state_ == State::kHead || state_ == State::kBody) && !stopped_behind_head_ &&
      pending_.size() > std::max<size_t>(kMaxPendingBytes, limits_.header_bytes)) {
    Fail(MakeError(Reason::kInvalidRequest, "a line of the request is longer than any limit allows"));
  }
}

// Old clients send an empty line behind a body, which is then in front of the next request (RFC 9112, 2.2).
bool RequestReader::BeginHead() {
  constexpr std::string_view kEmptyLine = "\r\n";
  const size_t known = std::min(pending_.size(), kEmptyLine.size());
  if (std::string_view(pending_).substr(0, known) == kEmptyLine.substr(0, known)) {
    if (known < kEmptyLine.size()) return false;
    pending_.erase(0, kEmptyLine.size());
  }
  head_begun_ = true;
  return true;
}

// The parser would take such lines and join them. It keeps a field in pending_ until the line behind it has begun.
bool RequestReader::HasFoldedLine(size_t added) const {
  constexpr std::string_view kEnd = "\r\n";
  const size_t known = pending_.size() - std::min(added, pending_.size());
  for (size_t at = pending_.find(kEnd, known - std::min(known, kEnd.size()));
       at != std::string::npos && at + kEnd.size() < pending_.size(); at = pending_.find(kEnd, at + kEnd.size())) {
    const char next = pending_[at + kEnd.size()];
    if (next == ' ' || next == '\t') return true;
    if (next == '\r') return false;  // the empty line: what follows is the body
  }
  return false;
}

std::string RequestReader::TakeRest() { return std::exchange(pending_, {}); }

size_t RequestReader::Parse(std::string_view bytes) {
  stopped_behind_head_ = false;
  auto& parser = parser_->parser;
  size_t taken = 0;
  char buffer[16 << 10];
  while (taken < bytes.size()) {
    parser.get().body().data = buffer;
    parser.get().body().size = sizeof(buffer);
    parser.get().body().more = true;
    beast::error_code error;
    const size_t used = parser.put(boost::asio::buffer(bytes.data() + taken, bytes.size() - taken), error);
    taken += used;
    const size_t received = sizeof(buffer) - parser.get().body().size;
    if (state_ == State::kBody && received > 0) {
      body_bytes_ += static_cast<int64_t>(received);
      if (!discard_) {
        if (body_bytes_ > body_limit_) {
          Fail(MakeError(Reason::kBodyTooLarge,
                         absl::StrCat("the body is larger than the limit of ", body_limit_, " bytes")));
          return taken;
        }
        body_.append(buffer, received);
      }
    }
    if (error == bhttp::error::need_buffer) error = {};
    if (error == bhttp::error::need_more) {
      if (used == 0) break;
      continue;
    }
    if (error == bhttp::error::header_limit) {
      Fail(MakeError(Reason::kHeadersTooLarge,
                     absl::StrCat("the request's head is larger than the limit of ", limits_.header_bytes, " bytes")));
      return taken;
    }
    if (error) {
      Fail(MakeError(Reason::kInvalidRequest, absl::StrCat("not a valid HTTP/1.1 request: ", error.message())));
      return taken;
    }
    if (state_ == State::kHead && parser.is_header_done()) {
      FinishHead();
      stopped_behind_head_ = true;
      return taken;
    }
    if (parser.is_done()) {
      state_ = State::kDone;
      return taken;
    }
  }
  return taken;
}

void RequestReader::FinishHead() {
  auto& parser = parser_->parser;
  const auto& message = parser.get();
  head_.method = std::string(message.method_string());
  head_.http_1_0 = message.version() < 11;
  head_.keep_alive = parser.keep_alive();
  head_.chunked = parser.chunked();
  if (const auto length = parser.content_length(); length.has_value()) {
    head_.content_length = static_cast<int64_t>(std::min<std::uint64_t>(*length, INT64_MAX));
  }
  CopyFields(message, &head_);
  const std::string expect = Value(message, "expect");
  head_.expect_continue = IsContinue(expect) && !head_.http_1_0;

  if (absl::Status framing = CheckFraming(message); !framing.ok()) return Fail(std::move(framing));
  const std::string target(message.target());
  if (static_cast<int64_t>(target.size()) > limits_.target_bytes) {
    target_too_long_ = true;
    return Fail(MakeError(Reason::kHeadersTooLarge, absl::StrCat("the request target has ", target.size(),
                                                                 " bytes; the limit is ", limits_.target_bytes)));
  }
  absl::StatusOr<std::string> path = PathOfTarget(head_.method, target);
  if (!path.ok()) return Fail(path.status());
  head_.target = *std::move(path);
  if (limits_.upload_bytes > 0 && IsUpload(head_.method, head_.target)) body_limit_ = limits_.upload_bytes;
  if (absl::Status host = CheckHost(message); !host.ok()) return Fail(std::move(host));
  if (!expect.empty() && !IsContinue(expect)) {
    return Fail(MakeError(Reason::kInvalidRequest, "the header Expect may only be 100-continue"));
  }
  if (head_.content_length.has_value() && *head_.content_length > body_limit_) {
    return Fail(MakeError(Reason::kBodyTooLarge,
                          absl::StrCat("the body has ", *head_.content_length, " bytes; the limit is ", body_limit_)));
  }
  state_ = parser.is_done() ? State::kDone : State::kBody;
  if (head_.content_length.has_value()) body_.reserve(FirstReserve(*head_.content_length));
}

}  // namespace hadal::http
