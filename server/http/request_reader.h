// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"

namespace hadal::http {

// The head of a request. Only header fields that hadal uses are kept.
struct RequestHead {
  std::string method;
  std::string target;  // path and query, whatever form the request's target has; "*" for OPTIONS *
  bool http_1_0 = false;
  bool keep_alive = true;
  bool expect_continue = false;
  bool chunked = false;
  std::optional<int64_t> content_length;  // none: no body, or chunked
  std::string authorization;
  std::string api_key;            // x-api-key
  std::string request_id;         // x-request-id
  std::string traceparent;        // traceparent
  std::string tracestate;         // tracestate
  std::string priority;           // x-hadal-priority
  std::string allow_degraded;     // x-hadal-allow-degraded
  std::string allow_fallback;     // x-hadal-allow-fallback
  std::string hop;                // x-hadal-hop
  std::string cache;              // x-hadal-cache
  std::string deadline_ms;        // x-hadal-deadline-ms
  std::string queue;              // x-hadal-queue
  std::string sdk_timeout;        // x-stainless-timeout
  std::string read_timeout;       // x-stainless-read-timeout
  std::string slo_ttft_ms;        // x-llm-d-slo-ttft-ms
  std::string idempotency_key;    // idempotency-key
  std::string retry_count;        // x-stainless-retry-count
  std::string client;             // x-hadal-client
  std::string ticket;             // x-hadal-ticket
  std::string anthropic_version;  // anthropic-version
  std::string anthropic_beta;     // anthropic-beta
  std::string content_encoding;   // the first one that is not identity
  std::string content_type;       // content-type
  std::string if_none_match;      // if-none-match
  std::string range;              // range
  std::string if_range;           // if-range
  std::string origin;             // origin: the web page's, of a browser
  std::string cors_method;        // access-control-request-method
  std::string cors_headers;       // access-control-request-headers
  std::string load_format;        // endpoint-load-metrics-format
  // Those of service::kSessionHeaders that are there.
  std::vector<std::pair<std::string, std::string>> session;
};

// Parses one HTTP/1.1 request: bytes in, head and body out; independent of sockets. Limits apply while bytes arrive:
// never more than the head's limit, the body's limit and 64 KiB are kept. Stricter than RFC 9112 wherever two parsers
// could disagree about the end of a request: folded lines, a Transfer-Encoding other than chunked, one together with a
// Content-Length, a repeated Content-Length, and anything but exactly one Host are errors. After an error the beginning
// of the next request is unknown, so the connection must be closed. Not thread-safe.
class RequestReader {
 public:
  struct Limits {
    int64_t header_bytes = 32 << 10;
    int64_t target_bytes = 8 << 10;
    int64_t body_bytes = 16 << 20;
    // Of the body of an upload (IsUpload), which its reader takes piece by piece; 0: as others.
    int64_t upload_bytes = 0;
  };
  enum class State { kHead, kBody, kDone, kError };

  explicit RequestReader(const Limits& limits);
  ~RequestReader();

  // Takes bytes as they arrive. Stops behind the head (State::kBody), so that the caller can decide before the body is
  // read: Feed, with or without more bytes, goes on then. Errors: INVALID_REQUEST (400), HEADERS_TOO_LARGE (431, 414
  // for the target), BODY_TOO_LARGE (413).
  void Feed(std::string_view bytes);
  // Bytes behind the end of the request: the next one's beginning. After State::kDone.
  std::string TakeRest();

  State state() const { return state_; }
  const absl::Status& error() const { return error_; }
  const RequestHead& head() const { return head_; }  // from State::kBody on
  bool target_too_long() const { return target_too_long_; }

  // Body bytes are counted, but not kept from now on.
  void DiscardBody();
  int64_t body_bytes() const { return body_bytes_; }
  // Memory that the body takes. Grows by doubling, and ends at the announced length.
  int64_t held_bytes() const { return static_cast<int64_t>(body_.capacity()); }
  // Of the body and not taken yet.
  int64_t kept_bytes() const { return static_cast<int64_t>(body_.size()); }
  // The body; or, while it arrives, what is there of it.
  std::string TakeBody() { return std::exchange(body_, {}); }

 private:
  struct Parser;

  // Parses what it can and returns how many bytes that were.
  size_t Parse(std::string_view bytes);
  // Skips one empty line in front of the request; false while it may still be one.
  bool BeginHead();
  // True when pending_, of which `added` bytes are new, has a field that goes on in the next line.
  bool HasFoldedLine(size_t added) const;
  void FinishHead();
  void Fail(absl::Status error);

  const Limits limits_;
  int64_t body_limit_;  // this request's
  std::unique_ptr<Parser> parser_;
  std::string pending_;  // bytes not parsed yet: an unfinished line, or what stands behind the request
  State state_ = State::kHead;
  absl::Status error_;
  RequestHead head_;
  std::string body_;
  int64_t body_bytes_ = 0;
  bool head_begun_ = false;
  bool discard_ = false;
  bool target_too_long_ = false;
  bool stopped_behind_head_ = false;  // pending_ was not looked at yet
};

}  // namespace hadal::http
