// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/sync.h"
#include "server/commands/http_get.h"
#include "server/commands/top/scrape.h"

namespace hadal::top {

// In the order in which they are shown.
inline constexpr std::array<const char*, 4> kClasses = {"high", "normal", "low", "batch"};
inline constexpr std::array<const char*, 4> kEnds = {"stop", "length", "abort", "error"};

// What is shown of a server that answers. Rates are those since the scrape before, a second; means and quantiles look
// back on the window; nullopt: nothing happened in it.
struct ServerNumbers {
  std::string state;  // ready, draining, or loading with its progress
  std::string about;  // what it is and serves
  double running = 0, waiting = 0, kv_ratio = 0;
  double generated_tokens = 0, prompt_tokens = 0, refused = 0;
  std::optional<double> retry_after_s;  // mean hint
  std::optional<double> step_tokens, step_s;
  double offered_load = 0;  // relative to what a full batch completes; 0: not known
  // Prompt and output tokens a second over the window: of complete answers in time, and all.
  double good_tokens = 0, all_tokens = 0;
  std::optional<double> ttft_p50_s, ttft_p99_s, between_p50_s, between_p99_s;
  std::array<double, kClasses.size()> class_waiting = {}, class_wait_s = {};
  std::array<double, kEnds.size()> ended = {};  // choices a second over the window
  struct Refusals {
    std::string reason;
    double rate = 0, total = 0;
  };
  std::vector<Refusals> refusals;  // most at present first
};

ServerNumbers NumbersOf(const Scrape& oldest, const Scrape& before, const Scrape& now);

struct Target {
  std::string host, port;
  std::string text;  // as it is shown
  bool tls = false;
};
// Reads host:port, host or [IPv6]:port, with port 8000 where none is given and TLS as `tls` says; or the same behind
// http:// or https://, with the ports 80 and 443. InvalidArgument says what is wrong with it.
absl::StatusOr<Target> ParseTarget(const std::string& text, bool tls);

// What one row shows.
struct ServerRow {
  std::string name;
  bool asked = false;                    // there has been an answer, or none in time
  std::string error;                     // why it is away; empty: it is not
  absl::Time away_since;                 // of a server with an error
  std::optional<ServerNumbers> numbers;  // of a server without
};

// Asks one server and remembers what it said. Poll is for one thread at a time, Row for any.
class Server {
 public:
  // `trust` is for a target with TLS.
  Server(Target target, commands::TlsTrust trust) : target_(std::move(target)), trust_(std::move(trust)) {}

  // Blocks for at most `timeout`, apart from resolving the name.
  void Poll(absl::Duration timeout);
  ServerRow Row() const;

 private:
  // How far means and quantiles look back.
  static constexpr absl::Duration kWindow = absl::Seconds(30);

  absl::StatusOr<Scrape> Ask(absl::Duration timeout) const;

  const Target target_;
  const commands::TlsTrust trust_;
  mutable base::Mutex mutex_;
  std::deque<Scrape> scrapes_ ABSL_GUARDED_BY(mutex_);  // of the window, oldest first
  bool asked_ ABSL_GUARDED_BY(mutex_) = false;
  std::string error_ ABSL_GUARDED_BY(mutex_);
  absl::Time away_since_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace hadal::top
