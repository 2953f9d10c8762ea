// SPDX-License-Identifier: Apache-2.0
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "server/base/fd_writer.h"
#include "server/base/log.h"
#include "server/commands/app.h"
#include "server/commands/commands.h"
#include "server/commands/file_watch.h"
#include "server/commands/mps.h"
#include "server/commands/server_config.h"
#include "server/commands/stop_events.h"

namespace hadal::commands {
namespace {

// What is left of a drain after a second signal, or when a device has failed.
constexpr absl::Duration kHurriedDrain = absl::Seconds(1);
constexpr int kForcedExitCode = 128 + SIGTERM;

// How long a line may wait for somebody to read the pipe that it goes to.
constexpr absl::Duration kLinePatience = absl::Seconds(1);

void WriteLine(int fd, std::string text) {
  text += '\n';
  std::string_view rest = text;
  base::WriteFor(fd, &rest, kLinePatience);
}

int Fail(const absl::Status& status) {
  base::ShutdownLogging();
  WriteLine(STDERR_FILENO, absl::StrCat("hadal: ", status.message()));
  return IsMpsError(status) ? kMpsExitCode : 1;
}

void LogMps(const MpsState& mps) {
  for (const std::string& warning : mps.warnings) base::Log(base::LogLevel::kWarn, "main", warning);
  if (mps.used) base::Log(base::LogLevel::kInfo, "main", mps.ToString());
}

// The line that people and scripts wait for.
void Announce(const App& app, const ServerConfig& config) {
  const std::string host =
      config.front.host.find(':') == std::string::npos ? config.front.host : absl::StrCat("[", config.front.host, "]");
  const std::string grpc =
      app.grpc_port() < 0 ? "gRPC on the same port" : absl::StrCat("gRPC on port ", app.grpc_port());
  WriteLine(STDOUT_FILENO, absl::StrCat("hadal listening on http://", host, ":", app.port(), " (", grpc, ")"));
}

// Loads on a thread of its own: a signal ends the process although a file system does not answer. Cancelled then.
absl::Status LoadUntilSignal(App& app, StopEvents& events) {
  std::atomic<bool> stopped{false}, loaded{false};
  absl::Status status;
  std::thread load([&] {
    status = app.Load([&] { return stopped.load(); });
    loaded.store(true);
    events.Notify();
  });
  while (!loaded.load() && events.signals() == 0) events.Wait();
  stopped.store(events.signals() > 0);
  const absl::Time end = absl::Now() + kHurriedDrain;
  while (!loaded.load() && absl::Now() < end) events.Wait(end - absl::Now());
  if (!loaded.load()) {
    // There is nothing to lose yet, and no way to end a thread that waits for a file.
    base::ShutdownLogging();
    std::_Exit(0);
  }
  load.join();
  return status;
}

// Null without a keys file, and where it cannot be watched: then SIGHUP remains.
std::unique_ptr<FileWatch> WatchKeys(const std::string& path) {
  if (path.empty()) return nullptr;
  absl::StatusOr<std::unique_ptr<FileWatch>> watch = FileWatch::Create(path);
  if (!watch.ok()) {
    base::Log(base::LogLevel::kWarn, "main",
              absl::StrCat("--api-key-file is not watched, send SIGHUP after a change: ", watch.status().message()));
    return nullptr;
  }
  return *std::move(watch);
}

// Drains on a thread of its own, so that a second signal can shorten it; a third one ends the process at once.
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
    if (events.signals() >= 3) std::_Exit(kForcedExitCode);
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
  // While there is one thread: it may change the environment.
  absl::StatusOr<MpsState> mps = PrepareMps(config.model.mps, config.model.memory_device(), MpsProbe::System());
  if (!mps.ok()) return Fail(mps.status());
  base::InitLogging(config.log);
  LogMps(*mps);

  // Before the keys are read, so that no change is missed.
  const std::unique_ptr<FileWatch> keys_watch = WatchKeys(config.api_key_file);
  App app(config, *std::move(mps), [&events] { (*events)->Notify(); });
  if (absl::Status status = app.Start(); !status.ok()) return Fail(status);
  Announce(app, config);
  if (absl::Status status = LoadUntilSignal(app, **events); !status.ok()) {
    if ((*events)->signals() > 0) {
      base::ShutdownLogging();
      return 0;
    }
    return Fail(status);
  }
  if (keys_watch != nullptr) (*events)->WatchDescriptor(keys_watch->descriptor());
  while ((*events)->signals() == 0) {
    if (const std::string failure = app.Failure(); !failure.empty()) {
      base::Log(base::LogLevel::kError, "main", failure);
      app.Drain(kHurriedDrain);
      base::ShutdownLogging();
      WriteLine(STDERR_FILENO, absl::StrCat("hadal: ", failure));
      return 3;
    }
    if ((*events)->TakeHangup()) {
      app.ReopenAccessLog();
      app.ReloadKeys("SIGHUP");
    }
    if (keys_watch != nullptr && keys_watch->TakeChange()) app.ReloadKeys("the file has changed");
    (*events)->Wait();
  }
  (*events)->WatchDescriptor(StopEvents::kNoDescriptor);
  base::Log(base::LogLevel::kInfo, "main", "signal received: draining");
  DrainUntilSignal(app, config.drain_timeout, **events);
  base::Log(base::LogLevel::kInfo, "main", "drained: bye");
  base::ShutdownLogging();
  return 0;
}

}  // namespace hadal::commands
