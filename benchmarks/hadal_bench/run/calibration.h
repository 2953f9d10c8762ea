// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/asio/io_context.hpp>
#include <string>

#include "absl/status/statusor.h"
#include "benchmarks/hadal_bench/client/attempt.h"
#include "benchmarks/hadal_bench/workload/prompts.h"

namespace hadal::bench {

enum class ExactLength { kAuto, kOn, kOff };

// What a few calls before the run tell about the server.
struct Calibration {
  TokenScale scale;
  bool exact_length = false;  // whether calls ask for ignore_eos and min_tokens
  int calls = 0;              // that were sent
};

// Sends two or three small calls, one after the other: checks that the server answers, whether it takes
// ignore_eos, and how many tokens words cost. A busy server is asked again as it says, five times. The error is what
// the server or the system said.
absl::StatusOr<Calibration> Calibrate(boost::asio::io_context* io, Transport* transport, const Prompts& prompts,
                                      ExactLength exact_length, const std::string& api_key, double timeout_s);

}  // namespace hadal::bench
