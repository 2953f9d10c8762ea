// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/base/flag_set.h"

namespace hadal::upstream {

// A server that may answer in place of this one: another hadal, or any that speaks the same APIs.
struct TargetOptions {
  std::string name;        // in answers, metrics and logs; of its own, or the URL's host and port
  std::string base_url;    // scheme, host, port, and the path that stands in place of /v1; no slash at its end
  int weight = 0;          // its share among neighbours that have one, too; 0: it is asked in its turn
  std::string key_file;    // its first line is the key that the target wants; empty: none
  std::string ca_file;     // PEM file of the authorities that may sign its certificate; empty: the system's
  std::string model;       // asked for in place of the caller's; empty: the caller's
  int max_in_flight = 64;  // requests at a time

  // URL[,weight=N][,key-file=PATH][,ca-file=PATH][,model=NAME][,max-in-flight=N][,name=NAME]. InvalidArgument names the
  // part and what is wrong with it. Keys in the URL are refused, since flags are shown to everybody.
  static absl::StatusOr<TargetOptions> Parse(std::string_view text);
};

struct UpstreamOptions {
  std::vector<TargetOptions> targets;                 // in the order in which they are asked; none: requests stay here
  bool opt_in = false;                                // only requests that ask for it with x-hadal-allow-fallback: 1
  int max_hops = 1;                                   // servers that a request may pass through, this one included
  absl::Duration connect_timeout = absl::Seconds(2);  // handshake of TLS included
  absl::Duration first_byte_timeout = absl::Seconds(10);  // from the attempt's begin to a byte of the answer's body
  absl::Duration stall_timeout = absl::Seconds(30);       // without a byte behind the first one
  absl::Duration timeout = absl::Minutes(10);             // of a whole answer

  bool enabled() const { return !targets.empty(); }
  // Connections that may be open at a time.
  int64_t max_connections() const;

  // InvalidArgument names the flags that do not go together.
  absl::Status Validate() const;

  void AddFlags(base::FlagSet* flags);
};

}  // namespace hadal::upstream
