// SPDX-License-Identifier: Apache-2.0
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
  const std::vector<std::string> args(argv + 1, argv + argc);
  if (!args.empty() && (args[0] == "compare" || args[0] == "--compare")) {
    return hadal::bench::CompareCommand({args.begin() + 1, args.end()});
  }
  return hadal::bench::RunCommand(args);
}
