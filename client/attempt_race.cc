// SPDX-License-Identifier: Apache-2.0
#include "client/attempt_race.h"

#include <algorithm>
#include <utility>

namespace hadal::client {
namespace {

std::vector<AttemptRace::Attempt>::const_iterator Find(const std::vector<AttemptRace::Attempt>& attempts,
                                                       const grpc::ClientContext* context) {
  return std::find_if(attempts.begin(), attempts.end(),
                      [&](const AttemptRace::Attempt& one) { return one.context.get() == context; });
}

}  // namespace

std::optional<AttemptRace::Outcome> AttemptRace::Settle(const grpc::ClientContext* context) {
  if (Find(running_, context) == running_.end()) return std::nullopt;
  Outcome outcome{.hedge = false, .began = absl::InfiniteFuture(), .losers = {}};
  std::vector<Attempt> all = std::exchange(running_, {});
  for (Attempt& attempt : all) {
    outcome.began = std::min(outcome.began, attempt.began);
    if (attempt.context.get() == context) {
      outcome.hedge = attempt.hedge;
      winner_target_ = attempt.target;
      running_.push_back(std::move(attempt));
    } else {
      outcome.losers.push_back(attempt.context);
      lost_.push_back(std::move(attempt));
    }
  }
  winner_ = context;
  return outcome;
}

std::vector<std::shared_ptr<grpc::ClientContext>> AttemptRace::running() const {
  std::vector<std::shared_ptr<grpc::ClientContext>> contexts;
  for (const Attempt& attempt : running_) contexts.push_back(attempt.context);
  return contexts;
}

std::optional<AttemptRace::Attempt> AttemptRace::Take(const grpc::ClientContext* context, std::vector<Attempt>* from) {
  const auto found = Find(*from, context);
  if (found == from->end()) return std::nullopt;
  std::optional<Attempt> attempt = *found;
  from->erase(found);
  return attempt;
}

}  // namespace hadal::client
