// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"

namespace hadal::batches {

// A line that is to be answered.
struct LineRequest {
  std::string owner;
  std::string endpoint;
  std::string custom_id;
  std::string body;         // JSON object
  int attempts = 0;         // earlier ones that were refused
  std::string ticket;       // of the last refusal; empty: none
  uint64_t return_key = 0;  // by which the server knows the line when it returns; not 0
};

// How an attempt at a line ended.
struct LineOutcome {
  absl::Status status;  // of the request: OK, or why not, with the retry hint of a refusal
  std::string result;   // the line for the output or error file, with its line end
};

// An attempt under way. Destroying it cancels it. One thread at a time.
class RunningLine {
 public:
  virtual ~RunningLine() = default;
  // Takes in what is new; the outcome, once, when the attempt has ended.
  virtual std::optional<LineOutcome> Advance() = 0;
};

// Answers lines as the HTTP routes would answer their bodies, in the class batch. Thread-safe.
class LineExecutor {
 public:
  virtual ~LineExecutor() = default;
  // Begins an attempt. `notify` runs on any thread when Advance may have news; it may only post. It does not run after
  // the attempt's destructor.
  virtual std::unique_ptr<RunningLine> Start(LineRequest line, std::function<void()> notify) = 0;
  // Whether requests of more urgent classes are arriving, so that fewer lines should be in flight.
  virtual bool OthersCome() const { return false; }
};

}  // namespace hadal::batches
