// SPDX-License-Identifier: Apache-2.0
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdio>
#include <thread>

#include "absl/strings/str_cat.h"
#include "server/base/config.h"
#include "server/base/log.h"
#include "server/commands/app.h"
#include "server/commands/commands.h"
#include "server/commands/stop_events.h"

namespace hadal::commands {
namespace {

// What is left of a drain after a second signal, or when a device has failed.
constexpr absl::Duration kHurriedDrain = absl::Seconds(1);

base::LogOptions MakeLogOptions(const base::ServerConfig& config) {
  base::LogOptions options;
  options.json = config.log_format == "json" || (config.log_format == "auto" && isatty(STDERR_FILENO) == 0);
  options.level = config.log_level == "debug"   ? base::LogLevel::kDebug
                  : config.log_level == "warn"  ? base::LogLevel::kWarn
                  : config.log_level == "error" ? base::LogLevel::kError
                                                : base::LogLevel::kInfo;
  return options;
}

int Fail(const absl::Status& status) {
  base::ShutdownLogging();
  std::fprintf(stderr, "hadal: %s\n", std::string(status.message()).c_str());
  return 1;
}

// The line that people and scripts wait for.
void Announce(const App& app, const base::ServerConfig& config) {
  const std::string host =
      config.host.find(':') == std::string::npos ? config.host : absl::StrCat("[", config.host, "]");
  const std::string grpc =
      app.grpc_port() < 0 ? "gRPC on the same port" : absl::StrCat("gRPC on port ", app.grpc_port());
  std::printf("hadal listening on http://%s:%d (%s)\n", host.c_str(), app.port(), grpc.c_str());
  std::fflush(stdout);
}

// Drains on a thread of its own, so that a second signal can shorten it.
void DrainUntilSignal(App& app, absl::Duration timeout, StopEvents& events) {
  std::atomic<bool> drained{false};
  std::thread drain([&] {
    app.Drain(timeout);
    drained.store(true);
    events.Notify();
  });
  bool shortened = false;
  while (!drained.load()) {
    events.Wait();
    if (events.signals() < 2 || shortened) continue;
    shortened = true;
    app.ShortenDrain(kHurriedDrain);
  }
  drain.join();
}

}  // namespace

int Serve(const std::vector<std::string>& args) {
  absl::StatusOr<base::ParsedConfig> parsed = base::ParseServerConfig("serve", args);
  if (!parsed.ok()) {
    std::fprintf(stderr, "hadal serve: %s\n", std::string(parsed.status().message()).c_str());
    return 2;
  }
  if (!parsed->help.empty()) {
    std::fputs(parsed->help.c_str(), stdout);
    return 0;
  }
  if (parsed->print_config) {
    std::fputs(parsed->ToToml().c_str(), stdout);
    return 0;
  }
  const base::ServerConfig& config = parsed->config;
  std::signal(SIGPIPE, SIG_IGN);
  absl::StatusOr<std::unique_ptr<StopEvents>> events = StopEvents::Create();
  if (!events.ok()) return Fail(events.status());
  base::InitLogging(MakeLogOptions(config));

  App app(config, [&events] { (*events)->Notify(); });
  if (absl::Status status = app.Start(); !status.ok()) return Fail(status);
  Announce(app, config);
  if (absl::Status status = app.Load([&events] { return (*events)->signals() > 0; }); !status.ok()) {
    if ((*events)->signals() > 0) {
      base::ShutdownLogging();
      return 0;
    }
    return Fail(status);
  }
  while ((*events)->signals() == 0) {
    if (const std::string failure = app.Failure(); !failure.empty()) {
      base::Log(base::LogLevel::kError, "main", failure);
      app.Drain(kHurriedDrain);
      base::ShutdownLogging();
      std::fprintf(stderr, "hadal: %s\n", failure.c_str());
      return 3;
    }
    (*events)->Wait();
  }
  base::Log(base::LogLevel::kInfo, "main", "signal received: draining");
  DrainUntilSignal(app, config.drain_timeout, **events);
  base::Log(base::LogLevel::kInfo, "main", "drained: bye");
  base::ShutdownLogging();
  return 0;
}

}  // namespace hadal::commands
