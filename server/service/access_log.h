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

// Writes one JSON line per finished request of either front, including refused ones; docs/configuration.md lists the
// fields. Fields that are unknown or do not apply are omitted. Never contains prompts, outputs or keys. Thread-safe.
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
