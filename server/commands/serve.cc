// SPDX-License-Identifier: Apache-2.0
#include <atomic>
#include <csignal>
#include <cstdio>
#include <thread>

#include "absl/strings/str_cat.h"
#include "server/base/log.h"
#include "server/commands/app.h"
#include "server/commands/commands.h"
#include "server/commands/server_config.h"
#include "server/commands/stop_events.h"

namespace hadal::commands {
namespace {

// What is left of a drain after a second signal, or when a device has failed.
constexpr absl::Duration kHurriedDrain = absl::Seconds(1);

int Fail(const absl::Status& status) {
  base::ShutdownLogging();
  std::fprintf(stderr, "hadal: %s\n", std::string(status.message()).c_str());
  return 1;
}

// The line that people and scripts wait for.
void Announce(const App& app, const ServerConfig& config) {
  const std::string host =
      config.front.host.find(':') == std::string::npos ? config.front.host : absl::StrCat("[", config.front.host, "]");
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
  absl::StatusOr<ParsedConfig> parsed = ParseServerConfig("serve", args);
  if (!parsed.ok()) {
    std::fprintf(stderr, "hadal serve: %s\n", std::string(parsed.status().message()).c_str());
    return 2;
  }
  if (!parsed->flags.help.empty()) {
    std::fputs(parsed->flags.help.c_str(), stdout);
    return 0;
  }
  if (parsed->flags.print_config) {
    std::fputs(parsed->flags.ToToml().c_str(), stdout);
    return 0;
  }
  const ServerConfig& config = parsed->config;
  std::signal(SIGPIPE, SIG_IGN);
  absl::StatusOr<std::unique_ptr<StopEvents>> events = StopEvents::Create();
  if (!events.ok()) return Fail(events.status());
  base::InitLogging(config.log);

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
