// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "server/base/flag_set.h"
#include "server/http/body_pace.h"
#include "server/http/cors.h"
#include "server/service/front_options.h"

namespace hadal::http {

// Whether GET / serves the page that tries the model.
enum class PageMode {
  kAuto,  // unless anybody could reach it: on a loopback address, or with keys
  kOn,
  kOff,
};

struct HttpOptions {
  // Connections above max_connections that are still looked at: health and metrics are answered, the others are told
  // why not.
  static constexpr int64_t kReservedConnections = 256;
  static constexpr std::string_view kDefaultCorsOrigins = "localhost";

  service::FrontOptions front;
  int port = 8000;                      // 0 picks one, see HttpServer::port()
  int io_threads = 1;                   // besides the reserved one
  int overload_http_status = 503;       // 503, 429 or 529 for refusals for capacity
  int64_t max_header_bytes = 32 << 10;  // request line and header fields: 431
  int64_t max_target_bytes = 8 << 10;   // 414
  int max_json_depth = 64;              // nesting of a body
  int max_connections = 4096;
  bool tcp_fast_open = false;  // of clients that connect again: their first bytes may come with the SYN
  CorsPolicy cors = CorsPolicy::Parse(kDefaultCorsOrigins).value();
  PageMode page = PageMode::kAuto;
  absl::Duration request_timeout = absl::Seconds(60);      // for headers, and again for the body, to arrive: 408
  absl::Duration body_stall_timeout = absl::Seconds(5);    // of a body that brings no byte, or less than the rate: 408
  int64_t min_body_rate = 1 << 10;                         // bytes a second, after the stall time-out; 0: any
  absl::Duration idle_timeout = absl::Seconds(75);         // of a kept connection between requests
  absl::Duration keep_alive_interval = absl::Seconds(10);  // SSE comments while nothing else is sent
  absl::Duration linger_timeout = absl::Seconds(2);        // reading on after a refusal, so that the client sees it
  std::string version = "0.1.0";                           // for GET /version
  std::string server_header = "hadal";

  bool ServesPage(bool has_keys) const {
    return page == PageMode::kOn || (page == PageMode::kAuto && (has_keys || front.OnLoopback()));
  }
  BodyPace::Limits BodyLimits() const { return {body_stall_timeout, min_body_rate, request_timeout}; }

  // `front` registers its own.
  void AddFlags(base::FlagSet* flags) {
    flags->AddInt("port", &port, {0, 65535}, "one port for gRPC and HTTP; 0 picks a free one and prints it");
    flags->Add({.name = "overload-http-status",
                .help = "HTTP status of capacity refusals: 503, 429 or 529",
                .default_text = std::to_string(overload_http_status),
                .set = [this](const std::string& text) -> absl::Status {
                  if (text != "503" && text != "429" && text != "529") {
                    return absl::InvalidArgumentError(absl::StrCat("expected 503, 429 or 529, found '", text, "'"));
                  }
                  overload_http_status = std::stoi(text);
                  return absl::OkStatus();
                },
                .value_name = "503|429|529"});
    flags->Add({.name = "cors-origin",
                .help = "web pages that may ask: an origin, localhost, * or none; repeatable",
                .default_text = std::string(kDefaultCorsOrigins),
                // The first one replaces the default.
                .set = [this, given = std::string()](const std::string& text) mutable -> absl::Status {
                  given = given.empty() ? text : absl::StrCat(given, ",", text);
                  absl::StatusOr<CorsPolicy> policy = CorsPolicy::Parse(given);
                  if (!policy.ok()) return policy.status();
                  cors = *std::move(policy);
                  return absl::OkStatus();
                },
                .repeatable = true});
    flags->AddEnum("page", &page, {{"auto", PageMode::kAuto}, {"on", PageMode::kOn}, {"off", PageMode::kOff}},
                   "the page at / that tries the model; auto: not on a public address without keys");
    flags->AddDuration("request-timeout", &request_timeout, "how long headers and body may take to arrive");
    flags->AddDuration("body-stall-timeout", &body_stall_timeout, "how long a body may arrive without a byte");
    flags->AddBytes("min-body-rate", &min_body_rate, "least bytes a second of a body, after the stall time-out");
    flags->AddBool("tcp-fast-open", &tcp_fast_open,
                   "take the first bytes of a known client with its SYN, on --port and --grpc-port");
    flags->AddInt("max-connections", &max_connections, {1, 1 << 20}, "maximum open client connections");
  }
};

}  // namespace hadal::http
