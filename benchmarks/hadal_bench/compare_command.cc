// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <nlohmann/json.hpp>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/read_file.h"
#include "benchmarks/hadal_bench/commands.h"
#include "benchmarks/hadal_bench/report/compare.h"
#include "benchmarks/hadal_bench/report/html_page.h"

namespace hadal::bench {
namespace {

constexpr int64_t kMaxFileBytes = int64_t{1} << 30;
constexpr char kUsage[] =
    "hadal-bench compare A.json B.json [--html FILE]\n"
    "\n"
    "Prints what changed from A to B with 95 % confidence intervals, and writes a page with both side by side. Both "
    "are files of\n"
    "hadal-bench --json. With --runs=5 in each the intervals hold the noise between runs; interleave the runs on a "
    "shared machine.\n";

absl::StatusOr<nlohmann::ordered_json> ReadResult(const std::string& path) {
  const auto text = base::ReadFile(path, kMaxFileBytes);
  if (!text.ok()) return text.status();
  auto file = nlohmann::ordered_json::parse(*text, nullptr, false);
  if (file.is_discarded()) return absl::InvalidArgumentError(absl::StrCat(path, ": is not JSON"));
  return file;
}

absl::Status Compare(const std::string& path_a, const std::string& path_b, const std::string& html) {
  const auto a = ReadResult(path_a);
  if (!a.ok()) return a.status();
  const auto b = ReadResult(path_b);
  if (!b.ok()) return b.status();
  try {
    const auto comparison = CompareResults(*a, *b);
    if (!comparison.ok()) return comparison.status();
    std::printf("A: %s\nB: %s\n%s", path_a.c_str(), path_b.c_str(), ComparisonText(*comparison).c_str());
    if (html.empty()) return absl::OkStatus();
    return WriteText(html, HtmlPage({{"A", &*a}, {"B", &*b}}, &*comparison));
  } catch (const nlohmann::json::exception& error) {
    return absl::InvalidArgumentError(
        absl::StrCat("a result file lacks a field or has one of another type: ", error.what()));
  }
}

}  // namespace

int CompareCommand(const std::vector<std::string>& args) {
  std::vector<std::string> files;
  std::string html;
  for (size_t i = 0; i < args.size(); ++i) {
    if (args[i] == "--help" || args[i] == "-h") return std::fputs(kUsage, stdout), 0;
    if (absl::StartsWith(args[i], "--html=")) {
      html = args[i].substr(sizeof("--html=") - 1);
    } else if (args[i] == "--html" && i + 1 < args.size()) {
      html = args[++i];
    } else if (absl::StartsWith(args[i], "-")) {
      return FailWith(
          absl::InvalidArgumentError(absl::StrCat("compare: unknown flag '", args[i], "'; it takes --html FILE")), 2);
    } else {
      files.push_back(args[i]);
    }
  }
  if (files.size() != 2) {
    return FailWith(absl::InvalidArgumentError(absl::StrCat("compare: wants two result files, found ", files.size())),
                    2);
  }
  const absl::Status status = Compare(files[0], files[1], html);
  return status.ok() ? 0 : FailWith(status, 1);
}

}  // namespace hadal::bench
