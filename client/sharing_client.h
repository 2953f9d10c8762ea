// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"
#include "base/sync.h"
#include "client/client.h"
#include "client/response_cache.h"
#include "client/shared_generation.h"

namespace hadal::client {

// A client in front of another one that asks once for what is determined: answers come from the cache, and equal calls
// share the one that is under way. Everything else is passed on. Thread-safe.
class SharingClient final : public Client {
 public:
  // Of `options`: who calls, where, and whether calls are shared. `cache` may be null.
  SharingClient(std::unique_ptr<Client> inner, const ChannelOptions& options, std::unique_ptr<ResponseCache> cache);

  std::unique_ptr<Generation> StartChat(const ChatOptions& options) override;
  std::unique_ptr<Generation> StartCompletion(const CompletionOptions& options) override;

  void StartTokenize(const TokenizeOptions& options, Done<TokenizeResult> done) override {
    inner_->StartTokenize(options, std::move(done));
  }
  void StartDetokenize(const DetokenizeOptions& options, Done<std::string> done) override {
    inner_->StartDetokenize(options, std::move(done));
  }
  void StartListModels(Done<std::vector<ModelDescription>> done) override { inner_->StartListModels(std::move(done)); }
  absl::StatusOr<std::vector<Load>> GetLoad(absl::Duration timeout) override { return inner_->GetLoad(timeout); }
  CallCounts counts() const override { return inner_->counts(); }
  absl::Status WarmUp(absl::Duration timeout) override { return inner_->WarmUp(timeout); }

 private:
  // A call that others may join: its key, and what decides when it is answered, given up, and asked again.
  using FlightKey = std::tuple<std::string, std::string, absl::Duration, bool>;
  struct Flight {
    std::shared_ptr<SharedGeneration> generation;
    absl::Time began;
  };
  // Of the calls that are under way, which may outlive the client.
  struct State {
    std::unique_ptr<ResponseCache> cache;
    base::Mutex mutex;
    std::map<FlightKey, Flight> flights ABSL_GUARDED_BY(mutex);
  };

  template <typename Options, typename Start>
  std::unique_ptr<Generation> Share(const Options& options, const Start& start);

  const std::unique_ptr<Client> inner_;
  const std::string identity_;
  const absl::Duration deadline_;
  const bool coalesce_;
  const std::shared_ptr<State> state_;
};

}  // namespace hadal::client
