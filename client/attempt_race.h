// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "client/retry.h"

namespace hadal::client {

// The attempts of one call that are under way: one, or two while a hedge runs beside the one that is slow. The one
// whose answer begins first is final, and the other is lost; after that there is none besides. An attempt is named by
// its context, which the race keeps until the attempt is taken out. Not thread-safe.
class AttemptRace {
 public:
  struct Attempt {
    Target* target = nullptr;
    std::shared_ptr<grpc::ClientContext> context;
    absl::Time began;
    bool hedge = false;
  };
  struct Outcome {
    bool hedge = false;                                        // it was the second one that won
    absl::Time began;                                          // the first of them
    std::vector<std::shared_ptr<grpc::ClientContext>> losers;  // to be cancelled
  };

  void Add(Attempt attempt) { running_.push_back(std::move(attempt)); }
  // That attempt is final from now on. Nullopt: it is not one of those that run.
  std::optional<Outcome> Settle(const grpc::ClientContext* context);
  // No attempt is final any more: that one's answer broke off.
  void Reopen() { winner_ = nullptr; }

  const grpc::ClientContext* winner() const { return winner_; }
  // The server of the last attempt that was final; null: there was none.
  Target* winner_target() const { return winner_target_; }
  // Whether that attempt runs alone and nothing has come of it.
  bool Alone(const grpc::ClientContext* context) const {
    return winner_ == nullptr && running_.size() == 1 && running_[0].context.get() == context;
  }
  bool empty() const { return running_.empty(); }
  std::vector<std::shared_ptr<grpc::ClientContext>> running() const;

  // An attempt that has ended, taken out. Nullopt: it is not one of these.
  std::optional<Attempt> TakeRunning(const grpc::ClientContext* context) { return Take(context, &running_); }
  std::optional<Attempt> TakeLost(const grpc::ClientContext* context) { return Take(context, &lost_); }

 private:
  static std::optional<Attempt> Take(const grpc::ClientContext* context, std::vector<Attempt>* from);

  std::vector<Attempt> running_;
  std::vector<Attempt> lost_;  // that were cancelled because of another one, and have not ended
  const grpc::ClientContext* winner_ = nullptr;
  Target* winner_target_ = nullptr;
};

}  // namespace hadal::client
