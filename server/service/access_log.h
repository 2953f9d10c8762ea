// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "server/base/line_writer.h"
#include "server/service/call_record.h"

namespace hadal::service {

// One JSON line for each finished request of either front, refused ones included; docs/configuration.md lists the
// fields. A field that is not known, or does not apply, is left out. Never prompts, outputs or keys. Thread-safe.
class AccessLog {
 public:
  explicit AccessLog(std::unique_ptr<base::LineWriter> writer) : writer_(std::move(writer)) {}

  // `now`: wall-clock time.
  void Write(const CallInfo& info, const CallOutcome& outcome, absl::Time now);
  // As base::LineWriter's.
  absl::Status Reopen() { return writer_->Reopen(); }
  void Close() { writer_->Close(); }
  uint64_t dropped() const { return writer_->dropped(); }

 private:
  const std::unique_ptr<base::LineWriter> writer_;
};

}  // namespace hadal::service
