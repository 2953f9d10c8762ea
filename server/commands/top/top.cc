// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/time/clock.h"
#include "server/base/notification.h"
#include "server/commands/commands.h"
#include "server/commands/http_get.h"
#include "server/commands/parse_answer.h"
#include "server/commands/top/server_state.h"
#include "server/commands/top/terminal.h"
#include "server/commands/top/view.h"

namespace hadal::commands {
namespace {

using Servers = std::vector<std::unique_ptr<top::Server>>;

std::vector<top::ServerRow> RowsOf(const Servers& servers) {
  std::vector<top::ServerRow> rows;
  for (const auto& server : servers) rows.push_back(server->Row());
  return rows;
}

// Two scrapes, because rates need them.
int PrintOnce(const Servers& servers, absl::Duration interval, absl::Duration timeout) {
  base::Notification stopped;  // by nobody: it ends by itself
  std::vector<std::thread> threads;
  for (const auto& server : servers) {
    threads.emplace_back([&server = *server, &stopped, interval, timeout] {
      const absl::Time next = absl::Now() + interval;
      server.Poll(timeout);
      stopped.WaitFor(next - absl::Now());
      server.Poll(timeout);
    });
  }
  for (std::thread& thread : threads) thread.join();
  const std::vector<top::ServerRow> rows = RowsOf(servers);
  for (const top::Line& line : top::Render(rows, absl::Now(), {.columns = 200, .lines = 10000})) {
    std::printf("%s\n", line.text.c_str());
  }
  return std::any_of(rows.begin(), rows.end(), [](const auto& row) { return !row.error.empty(); }) ? 1 : 0;
}

int Watch(const Servers& servers, absl::Duration interval, absl::Duration timeout) {
  absl::StatusOr<std::unique_ptr<top::Terminal>> terminal = top::Terminal::Open();
  if (!terminal.ok()) {
    std::fprintf(stderr, "hadal top: %s\n", std::string(terminal.status().message()).c_str());
    return 2;
  }
  base::Notification stopped;
  for (const auto& server : servers) {
    std::thread([&server = *server, &terminal = **terminal, &stopped, interval, timeout] {
      absl::Time next;
      do {
        next = absl::Now() + interval;
        server.Poll(timeout);
        terminal.Notify();
      } while (!stopped.WaitFor(next - absl::Now()));
    }).detach();
  }
  top::Terminal::Event event = top::Terminal::Event::kRedraw;
  while (event != top::Terminal::Event::kQuit) {
    (*terminal)->Draw(top::Render(RowsOf(servers), absl::Now(), (*terminal)->size()));
    event = (*terminal)->Wait(absl::Seconds(1));
  }
  // A thread may still wait for a server that does not answer: nobody waits for it.
  stopped.Notify();
  (*terminal)->Close();
  std::_Exit(0);
}

}  // namespace

int Top(const std::vector<std::string>& args) {
  CLI::App app{
      "hadal top: shows the load of servers, from their /metrics, until q or Ctrl-C. BATCH and QUEUE are requests, "
      "OUT/S and IN/S tokens a second, REF/S refusals; RETRY is the mean hint and TTFT the median time to the first "
      "token of the last 30 s.",
      "hadal top"};
  std::vector<std::string> names = {"127.0.0.1:8000"};
  bool tls = false, insecure = false;
  std::string ca_file;
  double interval_s = 1;
  double timeout_s = 2;
  bool once = false;
  app.add_option("servers", names, "HOST:PORT of each server, or http:// or https:// and that [127.0.0.1:8000]");
  app.add_flag("--tls", tls, "speak TLS with servers that are named without a scheme");
  CLI::Option* const authorities =
      app.add_option("--tls-ca", ca_file,
                     "PEM file of the authorities that may sign the servers' certificates; means --tls [the system's]");
  app.add_flag("--insecure", insecure, "take any certificate; means --tls")->excludes(authorities);
  app.add_option("--interval", interval_s, "seconds between two scrapes [1]")->check(CLI::Range(0.1, 3600.0));
  app.add_option("--timeout", timeout_s, "seconds after which a server is away [2]")->check(CLI::Range(0.1, 60.0));
  app.add_flag("--once", once, "print one picture, without control characters; exit code 1 when a server is away");
  try {
    app.parse(std::vector<std::string>(args.rbegin(), args.rend()));
  } catch (const CLI::ParseError& error) {
    return AnswerParseError(app, error);
  }
  tls = tls || insecure || !ca_file.empty();
  const absl::StatusOr<TlsTrust> trust = insecure ? TlsTrust::Everybody() : TlsTrust::Authorities(ca_file);
  if (!trust.ok()) {
    std::fprintf(stderr, "hadal top: --tls-ca: %s\n", std::string(trust.status().message()).c_str());
    return 2;
  }
  Servers servers;
  for (const std::string& name : names) {
    absl::StatusOr<top::Target> target = top::ParseTarget(name, tls);
    if (!target.ok()) {
      std::fprintf(stderr, "hadal top: %s\n", std::string(target.status().message()).c_str());
      return 2;
    }
    servers.push_back(std::make_unique<top::Server>(*std::move(target), *trust));
  }
  const absl::Duration interval = absl::Seconds(interval_s), timeout = absl::Seconds(timeout_s);
  return once ? PrintOnce(servers, interval, timeout) : Watch(servers, interval, timeout);
}

}  // namespace hadal::commands
