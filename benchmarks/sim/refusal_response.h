// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "absl/status/status.h"
#include "benchmarks/hadal_bench/client/attempt.h"

namespace hadal::sim {

enum class Protocol { kHttp, kGrpc };

// What a caller would see of a refusal, as hadal-bench's transports read it: status, reason, and the headers or the
// trailer that say when to return. For the client models of hadal-bench, which decide by nothing else.
bench::CallResult RefusalResponse(const absl::Status& refusal, Protocol protocol);

}  // namespace hadal::sim
