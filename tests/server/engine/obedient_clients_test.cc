// SPDX-License-Identifier: Apache-2.0
// Clients that return when they are told, on a virtual clock, against the whole of admission and engine: what is
// promised must hold, under more load than can ever be served.
#include <cmath>
#include <cstdio>
#include <queue>
#include <random>

#include "gtest/gtest.h"
#include "server/engine/step_loop.h"
#include "tests/support/loop_fixture.h"
#include "tests/support/metric_value.h"

namespace hadal::engine {
namespace {

using admission::KeyQuality;
using hadal::testing::LoopFixture;
using hadal::testing::MetricValue;

constexpr absl::Duration kStep = absl::Milliseconds(20);
constexpr absl::Duration kRoundTrip = absl::Milliseconds(4);
constexpr int32_t kPromptTokens = 8;
constexpr int32_t kStopToken = 7;
constexpr double kCapacity = 100;  // requests a second: 32 places, answers of 16 tokens on average, 20 ms each

struct World {
  double load = 2;                        // of capacity
  bool whole_seconds = false;             // obey Retry-After, else retry-after-ms
  bool memory_limited = false;            // places in plenty, blocks for 32
  KeyQuality quality = KeyQuality::kOwn;  // of a return
  admission::SurplusRetry surplus = admission::SurplusRetry::kDeny;
  uint64_t seed = 1;
};

struct Outcome {
  int fresh = 0, served = 0, attempts_of_served = 0, most_attempts = 0;
  int served_in_crowd = 0, attempts_in_crowd = 0;  // of those, while fresh ones came
  int promises = 0, promised_returns = 0, promised_admitted = 0;
  double median_error = 0;  // of the estimates, by ghosts; the upper bound of its bucket
  double ghosts = 0, false_refusals = 0;
  double attempts_per_served() const { return 1.0 * attempts_of_served / served; }
  double attempts_per_served_in_crowd() const { return 1.0 * attempts_in_crowd / served_in_crowd; }
  double promises_kept() const { return 1.0 * promised_admitted / promised_returns; }
};

class Clients {
 public:
  explicit Clients(const World& world)
      : world_(world),
        f_({.blocks = 100000,
            .max_batch_size = world.memory_limited ? 256 : 32,
            .max_batch_tokens = 2048,
            .ledger_blocks = world.memory_limited ? 32 * 7 : 100000,
            .surplus_retry = world.surplus}),
        random_(world.seed) {
    // An answer is as long as the first token of its prompt says.
    f_.model.script = [](const std::vector<int32_t>& context) {
      return static_cast<int32_t>(context.size()) >= kPromptTokens + context.front() - 1 ? kStopToken : 11;
    };
    f_.model.on_wait = [this] {
      // What arrives while the step runs.
      const absl::Time end = f_.admission.clock.Now() + kStep;
      while (!arrivals_.empty() && arrivals_.top().at <= end) {
        const Arrival next = arrivals_.top();
        arrivals_.pop();
        if (next.at > Now()) f_.admission.clock.Advance(next.at - Now());
        Arrive(next);
      }
      f_.admission.clock.Advance(end - Now());
      return absl::OkStatus();
    };
  }

  Outcome Run(absl::Duration measured) {
    const absl::Time start = Now();
    measure_from_ = start + absl::Seconds(60);
    const absl::Time end = measure_from_ + measured;
    arrivals_.push({start});
    last_fresh_ = end;
    while (!arrivals_.empty() || !f_.loop->idle() || f_.admission.controller->GetLoad().waiting > 0) {
      f_.Round();
      ReadStreams();
      if (!ghosts_read_ && Now() >= last_fresh_) ReadGhosts();
      if (!f_.round.progressed) f_.admission.clock.Advance(absl::Milliseconds(1));
      if (f_.round.progressed || arrivals_.empty() || arrivals_.top().at > Now()) continue;
      const Arrival next = arrivals_.top();
      arrivals_.pop();
      Arrive(next);
    }
    f_.ExpectEmpty();
    return outcome_;
  }

