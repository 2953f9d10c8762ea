// SPDX-License-Identifier: Apache-2.0
// The table of cases that client/retry.h and client/python share, so that both stay one logic.
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "client/retry.h"

namespace hadal::client {
namespace {

using nlohmann::json;

json Cases(const char* which) {
  const char* const source = std::getenv("HADAL_SOURCE_DIR");
  std::ifstream file(std::string(source == nullptr ? "." : source) + "/tests/client/retry_cases.json");
  return json::parse(file).at(which);
}

RetryOptions OptionsOf(const json& given) {
  RetryOptions options;
  const std::map<std::string, std::function<void(double)>> fields = {
      {"max_attempts", [&](double value) { options.max_attempts = static_cast<int>(value); }},
      {"initial_backoff", [&](double value) { options.initial_backoff = absl::Seconds(value); }},
      {"max_backoff", [&](double value) { options.max_backoff = absl::Seconds(value); }},
      {"budget", [&](double value) { options.budget = value; }},
      {"budget_refill", [&](double value) { options.budget_refill = value; }},
      {"breaker_failures", [&](double value) { options.breaker_failures = static_cast<int>(value); }},
      {"hedge_after", [&](double value) { options.hedging.delay = absl::Seconds(value); }},
      {"hedge_share", [&](double value) { options.hedging.max_share = value; }},
      {"breaker_pause", [&](double value) { options.breaker_pause = absl::Seconds(value); }},
      {"share_promises", [&](double value) { options.share_promises = value != 0; }}};
  for (const auto& [name, value] : given.items()) {
    fields.at(name)(value.is_boolean() ? (value.get<bool>() ? 1.0 : 0.0) : value.get<double>());
  }
  return options;
}

Refusal RefusalOf(const json& step) {
  Refusal refusal;
  if (step.contains("after")) refusal.after = absl::Seconds(step["after"].get<double>());
  refusal.final = step.value("final", false);
  refusal.ticket = step.value("ticket", "");
  return refusal;
}

// One case on a clock that it turns.
class CaseRun {
 public:
  explicit CaseRun(const json& one)
      : targets_(one.value("servers", std::vector<std::string>{"a"}), OptionsOf(one.value("options", json::object())),
                 [this] { return now_; }) {}

  void Step(const json& step) {
    if (step.contains("call")) {
      const double draw = step.value("draw", 0.5);
      const absl::Time deadline = now_ + absl::Seconds(step.value("deadline", 3600.0));
      calls_[step["call"]] = std::make_unique<RetriedCall>(&targets_, deadline, [draw] { return draw; });
    } else if (step.contains("begin")) {
      Begin(step["begin"], step);
    } else if (step.contains("refused")) {
      calls_.at(step["refused"])->Refused(Of(step["refused"], step), RefusalOf(step));
    } else if (step.contains("failed")) {
      calls_.at(step["failed"])->Failed(Of(step["failed"], step));
    } else if (step.contains("served")) {
      calls_.at(step["served"])->Served(Of(step["served"], step));
      Of(step["served"], step)->Finish();
    } else if (step.contains("lost")) {
      Of(step["lost"], step)->Finish();
    } else if (step.contains("hedge")) {
      Target* const target = calls_.at(step["hedge"])->BeginHedge();
      EXPECT_EQ(target == nullptr ? json() : json(target->address()), step["server"]);
    } else if (step.contains("wait")) {
      ExpectWait(calls_.at(step["wait"])->Wait(), step["seconds"]);
    } else if (step.contains("counts")) {
      ExpectCounts(step["counts"]);
    } else if (step.contains("sleep")) {
      now_ += absl::Seconds(step["sleep"].get<double>());
    } else if (step.contains("report")) {
      TargetAt(step["report"]).Report(step["requests"]);
    } else if (step.contains("state")) {
      ExpectState(step["state"], step["is"]);
    } else if (step.contains("repeat")) {
      Repeat(*calls_.at(step["repeat"]), step);
    } else {
      ADD_FAILURE() << "no such step";
    }
  }

