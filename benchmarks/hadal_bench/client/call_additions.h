// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace hadal::bench {

// A header of a call; over gRPC its metadata.
struct HeaderField {
  std::string name;  // in lower case
  std::string value;
};

// What a user adds to every call, for servers and gateways that want more than hadal-bench sends by itself.
struct CallAdditions {
  std::vector<HeaderField> headers;
  std::string body_members;  // of the JSON object, without its braces; empty: none. Not for gRPC
};

// Parses "NAME=VALUE". InvalidArgument for what no header may hold, and for those that frame a call (content-length).
absl::StatusOr<HeaderField> ParseHeaderField(std::string_view text);

// Parses a JSON object such as {"temperature":0} to its members. InvalidArgument for anything else, and for members
// that hadal-bench sets itself: a second one of that name would be read differently by different servers.
absl::StatusOr<std::string> ParseBodyMembers(std::string_view text);

}  // namespace hadal::bench
