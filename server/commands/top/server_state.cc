// SPDX-License-Identifier: Apache-2.0
#include "server/commands/top/server_state.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"

namespace hadal::top {
namespace {

std::string StateOf(const Scrape& now) {
  if (now.Sum("hadal_draining") > 0) return "draining";
  if (now.Sum("hadal_ready") > 0) return "ready";
  return absl::StrFormat("load %.0f%%", 100 * now.Sum("hadal_model_load_progress_ratio"));
}

std::string Label(const Scrape::Sample& sample, const std::string& name) {
  const auto found = sample.labels.find(name);
  return found == sample.labels.end() ? "" : found->second;
}

std::string AboutOf(const Scrape& now) {
  std::string about;
  for (const Scrape::Sample& build : now.All("hadal_build_info")) about = "hadal " + Label(build, "version");
  for (const Scrape::Sample& model : now.All("hadal_model_info")) {
    absl::StrAppend(&about, ", ", Label(model, "model"), " (", Label(model, "family"), ", ", Label(model, "dtype"),
                    ", ", Label(model, "device"), ")");
  }
  return about;
}

std::vector<ServerNumbers::Refusals> RefusalsOf(const Scrape& before, const Scrape& now) {
  constexpr char kName[] = "hadal_admission_rejections_total";
  const double seconds = absl::ToDoubleSeconds(now.at() - before.at());
  std::map<std::string, double> old = before.By(kName, "reason");
  std::vector<ServerNumbers::Refusals> refusals;
  for (const auto& [reason, total] : now.By(kName, "reason")) {
    if (total <= 0) continue;
    refusals.push_back({reason, seconds > 0 ? Growth(old[reason], total) / seconds : 0, total});
  }
  std::stable_sort(refusals.begin(), refusals.end(), [](const auto& a, const auto& b) {
    return std::pair(a.rate, a.total) > std::pair(b.rate, b.total);
  });
  return refusals;
}

std::array<double, kEnds.size()> EndedOf(const Scrape& oldest, const Scrape& now) {
  constexpr char kName[] = "hadal_finished_choices_total";
  const double seconds = absl::ToDoubleSeconds(now.at() - oldest.at());
  std::array<double, kEnds.size()> ended = {};
  if (seconds <= 0) return ended;
  std::map<std::string, double> old = oldest.By(kName, "finished_reason"), all = now.By(kName, "finished_reason");
  for (size_t i = 0; i < kEnds.size(); ++i) ended[i] = Growth(old[kEnds[i]], all[kEnds[i]]) / seconds;
  return ended;
}

std::array<double, kClasses.size()> ByClass(const Scrape& now, const std::string& name) {
  std::map<std::string, double> values = now.By(name, "class");
  std::array<double, kClasses.size()> by_class = {};
  for (size_t i = 0; i < kClasses.size(); ++i) by_class[i] = values[kClasses[i]];
  return by_class;
}

}  // namespace

ServerNumbers NumbersOf(const Scrape& oldest, const Scrape& before, const Scrape& now) {
  ServerNumbers numbers;
  numbers.state = StateOf(now);
  numbers.about = AboutOf(now);
  numbers.running = now.Sum("hadal_requests_running");
  numbers.waiting = now.Sum("hadal_requests_waiting");
  numbers.kv_ratio = now.Sum("hadal_kv_cache_usage_ratio");
  numbers.generated_tokens = Rate(before, now, "hadal_generation_tokens_total");
  numbers.prompt_tokens = Rate(before, now, "hadal_prompt_tokens_total");
  numbers.refused = Rate(before, now, "hadal_admission_rejections_total");
  numbers.retry_after_s = Mean(oldest, now, "hadal_retry_after_seconds");
  numbers.step_tokens = Mean(oldest, now, "hadal_step_tokens");
  numbers.step_s = Mean(oldest, now, "hadal_step_duration_seconds");
  numbers.offered_load = now.Sum("hadal_offered_load_ratio");
  numbers.good_tokens = Rate(oldest, now, "hadal_goodput_tokens_total");
  numbers.all_tokens =
      Rate(oldest, now, "hadal_generation_tokens_total") + Rate(oldest, now, "hadal_prompt_tokens_total");
  numbers.ttft_p50_s = Quantile(oldest, now, "hadal_time_to_first_token_seconds", 0.5);
  numbers.ttft_p99_s = Quantile(oldest, now, "hadal_time_to_first_token_seconds", 0.99);
  numbers.between_p50_s = Quantile(oldest, now, "hadal_inter_token_latency_seconds", 0.5);
  numbers.between_p99_s = Quantile(oldest, now, "hadal_inter_token_latency_seconds", 0.99);
  numbers.class_waiting = ByClass(now, "hadal_queue_depth");
  numbers.class_wait_s = ByClass(now, "hadal_predicted_wait_seconds");
  numbers.ended = EndedOf(oldest, now);
  numbers.refusals = RefusalsOf(before, now);
  return numbers;
}

absl::StatusOr<Target> ParseTarget(const std::string& text, bool tls) {
  Target target = {.port = "8000", .tls = tls};
  absl::string_view rest = text;
  if (absl::ConsumePrefix(&rest, "https://")) {
    target.tls = true;
    target.port = "443";
    absl::ConsumeSuffix(&rest, "/");
  } else if (absl::ConsumePrefix(&rest, "http://")) {
    target.tls = false;
    target.port = "80";
    absl::ConsumeSuffix(&rest, "/");
  }
  const std::string address(rest);
  const size_t colon = address.rfind(':');
  const bool bracketed = absl::StartsWith(address, "[");
  const size_t bracket = address.find(']');
  if (bracketed && bracket == address.npos) {
    return absl::InvalidArgumentError(absl::StrCat("'", text, "': the bracket of the address is not closed"));
  }
  const bool has_port = bracketed ? bracket + 1 < address.size() : colon != address.npos && address.find(':') == colon;
  target.host = bracketed ? address.substr(1, bracket - 1) : address.substr(0, has_port ? colon : address.npos);
  if (has_port) {
    target.port = address.substr(colon + 1);
    int port = 0;
    if ((bracketed && colon != bracket + 1) || !absl::SimpleAtoi(target.port, &port) || port < 1 || port > 65535) {
      return absl::InvalidArgumentError(
          absl::StrCat("'", text, "': expected HOST:PORT, http:// or https://, with a port from 1 to 65535"));
    }
  }
  if (target.host.empty() || target.host.find('/') != target.host.npos) {
    return absl::InvalidArgumentError(absl::StrCat("'", text, "': the host is empty, or followed by a path"));
  }
  const bool ipv6 = target.host.find(':') != target.host.npos;
  target.text = ipv6 ? absl::StrCat("[", target.host, "]:", target.port) : absl::StrCat(target.host, ":", target.port);
  return target;
}

absl::StatusOr<Scrape> Server::Ask(absl::Duration timeout) const {
  const absl::Time at = absl::Now();
  const commands::TlsTrust* const trust = target_.tls ? &trust_ : nullptr;
  absl::StatusOr<commands::HttpReply> reply = commands::HttpGet(target_.host, target_.port, "/metrics", timeout, trust);
  if (!reply.ok()) return reply.status();
  if (reply->status != 200) {
    const bool plain = !target_.tls && absl::StrContains(reply->body, "this port speaks TLS");
    return absl::UnavailableError(plain ? "it speaks TLS: give --tls or https://"
                                        : absl::StrCat("/metrics answers with ", reply->status));
  }
  Scrape scrape = Scrape::Parse(reply->body, at);
  if (scrape.All("hadal_build_info").empty()) return absl::UnavailableError("it is no hadal server");
  return scrape;
}

void Server::Poll(absl::Duration timeout) {
  absl::StatusOr<Scrape> scrape = Ask(timeout);
  base::MutexLock lock(&mutex_);
  asked_ = true;
  if (!scrape.ok()) {
    if (error_.empty()) away_since_ = absl::Now();
    error_ = std::string(scrape.status().message());
    scrapes_.clear();
    return;
  }
  error_.clear();
  scrapes_.push_back(*std::move(scrape));
  while (scrapes_.size() > 2 && scrapes_.back().at() - scrapes_[1].at() >= kWindow) scrapes_.pop_front();
}

ServerRow Server::Row() const {
  base::MutexLock lock(&mutex_);
  ServerRow row = {target_.text, asked_, error_, away_since_, std::nullopt};
  if (scrapes_.empty()) return row;
  const Scrape& now = scrapes_.back();
  row.numbers = NumbersOf(scrapes_.front(), scrapes_[scrapes_.size() < 2 ? 0 : scrapes_.size() - 2], now);
  return row;
}

}  // namespace hadal::top
