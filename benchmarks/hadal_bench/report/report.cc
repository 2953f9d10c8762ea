// SPDX-License-Identifier: Apache-2.0
#include "benchmarks/hadal_bench/report/report.h"

#include <algorithm>
#include <cmath>
#include <iterator>

#include "benchmarks/hadal_bench/workload/lengths.h"

namespace hadal::bench {
namespace {

constexpr double kEarlyS = 0.01;  // rounding of headers and timers

class Builder {
 public:
  Builder(const RunLog& log, const ReportOptions& options) : log_(log), options_(options) {
    const double end_s = log.interrupted ? std::min(log.interrupted_s, log.duration_s) : log.duration_s;
    measured_to_s_ = end_s;
    report_.measured_s = std::max(0.0, end_s - log.warmup_s);
    report_.all.name = "all";
    for (const LengthClass& length : kLengthClasses) report_.by_length.emplace_back().name = length.name;
    for (const TrafficShare& share : options.classes) report_.by_class.emplace_back().name = share.name;
    for (const TrafficShare& share : options.tenants) report_.by_tenant.emplace_back().name = share.name;
    for (const Slo& slo : options.slos) report_.goodput.push_back({slo});
    const auto windows = static_cast<size_t>(std::ceil(std::max(log.ended_s, end_s) / options.window_s));
    report_.windows.resize(std::max<size_t>(1, windows));
    for (size_t i = 0; i < report_.windows.size(); ++i)
      report_.windows[i].from_s = static_cast<double>(i) * options.window_s;
  }

  Report Build() {
    for (const RequestRecord& record : log_.records) {
      if (record.attempts.empty()) continue;
      AddToWindows(record);
      AddByTheClock(record);
      if (record.scheduled_s < log_.warmup_s) {
        ++report_.warmup_requests;
      } else if (record.scheduled_s <= measured_to_s_) {
        AddMeasured(record);
      }
    }
    report_.itl = log_.gaps;
    report_.lag = log_.lag;
    return std::move(report_);
  }

 private:
  WindowReport& WindowAt(double t_s) {
    const auto index = static_cast<size_t>(std::max(0.0, t_s) / options_.window_s);
    return report_.windows[std::min(index, report_.windows.size() - 1)];
  }

  bool Met(const Slo& slo, const RequestRecord& record) const { return slo.Met(record, options_.slo_from_attempt); }

  void AddToWindows(const RequestRecord& record) {
    WindowReport& arrival = WindowAt(record.scheduled_s);
    ++arrival.arrivals;
    arrival.offered_tokens += record.planned_prompt_tokens + record.planned_output_tokens;
    for (const AttemptRecord& attempt : record.attempts) {
      ++WindowAt(attempt.start_s).attempts;
      if (attempt.end == CallEnd::kRefused) ++WindowAt(attempt.end_s).refused_attempts;
    }
    if (record.outcome == Outcome::kFailed) ++WindowAt(record.attempts.back().end_s).failed;
    if (record.outcome != Outcome::kServed) return;
    WindowReport& end = WindowAt(record.end_s);
    ++end.served;
    end.output_tokens += record.output_count();
    if (Met(options_.slos.front(), record)) end.good_tokens += record.prompt_count() + record.output_count();
    arrival.ttft.AddSeconds(record.ttft_s());
    arrival.e2e.AddSeconds(record.e2e_s());
    if (record.tpot_s() >= 0) arrival.tpot.AddSeconds(record.tpot_s());
  }

  void AddToGroup(const RequestRecord& record, GroupReport* group) {
    ++group->offered;
    group->attempts += static_cast<int64_t>(record.attempts.size());
    switch (record.outcome) {
      case Outcome::kServed:
        ++group->served;
        if (record.attempts.back().start_s <= measured_to_s_) {
          ++group->served_in_load;
          group->attempts_of_served_in_load += static_cast<int64_t>(record.attempts.size());
        }
        group->ttft.AddSeconds(record.ttft_s());
        if (Met(options_.slos.front(), record)) ++group->met;
        break;
      case Outcome::kRefused:
        ++group->refused;
        break;
      case Outcome::kFailed:
        ++group->failed;
        break;
      case Outcome::kUnfinished:
        ++group->unfinished;
        break;
    }
  }

