// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstdio>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "benchmarks/hadal_bench/commands.h"

namespace hadal::bench {

int FailWith(const absl::Status& status, int code) {
  std::fprintf(stderr, "hadal-bench: %s\n", std::string(status.message()).c_str());
  return code;
}

absl::Status WriteText(const std::string& path, const std::string& text) {
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out << text;
  out.close();
  return out ? absl::OkStatus() : absl::InvalidArgumentError(absl::StrCat("cannot write ", path));
}

}  // namespace hadal::bench

int main(int argc, char** argv) {
  std::vector<std::string> args(argv + 1, argv + argc);
  // The command comes first; as a flag it may stand anywhere.
  const auto compare =
      !args.empty() && args[0] == "compare" ? args.begin() : std::find(args.begin(), args.end(), "--compare");
  if (compare != args.end()) {
    args.erase(compare);
    return hadal::bench::CompareCommand(args);
  }
  return hadal::bench::RunCommand(args);
}
