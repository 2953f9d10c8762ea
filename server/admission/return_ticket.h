// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/time/time.h"

namespace hadal::admission {

// The state of a ticket that a client presents. The names are label values of hadal_retry_tickets_total.
enum class TicketState : uint8_t {
  kAccepted,
  kUsed,     // its promise has been taken, or replaced by that of a later attempt
  kExpired,  // the client returned too late
  kForged,   // not issued by this process for this key: made up, somebody else's, from another replica, or from before
             // a restart
};

// Signs promises to refused clients, so that a client is recognised when it returns from any address, and nobody can
// take another client's place by guessing. A ticket is 43 characters of base64url: the number of the promise, its
// expiry, and the first half of their HMAC-SHA256. The key is private to the process, because only the replica that
// made a promise can keep it. Immutable and thread-safe; each call takes a few microseconds.
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
