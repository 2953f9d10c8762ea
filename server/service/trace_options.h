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
  bool tls = false;         // whether the collector speaks TLS
  std::string ca_file;      // PEM file of the authorities that may sign its certificate; empty: whom the system trusts
  double sample_ratio = 1;  // of the requests whose caller does not decide

  // InvalidArgument names the flags that do not go together.
  absl::Status Validate() const {
    if (tls || ca_file.empty()) return absl::OkStatus();
    return absl::InvalidArgumentError("--otlp-traces-ca needs an --otlp-traces-endpoint with https://");
  }

  void AddFlags(base::FlagSet* flags) {
    flags->Add({.name = "otlp-traces-endpoint",
                .help = "HOST:PORT of a collector that takes traces over OTLP/gRPC; https://HOST:PORT: under TLS",
                .default_text = "none",
                .set = [this](const std::string& text) -> absl::Status {
                  tls = text.starts_with("https://");
                  endpoint = text.substr(tls ? 8 : text.starts_with("http://") ? 7 : 0);
                  if (endpoint.ends_with('/')) endpoint.pop_back();
                  if (text.empty() || (endpoint.find("://") == endpoint.npos && endpoint.rfind(':') != endpoint.npos)) {
                    return absl::OkStatus();
                  }
                  return absl::InvalidArgumentError(
                      absl::StrCat("expected HOST:PORT, or http:// or https:// before it, found '", text, "'"));
                },
                .value_name = "HOST:PORT"});
    flags->AddText("otlp-traces-ca", &ca_file,
                   "PEM file of the authorities that may sign the certificate of an https:// collector",
                   "the system's");
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
