// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "absl/time/time.h"
#include "server/base/flag_set.h"
#include "server/base/log_options.h"
#include "server/commands/model_options.h"

namespace hadal::commands {

// Everything that `hadal worker` can be told. What concerns the model beyond its folder, its leader says.
struct WorkerConfig {
  ModelOptions model;  // of it what AddHostFlags sets
  std::string host = "127.0.0.1";
  int port = 7000;
  int http_port = -1;  // -1: none
  std::string key_file;
  absl::Duration connect_timeout = absl::Minutes(10);
  absl::Duration drain_timeout = absl::Seconds(60);
  base::LogOptions log;

  void AddFlags(base::FlagSet* flags) {
    model.AddHostFlags(flags);
    flags->AddText("host", &host, "address to listen on for the server, or the worker before this one");
    flags->AddInt("port", &port, {0, 65535}, "port to listen on; 0: any");
    flags->AddInt("http-port", &http_port, {0, 65535}, "port for /health and /metrics; 0: any", "none");
    flags->AddText("pipeline-key-file", &key_file, "file with the secret that the server and its workers share",
                   "none");
    flags->AddDuration("pipeline-connect-timeout", &connect_timeout, "how long to wait for the worker behind this one");
    flags->AddDuration("drain-timeout", &drain_timeout,
                       "how long the server may go on using this worker after SIGTERM");
    log.AddFormatFlags(flags);
  }
};

}  // namespace hadal::commands