 private:
  struct Arrival {
    absl::Time at;
    int client = -1;  // -1: a fresh one
    bool operator<(const Arrival& other) const { return at > other.at; }
  };
  struct Client {
    int32_t output_tokens = 0;
    int attempts = 0;
    bool measured = false;
    bool promised = false;  // by its last refusal
  };

  absl::Time Now() const { return f_.admission.clock.Now(); }

  void Arrive(const Arrival& arrival) {
    int index = arrival.client;
    if (index < 0) {
      index = static_cast<int>(clients_.size());
      Client& client = clients_.emplace_back();
      client.output_tokens = 1 + std::geometric_distribution<int>(1.0 / 16)(random_) % 200;
      client.measured = Now() >= measure_from_;
      outcome_.fresh += client.measured;
      const absl::Time next =
          Now() + absl::Seconds(std::exponential_distribution<double>(kCapacity * world_.load)(random_));
      if (next < last_fresh_) arrivals_.push({next});
    }
    Client& client = clients_[index];
    ++client.attempts;
    const absl::Status status = Submit(index, client);
    const bool was_promised = std::exchange(client.promised, false);
    if (was_promised && client.measured) {
      ++outcome_.promised_returns;
      outcome_.promised_admitted += status.ok();
    }
    if (status.ok()) {
      if (!client.measured) return;
      ++outcome_.served;
      outcome_.attempts_of_served += client.attempts;
      if (Now() < last_fresh_) {
        ++outcome_.served_in_crowd;
        outcome_.attempts_in_crowd += client.attempts;
      }
      outcome_.most_attempts = std::max(outcome_.most_attempts, client.attempts);
      return;
    }
    const request::ErrorDetail detail = request::GetErrorDetail(status);
    client.promised = detail.promised;
    outcome_.promises += client.measured && detail.promised;
    if (!detail.should_retry) return;
    const absl::Duration wait =
        world_.whole_seconds ? absl::Ceil(*detail.retry_after, absl::Seconds(1)) : *detail.retry_after;
    arrivals_.push({Now() + wait + kRoundTrip, index});
  }

  absl::Status Submit(int index, const Client& client) {
    auto request = LoopFixture::MakeRequest(std::vector<int32_t>(kPromptTokens, client.output_tokens), 400);
    request->stop_token_ids = {kStopToken};
    request->arrival = Now();
    request->cache_salt = static_cast<uint64_t>(index) + 1;
    admission::AdmissionRequest arrival;
    arrival.retry.attempt = client.attempts - 1;
    arrival.retry.quality = world_.quality;
    arrival.retry.key = world_.quality == KeyQuality::kOwn ? static_cast<uint64_t>(index) + 1 : 1;
    if (world_.quality == KeyQuality::kRetry && client.attempts == 1) arrival.retry.quality = KeyQuality::kFirst;
    admission::AdmissionController& controller = *f_.admission.controller;
    absl::StatusOr<admission::Ticket> ticket = controller.TryAdmit(arrival);
    if (!ticket.ok()) return ticket.status();
    if (absl::Status status = ticket->Finalize(*request, 0); !status.ok()) return status;
    auto stream = request->stream;
    if (absl::Status status = controller.Enqueue(0, std::move(request), *std::move(ticket)); !status.ok()) {
      return status;
    }
    streams_.push_back(std::move(stream));
    return absl::OkStatus();
  }

  void ReadGhosts() {
    ghosts_read_ = true;
    base::MetricRegistry& metrics = f_.admission.metrics;
    outcome_.ghosts = MetricValue(metrics, "hadal_retry_ghosts_total");
    outcome_.false_refusals = MetricValue(metrics, "hadal_false_refusals_total");
    const auto below = [&](const std::string& bound) {
      double count = 0;
      for (const char* side : {"early", "late"}) {
        count += MetricValue(
            metrics, "hadal_retry_after_error_ratio_bucket{side=\"" + std::string(side) + "\",le=\"" + bound + "\"}");
      }
      return count;
    };
    const double all = below("+Inf");
    outcome_.median_error = 100;
    for (const char* bound : {"2", "1", "0.75", "0.5", "0.3", "0.2", "0.15", "0.1", "0.05", "0.02"}) {
      if (below(bound) >= all / 2) outcome_.median_error = std::atof(bound);
    }
  }

