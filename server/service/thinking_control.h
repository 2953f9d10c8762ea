// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace hadal::service {

// Ends the reasoning of a running call from outside. The call sets whether it is reasoning; the constraint on its
// tokens (grammar::ThinkingLimit) reads the switch. Thread-safe.
struct ThinkingSwitch {
  std::atomic<bool> thinking{false};  // some choice is in its reasoning, as far as the front has read
  std::atomic<bool> end_now{false};
};

// The running calls whose reasoning may be ended early, by response id. Contains only calls that opted in, so others
// cost nothing. Thread-safe; every operation takes one short lock and constant time, except for calls that share an id.
class ThinkingControls {
 public:
  // Takes the call out again when it ends. Move-only; may outlive the ThinkingControls.
  class Registration {
   public:
    Registration() = default;
    Registration(Registration&&) = default;
    Registration& operator=(Registration&&) = default;

   private:
    friend class ThinkingControls;
    struct Place;
    std::shared_ptr<Place> place_;
  };

  ThinkingControls();
  ~ThinkingControls();

  // `id` should be unique; where calls share one, End is meant for all of them that are the tenant's.
  Registration Add(std::string id, std::string tenant, std::shared_ptr<ThinkingSwitch> control);
  // Ends the reasoning of the tenant's call: its next tokens are those that close it. REQUEST_NOT_FOUND when the tenant
  // has no such call here, NOT_THINKING when it is not in its reasoning.
  absl::Status End(std::string_view id, std::string_view tenant);

 private:
  struct Table;
  const std::shared_ptr<Table> table_;
};

}  // namespace hadal::service