  void AddMeasured(const RequestRecord& record) {
    AddToGroup(record, &report_.all);
    AddToGroup(record, &report_.by_length[LengthClassOf(record.planned_prompt_tokens)]);
    if (!report_.by_class.empty()) AddToGroup(record, &report_.by_class[record.traffic_class]);
    if (!report_.by_tenant.empty()) AddToGroup(record, &report_.by_tenant[record.tenant]);
    AddAttempts(record);
    if (record.outcome == Outcome::kServed) AddServed(record);
  }

  void AddServed(const RequestRecord& record) {
    report_.ttft.AddSeconds(record.ttft_s());
    report_.attempt_ttft.AddSeconds(record.first_content_s - record.attempts.back().due_s);
    report_.e2e.AddSeconds(record.e2e_s());
    if (record.tpot_s() >= 0) report_.tpot.AddSeconds(record.tpot_s());
    ++report_.finish_reasons[record.finish_reason.empty() ? "none" : record.finish_reason];
    report_.prompt_tokens += record.prompt_count();
    report_.planned_prompt_tokens += record.planned_prompt_tokens;
    report_.planned_output_tokens += record.planned_output_tokens;
    report_.output_tokens += record.output_count();
    report_.cached_tokens += std::max(0, record.cached_tokens);
    if (record.prompt_tokens < 0 || record.completion_tokens < 0) ++report_.without_usage;
    for (GoodputReport& goodput : report_.goodput) {
      if (Met(goodput.slo, record)) ++goodput.met;
    }
  }

  void AddByTheClock(const RequestRecord& record) {
    if (record.outcome != Outcome::kServed || record.end_s < log_.warmup_s || record.end_s > measured_to_s_) return;
    ++report_.completed;
    report_.completed_output_tokens += record.output_count();
    for (GoodputReport& goodput : report_.goodput) {
      if (!Met(goodput.slo, record)) continue;
      ++goodput.requests;
      goodput.tokens += record.prompt_count() + record.output_count();
    }
  }

  void AddAttempts(const RequestRecord& record) {
    RetryReport& retry = report_.retry;
    for (size_t i = 0; i < record.attempts.size(); ++i) {
      const AttemptRecord& attempt = record.attempts[i];
      retry.tickets += attempt.ticket ? 1 : 0;
      if (attempt.end == CallEnd::kFailed && record.outcome != Outcome::kUnfinished) ++report_.failures[attempt.reason];
      if (attempt.end != CallEnd::kRefused) continue;
      ++report_.refusals[attempt.reason];
      report_.refusal.AddSeconds(attempt.end_s - attempt.start_s);
      if (attempt.hint_s < 0) continue;
      ++retry.hints;
      if (i > 0 || record.attempts.size() < 2) continue;
      const AttemptRecord& back = record.attempts[1];
      if (back.start_s < attempt.end_s + attempt.hint_s - kEarlyS) {
        ++retry.early;
        continue;
      }
      if (back.start_s > measured_to_s_) {
        ++retry.after_load;
        continue;
      }
      const bool admitted = back.end != CallEnd::kRefused;
      ++retry.returns;
      retry.returns_admitted += admitted ? 1 : 0;
      if (attempt.promise == "held") {
        ++retry.held;
        retry.held_admitted += admitted ? 1 : 0;
      }
      retry.late.AddSeconds(std::max(0.0, back.start_s - (attempt.end_s + attempt.hint_s)));
      if (record.outcome != Outcome::kServed) continue;
      const double wait_s = record.attempts.back().start_s - attempt.end_s;
      if (wait_s > 0) retry.errors.push_back(std::abs(attempt.hint_s - wait_s) / wait_s);
    }
  }

  const RunLog& log_;
  const ReportOptions& options_;
  double measured_to_s_ = 0;
  Report report_;
};

}  // namespace

double GroupReport::AdmissionRatio() const {
  return offered == 0 ? 0 : static_cast<double>(served) / static_cast<double>(offered);
}
double GroupReport::SloRatio() const {
  return offered == 0 ? 0 : static_cast<double>(met) / static_cast<double>(offered);
}

double RetryReport::MedianError() const {
  if (errors.empty()) return 0;
  std::vector<double> sorted = errors;
  std::nth_element(sorted.begin(), sorted.begin() + static_cast<ptrdiff_t>(sorted.size() / 2), sorted.end());
  return sorted[sorted.size() / 2];
}

Report BuildReport(const RunLog& log, const ReportOptions& options) { return Builder(log, options).Build(); }

}  // namespace hadal::bench
