// SPDX-License-Identifier: Apache-2.0
#include "server/pipeline/pipeline_options.h"

#include <set>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "server/pipeline/connection.h"

namespace hadal::pipeline {
namespace {

constexpr size_t kMaxWorkers = 63;

}  // namespace

absl::Status PipelineOptions::SetWorkers(const std::string& text) {
  workers.clear();
  for (const absl::string_view address : absl::StrSplit(text, ',')) {
    if (absl::StatusOr<HostPort> parsed = ParseAddress(std::string(address)); !parsed.ok()) return parsed.status();
    workers.emplace_back(address);
  }
  if (workers.size() > kMaxWorkers) {
    return absl::InvalidArgumentError(absl::StrCat(workers.size(), " workers, limit ", kMaxWorkers));
  }
  if (std::set<std::string>(workers.begin(), workers.end()).size() == workers.size()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("'", text, "' names a worker twice"));
}

absl::Status PipelineOptions::SetLayers(const std::string& text) {
  layers.clear();
  for (const absl::string_view count : absl::StrSplit(text, ',')) {
    int64_t value = 0;
    if (!absl::SimpleAtoi(count, &value) || value < 1) {
      return absl::InvalidArgumentError(absl::StrCat("'", text, "': expected numbers of layers, N,N[,N...]"));
    }
    layers.push_back(value);
  }
  return absl::OkStatus();
}

absl::Status PipelineOptions::Validate() const {
  if (!enabled()) {
    const char* given = !layers.empty()     ? "--pipeline-layers"
                        : !key_file.empty() ? "--pipeline-key-file"
                        : steps != 0        ? "--pipeline-steps"
                                            : nullptr;
    if (given == nullptr) return absl::OkStatus();
    return absl::InvalidArgumentError(absl::StrCat(given, " is given without --pipeline-workers"));
  }
  if (layers.empty() || layers.size() == workers.size() + 1) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("--pipeline-layers has ", layers.size(), " numbers, expected ",
                                                 workers.size() + 1, ": this server's and one for each worker"));
}

}  // namespace hadal::pipeline
