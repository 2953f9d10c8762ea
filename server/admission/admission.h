// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/request/request.h"

namespace hadal::admission {

// What a front end knows when headers and body size are known and nothing has been parsed yet.
struct Arrival {
  request::Priority priority = request::Priority::kNormal;
  std::string tenant;
  int64_t body_bytes = 0;  // Content-Length, or gRPC message length; prompt tokens are estimated from it
};

class AdmissionController;

// A counted place, and later a memory lease. Move-only RAII: whatever happens to the request, its destructor gives the place,
// the queued tokens and the leased bytes back. Used by one thread at a time.
class Ticket {
 public:
  Ticket() = default;  // empty: holds nothing
  Ticket(Ticket&& other) noexcept;
  Ticket& operator=(Ticket&& other) noexcept;
  ~Ticket();

  bool holds_place() const { return controller_ != nullptr; }

  // Replaces the estimate by the true size and leases memory for it. Called once, after tokenising.
  //   CONTEXT_LENGTH_EXCEEDED  prompt + max_tokens is over the model's context
  //   REQUEST_NEVER_FITS       more than the whole KV pool of the model
  //   GPU_MEMORY_EXHAUSTED     the predicted lease does not fit now; carries a retry hint
  absl::Status Settle(const request::Request& request, int model_index);

 private:
  friend class AdmissionController;
  AdmissionController* controller_ = nullptr;
  uint64_t slot_ = 0;
};

}  // namespace hadal::admission
