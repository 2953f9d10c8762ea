// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/asio/io_context.hpp>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "benchmarks/hadal_bench/bench_options.h"
#include "benchmarks/hadal_bench/client/attempt.h"
#include "benchmarks/hadal_bench/client/server_metrics.h"
#include "benchmarks/hadal_bench/report/report.h"
#include "benchmarks/hadal_bench/report/result_json.h"
#include "benchmarks/hadal_bench/run/run_log.h"
#include "benchmarks/hadal_bench/workload/prompts.h"

namespace hadal::bench {

// A server that was found to answer, and what is sent to it. One thread.
class Session {
 public:
  // Finds the model, opens the transport and calibrates. The error says what is wrong with the server, or which file
  // cannot be read.
  static absl::StatusOr<std::unique_ptr<Session>> Open(const BenchOptions& options);

  struct Outcome {
    RunLog log;
    Report report;
    RunFacts facts;
  };
  // One run: at `rate` (as the flag), with the seed moved on by `repetition`. The prompts are of no other run, unless
  // the options say which salt to use.
  absl::StatusOr<Outcome> Run(const std::string& rate, int repetition);

  const std::string& model() const { return model_; }
  const std::string& server_version() const { return server_version_; }
  // Requests of the trace that come after the duration.
  int64_t trace_left_out() const;
  int calibration_calls() const { return calibration_.calls; }

 private:
  explicit Session(const BenchOptions& options) : options_(options) {}
  absl::Status FindModel();
  absl::Status OpenTransport();
  // The target for HTTP: hadal answers it on the port of its gRPC, too.
  Target HttpTarget() const;
  void FindVersion(const std::string& key);
  // What the server says of its refusals up to now; nothing from other servers than hadal.
  std::optional<ServerMetrics> ReadServerMetrics() const;
  // How long requests are started: a trace may end before --duration.
  double DurationSeconds() const;
  absl::StatusOr<Plan> MakePlan(const std::string& rate, uint64_t seed) const;

  const BenchOptions& options_;
  boost::asio::io_context io_;
  std::string model_, server_version_;
  Prompts prompts_;
  std::vector<TraceEntry> trace_;
  std::unique_ptr<Transport> transport_;
  Calibration calibration_;
};

}  // namespace hadal::bench
