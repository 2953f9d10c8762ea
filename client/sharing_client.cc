// SPDX-License-Identifier: Apache-2.0
#include "client/sharing_client.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "client/digest.h"
#include "client/requests.h"
#include "client/results.h"
#include "client/run_soon.h"

namespace hadal::client {
namespace {

// An answer that is there: a piece for each choice, unless it is wanted `whole`, and the end.
class KeptGeneration final : public Generation {
 public:
  KeptGeneration(GenerationResult result, bool whole) : result_(std::move(result)) {
    if (!whole) pieces_ = ResponsesOf(result_);
  }

  void Next(Then then) override {
    std::optional<Piece> piece;
    {
      base::MutexLock lock(&mutex_);
      if (next_ < pieces_.size()) piece = PieceOf(pieces_[next_++]);
    }
    RunSoon([then = std::move(then), piece = std::move(piece)] { then(piece); });
  }
  void Cancel() override {
    base::MutexLock lock(&mutex_);
    if (std::exchange(next_, pieces_.size()) < pieces_.size()) cancelled_ = true;
  }
  void EndThinking(std::function<void(absl::Status)> done) override {
    RunSoon([done = std::move(done)] { done(absl::NotFoundError("the chat has no reasoning_control")); });
  }
  absl::StatusOr<GenerationResult> result() const override {
    base::MutexLock lock(&mutex_);
    if (cancelled_) return absl::CancelledError("cancelled");
    if (next_ < pieces_.size()) return absl::FailedPreconditionError("the response has not ended");
    return result_;
  }

 private:
  const GenerationResult result_;
  std::vector<v1::GenerateResponse> pieces_;
  mutable base::Mutex mutex_;
  size_t next_ ABSL_GUARDED_BY(mutex_) = 0;
  bool cancelled_ ABSL_GUARDED_BY(mutex_) = false;
};

// Whether the caller wants what this client has kept: one who tells the server's cache what to do means this one, too.
bool WantsKept(const GenerationOptions& options) {
  return options.response_cache.empty() || options.response_cache == "use";
}

// Whether a call may share the answer of another one, which waits and is treated as its own options say.
bool MayJoin(const GenerationOptions& options) {
  return options.may_queue && options.allow_degraded && options.first_token_within == absl::InfiniteDuration();
}

// Servers may have other models under the same name, and keys other rights.
std::string CallerOf(const ChannelOptions& options) {
  std::vector<std::string> servers = options.targets;
  std::sort(servers.begin(), servers.end());
  return Digest({options.api_key, options.tls_certificate, absl::StrJoin(servers, "\n")});
}

}  // namespace

SharingClient::SharingClient(std::unique_ptr<Client> inner, const ChannelOptions& options,
                             std::unique_ptr<ResponseCache> cache)
    : inner_(std::move(inner)),
      identity_(CallerOf(options)),
      deadline_(options.deadline),
      coalesce_(options.coalesce),
      state_(std::make_shared<State>()) {
  state_->cache = std::move(cache);
}

std::unique_ptr<Generation> SharingClient::StartChat(const ChatOptions& options) {
  return Share(options, [&] { return inner_->StartChat(options); });
}

std::unique_ptr<Generation> SharingClient::StartCompletion(const CompletionOptions& options) {
  return Share(options, [&] { return inner_->StartCompletion(options); });
}

template <typename Options, typename Start>
std::unique_ptr<Generation> SharingClient::Share(const Options& options, const Start& start) {
  if (!WantsKept(options)) return start();
  const bool coalesce = coalesce_ && MayJoin(options);
  const std::optional<std::string> key = AnswerKey(identity_, RequestOf(options));
  if (!key.has_value()) return start();
  const absl::Time now = absl::Now();
  if (state_->cache != nullptr) {
    if (std::optional<GenerationResult> kept = state_->cache->Find(*key, now)) {
      return std::make_unique<KeptGeneration>(*std::move(kept), options.whole);
    }
  }
  const absl::Duration deadline = std::min(deadline_, options.deadline);
  const FlightKey flight_key(*key, options.priority, deadline, options.whole);
  std::shared_ptr<SharedGeneration> replaced;  // its end may want the lock
  base::MutexLock lock(&state_->mutex);
  if (coalesce) {
    const auto found = state_->flights.find(flight_key);
    // Who joins takes the deadline of the first: a call that has used up half of it is left alone.
    if (found != state_->flights.end() && now - found->second.began < deadline / 2) {
      if (std::unique_ptr<Generation> reader = found->second.generation->AddReader()) return reader;
    }
  }
  const auto on_end = [state = std::weak_ptr<State>(state_), key = *key, flight_key,
                       now](const absl::StatusOr<GenerationResult>& result) {
    const std::shared_ptr<State> still = state.lock();
    if (still == nullptr) return;
    if (still->cache != nullptr && result.ok()) still->cache->Add(key, *result, absl::Now());
    base::MutexLock lock(&still->mutex);
    const auto found = still->flights.find(flight_key);
    if (found != still->flights.end() && found->second.began == now) still->flights.erase(found);
  };
  auto generation = std::make_shared<SharedGeneration>(start(), on_end);
  std::unique_ptr<Generation> reader = generation->AddReader();
  if (coalesce) {
    Flight& flight = state_->flights[flight_key];
    replaced = std::exchange(flight.generation, std::move(generation));
    flight.began = now;
  }
  return reader;
}

}  // namespace hadal::client
