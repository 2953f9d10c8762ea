// SPDX-License-Identifier: Apache-2.0
#include "client/complete_all.h"

#include <algorithm>
#include <future>
#include <memory>
#include <optional>
#include <unordered_map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/sync.h"
#include "client/requests.h"
#include "client/response_cache.h"

namespace hadal::client {
namespace {

// Runs calls 0 to `count` - 1, so many at once; keeps itself until they have ended.
template <typename T>
class Crowd : public std::enable_shared_from_this<Crowd<T>> {
 public:
  using Results = std::vector<absl::StatusOr<T>>;
  using Begin = std::function<void(size_t call, std::function<void(absl::StatusOr<T>)> done)>;

  Crowd(size_t count, Begin begin, std::function<void(Results)> done)
      : begin_(std::move(begin)), done_(std::move(done)), left_(count), results_(count, absl::UnknownError("")) {}

  void Start(int max_in_flight) {
    const size_t first = std::min(results_count(), static_cast<size_t>(std::max(max_in_flight, 1)));
    if (first == 0) return done_({});
    {
      base::MutexLock lock(&mutex_);
      next_ = first;
    }
    for (size_t i = 0; i < first; ++i) Run(i);
  }

 private:
  size_t results_count() {
    base::MutexLock lock(&mutex_);
    return results_.size();
  }

  void Run(size_t call) {
    begin_(call,
           [self = this->shared_from_this(), call](absl::StatusOr<T> result) { self->Ended(call, std::move(result)); });
  }

  void Ended(size_t call, absl::StatusOr<T> result) {
    std::optional<size_t> next;
    Results all;
    bool last = false;
    {
      base::MutexLock lock(&mutex_);
      results_[call] = std::move(result);
      last = --left_ == 0;
      if (last) all = std::move(results_);
      if (!last && next_ < results_.size()) next = next_++;
    }
    if (next.has_value()) Run(*next);
    if (last) done_(std::move(all));
  }

  const Begin begin_;
  const std::function<void(Results)> done_;
  base::Mutex mutex_;
  size_t next_ ABSL_GUARDED_BY(mutex_) = 0;
  size_t left_ ABSL_GUARDED_BY(mutex_);
  Results results_ ABSL_GUARDED_BY(mutex_);
};

// Reads a response to its end.
class Reading : public std::enable_shared_from_this<Reading> {
 public:
  using Done = std::function<void(absl::StatusOr<GenerationResult>)>;

  Reading(std::unique_ptr<Generation> generation, Done done)
      : generation_(std::move(generation)), done_(std::move(done)) {}

  void Next() {
    generation_->Next([self = shared_from_this()](std::optional<Piece> piece) {
      if (piece.has_value()) return self->Next();
      self->done_(self->generation_->result());
    });
  }

 private:
  const std::unique_ptr<Generation> generation_;
  const Done done_;
};

// Which call each one takes its result from: itself, or the first one that is equal and determined.
std::vector<size_t> FirstEqual(const std::vector<CompletionOptions>& calls) {
  std::unordered_map<std::string, size_t> by_key;
  std::vector<size_t> first(calls.size());
  for (size_t i = 0; i < calls.size(); ++i) {
    const std::optional<std::string> key =
        AnswerKey(absl::StrCat(calls[i].priority, "\n", calls[i].response_cache), RequestOf(calls[i]));
    first[i] = key.has_value() ? by_key.emplace(*key, i).first->second : i;
  }
  return first;
}

template <typename T, typename Start>
T Await(const Start& start) {
  std::promise<T> promise;
  start([&promise](T value) { promise.set_value(std::move(value)); });
  return promise.get_future().get();
}

}  // namespace

void StartCompleteAll(Client& client, std::vector<CompletionOptions> calls, int max_in_flight,
                      std::function<void(Completions)> done) {
  const std::vector<size_t> first = FirstEqual(calls);
  for (CompletionOptions& call : calls) call.whole = true;
  std::vector<size_t> to_run, place(calls.size());
  for (size_t i = 0; i < calls.size(); ++i) {
    if (first[i] == i) to_run.push_back(i);
    place[i] = first[i] == i ? to_run.size() - 1 : place[first[i]];
  }
  const size_t count = to_run.size();
  auto begin = [&client, calls = std::move(calls), to_run = std::move(to_run)](size_t call, Reading::Done ended) {
    std::make_shared<Reading>(client.StartCompletion(calls[to_run[call]]), std::move(ended))->Next();
  };
  auto spread = [place, done = std::move(done)](Completions results) {
    Completions all;
    for (const size_t i : place) all.push_back(results[i]);
    done(std::move(all));
  };
  std::make_shared<Crowd<GenerationResult>>(count, std::move(begin), std::move(spread))->Start(max_in_flight);
}

void StartTokenizeAll(Client& client, std::vector<std::string> texts, int max_in_flight,
                      std::function<void(Tokens)> done) {
  const size_t count = texts.size();
  auto begin = [&client, texts = std::move(texts)](size_t call, Client::Done<std::vector<int32_t>> ended) {
    client.StartTokenize(texts[call], std::move(ended));
  };
  std::make_shared<Crowd<std::vector<int32_t>>>(count, std::move(begin), std::move(done))->Start(max_in_flight);
}

Completions CompleteAll(Client& client, std::vector<CompletionOptions> calls, int max_in_flight) {
  return Await<Completions>(
      [&](auto done) { StartCompleteAll(client, std::move(calls), max_in_flight, std::move(done)); });
}

Tokens TokenizeAll(Client& client, std::vector<std::string> texts, int max_in_flight) {
  return Await<Tokens>([&](auto done) { StartTokenizeAll(client, std::move(texts), max_in_flight, std::move(done)); });
}

}  // namespace hadal::client
