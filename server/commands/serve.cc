// SPDX-License-Identifier: Apache-2.0
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "server/base/fd_writer.h"
#include "server/base/log.h"
#include "server/base/notification.h"
#include "server/base/process_limits.h"
#include "server/base/strings.h"
#include "server/commands/app.h"
#include "server/commands/commands.h"
#include "server/commands/file_watch.h"
#include "server/commands/flag_answer.h"
#include "server/commands/leave.h"
#include "server/commands/mps.h"
#include "server/commands/server_config.h"
#include "server/commands/stop_events.h"

namespace hadal::commands {
namespace {

// What is left of a drain after a second signal, or when a device has failed.
constexpr absl::Duration kHurriedDrain = absl::Seconds(1);
// How often the limits of memory are looked at: small files.
constexpr absl::Duration kBudgetPeriod = absl::Seconds(1);
// Certificate and key are two files, written one after the other: how long after a change they are read.
constexpr absl::Duration kTlsFilesSettle = absl::Milliseconds(500);
// When something has failed for good, as a device: docs/kubernetes.md names it.
constexpr int kFailureExitCode = 3;
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

// What start-up opens before the first client comes: the event descriptors of each thread that does I/O, checkpoint
// files, logs, listening sockets.
int64_t LeastDescriptors(const ServerConfig& config) { return 40 + 4 * int64_t{config.http.io_threads}; }

// As many as run when the first client comes. gRPC has up to 16 by the number of cores; what a backend starts later, on
// a host with many, ends the process with the limit's name where it is refused.
int StartedThreads(const ServerConfig& config) {
  const int by_cores = std::min(2 * static_cast<int>(std::thread::hardware_concurrency()), 32);
  return 24 + by_cores + config.http.io_threads + config.grpc.executor_threads + config.grammar.threads;
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
  WriteLine(STDOUT_FILENO, absl::StrCat("hadal listening on ", config.tls.enabled() ? "https" : "http", "://", host,
                                        ":", app.port(), " (", grpc, ")"));
}

// Loads on a thread of its own: a signal ends the process although a file system does not answer. Cancelled then.
absl::Status LoadUntilSignal(App& app, StopEvents& events) {
  base::Notification stopped;
  std::atomic<bool> loaded{false};
  absl::Status status;
  std::thread load([&] {
    status = app.Load(stopped);
    loaded.store(true);
    events.Notify();
  });
  while (!loaded.load() && events.signals() == 0) events.Wait();
  if (events.signals() > 0) stopped.Notify();
  const absl::Time end = absl::Now() + kHurriedDrain;
  while (!loaded.load() && absl::Now() < end) events.Wait(end - absl::Now());
  if (!loaded.load()) {
    // There is nothing to lose yet, and no way to end a thread that waits for a file.
    LeaveAtOnce(0);
  }
  load.join();
  return status;
}

// Files that are read again together. One that cannot be watched is named in the log: then SIGHUP remains.
class WatchedFiles {
 public:
  void Add(const char* flag, const std::string& path) {
    if (path.empty()) return;
    absl::StatusOr<std::unique_ptr<FileWatch>> watch = FileWatch::Create(path);
    if (watch.ok()) {
      watches_.push_back(*std::move(watch));
      return;
    }
    base::Log(base::LogLevel::kWarn, "main",
              absl::StrCat("--", flag, " is not watched, send SIGHUP after a change: ", watch.status().message()));
  }
  // Whether one has changed since the last call.
  bool TakeChange() {
    bool changed = false;
    for (const auto& watch : watches_) changed = watch->TakeChange() || changed;
    return changed;
  }
  void AppendDescriptors(std::vector<int>* out) const {
    for (const auto& watch : watches_) out->push_back(watch->descriptor());
  }

 private:
  std::vector<std::unique_ptr<FileWatch>> watches_;
};

// Reads files again when they have changed or SIGHUP asks for it, until a signal comes. An error is what has failed for
// good meanwhile.
absl::Status ServeUntilSignal(App& app, WatchedFiles& keys_files, WatchedFiles& tls_files, StopEvents& events) {
  std::vector<int> watched;
  keys_files.AppendDescriptors(&watched);
  tls_files.AppendDescriptors(&watched);
  events.WatchDescriptors(std::move(watched));
  absl::Time reload_tls_at = absl::InfiniteFuture();
  while (events.signals() == 0) {
    if (const std::string failure = app.Failure(); !failure.empty()) return absl::InternalError(failure);
    if (events.TakeHangup()) {
      app.ReopenAccessLog();
      app.ReloadKeys("SIGHUP");
      app.ReloadTls("SIGHUP");
      app.ReloadUpstreamKeys("SIGHUP");
    }
    if (keys_files.TakeChange()) app.ReloadKeys("the file has changed");
    if (tls_files.TakeChange()) reload_tls_at = absl::Now() + kTlsFilesSettle;
    if (absl::Now() >= reload_tls_at) {
      reload_tls_at = absl::InfiniteFuture();
      app.ReloadTls("a file has changed");
    }
    app.UpdateBudget();
    events.Wait(std::min(reload_tls_at - absl::Now(), kBudgetPeriod));
  }
  events.WatchDescriptors({});
  return absl::OkStatus();
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
    if (events.signals() >= 3) LeaveAtOnce(kForcedExitCode);
    if (events.signals() < 2 || shortened) continue;
    shortened = true;
    app.ShortenDrain(kHurriedDrain);
  }
  drain.join();
}

}  // namespace

int Serve(const std::vector<std::string>& args) {
  absl::StatusOr<ParsedConfig> parsed = ParseServerConfig("serve", args);
  const std::optional<int> answered = AnswerFlags("serve", parsed.status(), parsed.ok() ? &parsed->flags : nullptr);
  if (answered.has_value()) return *answered;
  const ServerConfig& config = parsed->config;
  std::signal(SIGPIPE, SIG_IGN);
  if (absl::Status status = base::CheckDescriptors(LeastDescriptors(config)); !status.ok()) return Fail(status);
  absl::StatusOr<std::unique_ptr<StopEvents>> events = StopEvents::Create();
  if (!events.ok()) return Fail(events.status());
  // While there is one thread: it may change the environment.
  absl::StatusOr<MpsState> mps = PrepareMps(config.model, MpsProbe::System());
  if (!mps.ok()) return Fail(mps.status());
  // A library that gets none of its threads would wait for it for ever when it ends.
  if (absl::Status status = base::CheckThreads(StartedThreads(config)); !status.ok()) return Fail(status);
  base::InitLogging(config.log);
  LogMps(*mps);

  // Before they are read, so that no change is missed.
  WatchedFiles keys_files, tls_files;
  keys_files.Add("api-key-file", config.api_key_file);
  tls_files.Add("tls-cert", config.tls.cert_file);
  tls_files.Add("tls-key", config.tls.key_file);
  tls_files.Add("tls-client-ca", config.tls.client_ca_file);
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
  if (absl::Status failure = ServeUntilSignal(app, keys_files, tls_files, **events); !failure.ok()) {
    base::Log(base::LogLevel::kError, "main", base::StdView(failure.message()));
    app.Drain(kHurriedDrain);
    base::ShutdownLogging();
    WriteLine(STDERR_FILENO, absl::StrCat("hadal: ", failure.message()));
    return kFailureExitCode;
  }
  base::Log(base::LogLevel::kInfo, "main", "signal received: draining");
  DrainUntilSignal(app, config.drain_timeout, **events);
  base::Log(base::LogLevel::kInfo, "main", "drained: bye");
  base::ShutdownLogging();
  return 0;
}

}  // namespace hadal::commands
