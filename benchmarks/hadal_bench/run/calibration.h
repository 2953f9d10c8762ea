// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/asio/io_context.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "benchmarks/hadal_bench/client/attempt.h"
#include "benchmarks/hadal_bench/workload/prompts.h"

namespace hadal::bench {

enum class ExactLength { kAuto, kOn, kOff };

// What a few calls before the run tell about the server.
struct Calibration {
  TokenScale scale;
  CallForm form;  // what the server takes
  int calls = 0;  // that were sent
};

// The form to try next with a server that complained of a call in `form`: what the message names, else without what
// fewest servers know. Nothing when nothing is left to change.
std::optional<CallForm> SimplerForm(CallForm form, ExactLength exact_length, std::string_view message);

// Sends two small calls or a few more, one after the other: checks that the server answers, which members it takes, and
// how many tokens words cost. A busy server is asked again as it says, five times. The error is what
// the server or the system said.
absl::StatusOr<Calibration> Calibrate(boost::asio::io_context* io, Transport* transport, const Prompts& prompts,
                                      ExactLength exact_length, const std::string& api_key, double timeout_s);

}  // namespace hadal::bench