  void ReadStreams() {
    std::erase_if(streams_, [](const std::shared_ptr<request::TokenStream>& stream) { return stream->Read().closed; });
  }

  const World world_;
  LoopFixture f_;
  std::mt19937_64 random_;
  std::priority_queue<Arrival> arrivals_;
  std::vector<Client> clients_;
  std::vector<std::shared_ptr<request::TokenStream>> streams_;
  absl::Time measure_from_, last_fresh_;
  bool ghosts_read_ = false;  // when the load ends: then the server comes to rest
  Outcome outcome_;
};

Outcome Simulate(const char* name, const World& world, absl::Duration measured = absl::Seconds(60)) {
  const Outcome outcome = Clients(world).Run(measured);
  std::printf(
      "%-28s fresh %d served %d, %.3f attempts a served request (at most %d), %d promises, %.3f kept, median error "
      "%.2f, %.0f of %.0f ghosts false\n",
      name, outcome.fresh, outcome.served, outcome.attempts_per_served(), outcome.most_attempts, outcome.promises,
      outcome.promises_kept(), outcome.median_error, outcome.false_refusals, outcome.ghosts);
  return outcome;
}

void ExpectGoals(const Outcome& outcome, int least_returns = 500) {
  EXPECT_LE(outcome.attempts_per_served(), 1.2);
  EXPECT_GE(outcome.promises_kept(), 0.95);
  EXPECT_GT(outcome.promised_returns, least_returns);
  EXPECT_LE(outcome.median_error, 0.2);
  EXPECT_LE(outcome.false_refusals, 0.02 * outcome.ghosts);
  EXPECT_GT(outcome.ghosts, 100);
}

TEST(ObedientClientsTest, TwiceTheLoad) { ExpectGoals(Simulate("2x", {})); }
TEST(ObedientClientsTest, FiveTimesTheLoad) { ExpectGoals(Simulate("5x", {.load = 5})); }
TEST(ObedientClientsTest, WholeSeconds) { ExpectGoals(Simulate("2x, whole seconds", {.whole_seconds = true})); }
TEST(ObedientClientsTest, WhoOnlySaysThatItReturns) {
  // Fewer are promised: others of the crowd are reckoned with.
  ExpectGoals(Simulate("5x, shared keys", {.load = 5, .quality = KeyQuality::kRetry}), /*least_returns=*/300);
}
TEST(ObedientClientsTest, MemoryIsTheLimit) { ExpectGoals(Simulate("2x, memory", {.memory_limited = true})); }
TEST(ObedientClientsTest, MemoryIsTheLimitInWholeSeconds) {
  ExpectGoals(Simulate("5x, memory, whole seconds", {.load = 5, .whole_seconds = true, .memory_limited = true}));
}
TEST(ObedientClientsTest, SurplusReturnsOnce) {
  const Outcome outcome = Simulate("2x, surplus returns once", {.surplus = admission::SurplusRetry::kOnce});
  EXPECT_GE(outcome.promises_kept(), 0.95);
  // Who was told that no capacity is in sight does not take it from first attempts, and has it when the crowd has gone.
  EXPECT_LE(outcome.attempts_per_served_in_crowd(), 1.2);
  // Only who finds no place although one was promised comes a third time.
  EXPECT_LE(outcome.most_attempts, outcome.promises_kept() < 1 ? 3 : 2);
  EXPECT_GE(outcome.served, outcome.served_in_crowd + 1000);
}

}  // namespace
}  // namespace hadal::engine
