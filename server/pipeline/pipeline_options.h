// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "server/base/flag_set.h"

namespace hadal::pipeline {

// A model whose layers are divided among this server and workers on other hosts.
struct PipelineOptions {
  std::vector<std::string> workers;             // host:port, in the order of the layers; empty: all layers are here
  std::vector<int64_t> layers;                  // of this server, then of each worker; empty: by bytes of weights
  std::string key_file;                         // the secret of all hosts
  absl::Duration patience = absl::Minutes(10);  // for workers that start at the same time
  int32_t steps = 0;                            // in flight at a time; 0: one for each host

  bool enabled() const { return !workers.empty(); }

  // InvalidArgument names the flag and what is wrong with it.
  absl::Status Validate() const;

  void AddFlags(base::FlagSet* flags) {
    flags->Add({.name = "pipeline-workers",
                .help = "HOST:PORT[,HOST:PORT...] of 'hadal worker': they hold the model's later layers, in this order",
                .default_text = "none",
                .set = [this](const std::string& text) { return SetWorkers(text); },
                .value_name = "HOST:PORT,..."});
    flags->Add({.name = "pipeline-layers",
                .help = "N,N[,N...] layers of this server and of each worker",
                .default_text = "by bytes of weights",
                .set = [this](const std::string& text) { return SetLayers(text); },
                .value_name = "N,N,..."});
    flags->AddText("pipeline-key-file", &key_file, "file with the secret that this server and its workers share",
                   "none");
    flags->AddInt("pipeline-steps", &steps, {0, kMaxSteps},
                  "steps of different sequences that are under way at a time, so that no host waits for the others; 1: "
                  "one after another; 0: one for each host");
    flags->AddDuration("pipeline-connect-timeout", &patience, "how long to wait for workers that do not answer yet");
  }

 private:
  static constexpr int32_t kMaxSteps = 64;

  absl::Status SetWorkers(const std::string& text);
  absl::Status SetLayers(const std::string& text);
};

}  // namespace hadal::pipeline