 private:
  // The server whose attempt a step is about.
  Target* Of(const std::string& call, const json& step) {
    return step.contains("at") ? &TargetAt(step["at"]) : at_.at(call);
  }

  void Begin(const std::string& name, const json& step) {
    RetriedCall& call = *calls_.at(name);
    Target* const target = call.Begin();
    if (step.contains("server") && step["server"].is_null()) {
      EXPECT_EQ(target, nullptr);
      return;
    }
    ASSERT_NE(target, nullptr);
    at_[name] = target;
    if (step.contains("server")) {
      const json wanted = step["server"].is_array() ? step["server"] : json::array({step["server"]});
      EXPECT_NE(std::find(wanted.begin(), wanted.end(), target->address()), wanted.end()) << target->address();
    }
    if (step.contains("same")) {
      EXPECT_EQ(target->address(), named_.at(step["same"]));
    }
    if (step.contains("not")) {
      EXPECT_NE(target->address(), named_.at(step["not"]));
    }
    if (step.contains("as")) named_[step["as"]] = target->address();
    const std::string ticket = call.TakeTicket(target);
    EXPECT_EQ(ticket, step.value("ticket", ticket));
  }

  static void ExpectWait(std::optional<absl::Duration> wait, const json& seconds) {
    ASSERT_EQ(wait.has_value(), !seconds.is_null());
    if (wait.has_value()) {
      EXPECT_NEAR(absl::ToDoubleSeconds(*wait), seconds.get<double>(), 1e-6);
    }
  }

  void ExpectCounts(const json& wanted) {
    const CallCounts counts = targets_.counts();
    EXPECT_EQ(counts.calls, wanted.value("calls", 0));
    EXPECT_EQ(counts.attempts, wanted.value("attempts", 0));
    EXPECT_EQ(counts.hedges, wanted.value("hedges", 0));
  }

  void ExpectState(const std::string& address, const std::string& wanted) {
    static const std::map<Target::State, std::string> kNames = {
        {Target::State::kClosed, "closed"}, {Target::State::kOpen, "open"}, {Target::State::kHalfOpen, "half-open"}};
    EXPECT_EQ(kNames.at(TargetAt(address).state()), wanted);
  }

  Target& TargetAt(const std::string& address) {
    const auto& all = targets_.all();
    return **std::find_if(all.begin(), all.end(), [&](const auto& target) { return target->address() == address; });
  }

  void Repeat(RetriedCall& call, const json& step) {
    std::vector<absl::Duration> waits;
    while (true) {
      while (Target* const target = call.Begin()) {
        call.TakeTicket(target);
        call.Refused(target, RefusalOf(step));
      }
      const std::optional<absl::Duration> wait = call.Wait();
      if (!wait.has_value()) break;
      waits.push_back(*wait);
      now_ += *wait;
    }
    ASSERT_EQ(waits.size(), step["waits"].size());
    for (size_t i = 0; i < waits.size(); ++i) ExpectWait(waits[i], step["waits"][i]);
  }

  absl::Time now_ = absl::FromUnixSeconds(1000);
  Targets targets_;
  std::map<std::string, std::unique_ptr<RetriedCall>> calls_;
  std::map<std::string, std::string> named_;
  std::map<std::string, Target*> at_;
};

TEST(RetryCasesTest, AllCasesOfTheSharedTable) {
  json cases = Cases("cases");
  EXPECT_GE(cases.size(), 25u);
  for (const char* more : {"hedging", "sharing"}) {
    for (const json& one : Cases(more)) cases.push_back(one);
  }
  for (const json& one : cases) {
    CaseRun run(one);
    int number = 0;
    for (const json& step : one.at("steps")) {
      SCOPED_TRACE(one.at("name").get<std::string>() + ": step " + std::to_string(++number) + ", " + step.dump());
      run.Step(step);
      if (::testing::Test::HasFailure()) return;
    }
  }
}

}  // namespace
}  // namespace hadal::client
