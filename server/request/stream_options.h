// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "absl/time/time.h"
#include "server/base/flag_set.h"

namespace hadal::request {

// How engine and fronts treat a stream that its client does not read.
struct StreamOptions {
  // A stream that stays full, or a write that makes no progress, for this long ends the call (SLOW_READER).
  absl::Duration slow_reader_timeout = absl::Seconds(60);

  void AddFlags(base::FlagSet* flags) {
    flags->AddDuration("slow-reader-timeout", &slow_reader_timeout,
                       "how long a stream may stay full before it is dropped");
  }
};

}  // namespace hadal::request
