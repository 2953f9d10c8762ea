// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "benchmarks/hadal_bench/client/server_metrics.h"
#include "benchmarks/hadal_bench/report/report.h"
#include "benchmarks/hadal_bench/workload/prompts.h"

namespace hadal::bench {

// What belongs to a run besides the numbers.
struct RunFacts {
  double offered_rate = 0;  // requests/s that the plan holds in its measured part
  TokenScale tokens;
  bool exact_length = false;
  int64_t cut_lengths = 0;
  uint64_t prompt_salt = 0;
  std::optional<ServerMetrics> server;  // what the server counted meanwhile, of warm-up and drain, too
};

// What belongs to the whole file.
struct FileFacts {
  std::string mode;                             // "run", "sweep" or "find-capacity"
  std::map<std::string, std::string> settings;  // flags in effect, without keys
  std::string workload;                         // in words: lengths and where they are from
  std::string server_version, model;
  int calibration_calls = 0;  // sent before the first run, and in none of its figures
  std::string date;           // UTC, as 2026-01-31T12:00:00Z
};

// One element of "runs": all numbers of one run. benchmarks/hadal_bench/README.md documents the fields.
nlohmann::ordered_json RunToJson(const Report& report, const RunLog& log, const RunFacts& facts);
// The whole file. "metrics" are the medians of the runs', with _min and _max when there are several at one rate.
nlohmann::ordered_json FileToJson(const FileFacts& facts, std::vector<nlohmann::ordered_json> runs);
// The text of the file: a line for each field of the file and of a run.
std::string FileText(const nlohmann::ordered_json& file);

}  // namespace hadal::bench
