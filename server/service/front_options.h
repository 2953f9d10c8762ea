// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include "server/base/flag_set.h"
#include "server/request/stream_options.h"

namespace hadal::service {

// What both fronts share.
struct FrontOptions {
  std::string host = "127.0.0.1";     // address to listen on
  int64_t max_body_bytes = 16 << 20;  // of a request; HTTP answers 413, gRPC RESOURCE_EXHAUSTED
  request::StreamOptions stream;

  void AddFlags(base::FlagSet* flags) {
    flags->AddText("host", &host, "address to listen on");
    flags->AddBytes("max-body", &max_body_bytes, "maximum size of a request body");
  }
};

}  // namespace hadal::service
