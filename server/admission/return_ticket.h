// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/time/time.h"

namespace hadal::admission {

// What became of a ticket that a client brought. The names are label values of hadal_retry_tickets_total.
enum class TicketState : uint8_t {
  kAccepted,
  kUsed,     // what it was for has been taken, or given to a later attempt
  kExpired,  // its client came too late
  kForged,   // not of this process: made up, of another replica, or from before a restart
};

// Signs what was promised to a refused client, so that it is known when it returns from whatever address, and nobody
// can take another's place by guessing. A ticket is 43 characters of base64url: number of the promise, end of its life,
// and the first half of their HMAC-SHA256. The key is the process's own, because a place is kept by the replica that
// promised it. Immutable and thread-safe; a few microseconds each.
class ReturnTickets {
 public:
  ReturnTickets();

  std::string Issue(uint64_t promise, absl::Time expires) const;
  struct Opened {
    TicketState state = TicketState::kForged;
    uint64_t promise = 0;  // kAccepted: good, unless it has been taken meanwhile
  };
  Opened Open(std::string_view ticket, absl::Time now) const;

 private:
  static constexpr size_t kBodyBytes = 16;
  static constexpr size_t kMacBytes = 16;
  static constexpr size_t kLength = 43;  // characters
  using Mac = std::array<uint8_t, kMacBytes>;

  Mac Sign(const char* body) const;

  std::array<uint8_t, 32> key_;
};

}  // namespace hadal::admission
