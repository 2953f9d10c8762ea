// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "benchmarks/hadal_bench/client/call_additions.h"
#include "benchmarks/hadal_bench/client/openai_codec.h"
#include "benchmarks/hadal_bench/client/target.h"
#include "benchmarks/hadal_bench/report/slo.h"
#include "benchmarks/hadal_bench/run/calibration.h"
#include "benchmarks/hadal_bench/workload/arrivals.h"
#include "benchmarks/hadal_bench/workload/lengths.h"
#include "benchmarks/hadal_bench/workload/plan.h"
#include "benchmarks/hadal_bench/workload/traffic_mix.h"
#include "server/base/flag_set.h"

namespace hadal::bench {

enum class ProgressMode { kAuto, kAlways, kNever };
enum class TicketMode { kAuto, kOn, kOff };

// Everything that the flags of hadal-bench say. Texts that need other flags (a rate profile needs the duration) are
// kept as they are and read by Resolve.
struct BenchOptions {
  // The server.
  std::string url = "http://127.0.0.1:8000";
  OpenAiApi api = OpenAiApi::kChat;
  std::string model;  // empty: the first that the server lists
  std::string api_key;
  bool insecure = false;
  std::string ca_file;  // empty: the system's
  CallAdditions additions;
  int max_connections = 4096;
  int grpc_channels = 8;

  // The load.
  std::string rate = "1";
  ArrivalOptions arrivals;
  std::string trace;
  double trace_speed = 1;
  absl::Duration duration = absl::Seconds(60);
  absl::Duration warmup = absl::Seconds(5);
  absl::Duration drain = absl::Seconds(60);
  int runs = 1;
  std::vector<std::string> sweep;  // rates of one run each; empty: none
  bool find_capacity = false;
  double attain = 0.9;  // share of requests within the first service level that find_capacity wants

  // Requests.
  std::string lengths = "azure-conversation";
  LengthLimits limits;
  std::string prompt_file;
  int64_t prompt_salt = 0;  // 0: another for each run
  ExactLength exact_length = ExactLength::kAuto;
  std::vector<TrafficShare> classes, tenants;
  absl::Duration deadline = absl::ZeroDuration();  // 0: none
  absl::Duration timeout = absl::Seconds(600);

  // Clients.
  std::string client = "obey";
  int max_attempts = 0;  // 0: the model's own
  TicketMode tickets = TicketMode::kAuto;
  // Whether the refused bring back the ticket of their refusal: of the client models only one that obeys does by
  // itself.
  bool brings_tickets() const {
    return tickets == TicketMode::kOn || (tickets == TicketMode::kAuto && client == "obey");
  }

  // The report.
  std::vector<Slo> slos;
  bool slo_from_attempt = false;
  std::string json, html;
  ProgressMode progress = ProgressMode::kAuto;

  // Filled by Resolve.
  Target target;
  LengthMix mix;

  void AddFlags(base::FlagSet* flags);
  // Checks what spans flags and fills the fields above. InvalidArgument names the flag.
  absl::Status Resolve();
};

// Flags as they are in effect, for the report: keys are replaced by "***".
std::map<std::string, std::string> ReportedSettings(const base::ParsedFlags& parsed);

}  // namespace hadal::bench
