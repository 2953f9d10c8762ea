// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "server/base/flag_set.h"

namespace hadal::service {

struct TraceOptions {
  std::string endpoint;     // host:port of an OTLP/gRPC collector; empty: no traces
  double sample_ratio = 1;  // of the requests whose caller does not decide

  void AddFlags(base::FlagSet* flags) {
    flags->Add({.name = "otlp-traces-endpoint",
                .help = "HOST:PORT of a collector that takes traces over OTLP/gRPC",
                .default_text = "none",
                .set = [this](const std::string& text) -> absl::Status {
                  endpoint = text.starts_with("http://") ? text.substr(7) : text;
                  if (endpoint.ends_with('/')) endpoint.pop_back();
                  if (text.empty() || (endpoint.find("://") == endpoint.npos && endpoint.rfind(':') != endpoint.npos)) {
                    return absl::OkStatus();
                  }
                  return absl::InvalidArgumentError(
                      absl::StrCat("expected HOST:PORT, or http:// before it, found '", text, "'"));
                }});
    flags->Add({.name = "trace-sample-ratio",
                .help = "share of the requests that are traced, where their caller does not decide (traceparent)",
                .default_text = "1",
                .set = [this](const std::string& text) -> absl::Status {
                  if (absl::SimpleAtod(text, &sample_ratio) && sample_ratio >= 0 && sample_ratio <= 1) {
                    return absl::OkStatus();
                  }
                  return absl::InvalidArgumentError(absl::StrCat("expected a number from 0 to 1, found '", text, "'"));
                }});
  }
};

}  // namespace hadal::service
