// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "server/base/flag_set.h"

namespace hadal::base {

// Texts by flag name, in the order in which they were given.
using FlagTexts = std::map<std::string, std::vector<std::string>>;

// What each source says. Names are checked, values are not.
struct GivenValues {
  FlagTexts arguments, environment, file;
  std::string prefix;     // of variables
  std::string file_name;  // of --config; empty: none
  bool print_config = false;
  std::string help;  // not empty: --help was asked for, and nothing else was read
};

// Reads the arguments, then the variables that begin with `prefix` and are not in `other_variables`, then the file that
// one of them names. InvalidArgument for a name that no flag has, and for text that cannot be read.
absl::StatusOr<GivenValues> ReadSources(std::string_view program, const std::vector<Flag>& flags,
                                        const std::vector<std::string>& args, const std::string& prefix,
                                        const std::vector<std::string>& other_variables);

// HADAL_MAX_BODY of HADAL_ and max-body.
std::string VariableName(std::string_view prefix, std::string_view flag);

}  // namespace hadal::base
