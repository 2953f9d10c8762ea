// SPDX-License-Identifier: Apache-2.0
#include "server/service/grammar_service.h"

#include <sys/resource.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "server/base/strings.h"
#include "server/request/refusal.h"
#include "server/request/retry_spread.h"

namespace hadal::service {

namespace {

using request::Reason;

// Compilations beyond their time limit that go on without holding a lane.
constexpr int kSpareLanes = 6;
// What one client may have of the lanes and of the queue, as a divisor.
constexpr int kShare = 4;
// How long a refusal for slowness is believed when the grammar itself could not be kept; the machine may
// have been busy.
constexpr absl::Duration kSlowMemory = absl::Minutes(10);

}  // namespace

GrammarService::GrammarService(Options options)
    : options_(std::move(options)), metrics_(options_.metrics), cache_(options_.cache_bytes) {
  for (int i = 0; i < std::max(options_.threads, 1) + kSpareLanes; ++i) threads_.emplace_back([this] { Work(); });
  threads_.emplace_back([this] { Watch(); });
}

GrammarService::~GrammarService() {
  {
    base::MutexLock lock(&mutex_);
    stopping_ = true;
    work_.NotifyAll();
    watch_.NotifyAll();
  }
  for (std::thread& thread : threads_) thread.join();
  for (const auto& job : queue_) job->pending->Set(Busy("the server stops"));
}

absl::Status GrammarService::TooSlow() const {
  return request::MakeError(Reason::kInvalidRequest,
                            absl::StrCat("compiling it took longer than ", absl::FormatDuration(options_.time_limit),
                                         ": simplify the schema"));
}

absl::Status GrammarService::Busy(std::string_view why) const {
  return request::MakeBusy(Reason::kGrammarQueueFull, why, request::SpreadOut(absl::Seconds(1)));
}

std::shared_ptr<PendingGrammar> GrammarService::Get(const std::string& model_name,
                                                    std::shared_ptr<const grammar::GrammarCompiler> compiler,
                                                    grammar::GrammarSpec spec, const std::string& client) {
  const auto refused = [](absl::Status status) {
    return std::make_shared<PendingGrammar>(PendingGrammar::Result(std::move(status)));
  };
  std::string key = absl::StrCat(model_name, "\n", spec.Key());
  base::MutexLock lock(&mutex_);
  if (std::optional<GrammarCache::Result> known = cache_.Find(key, absl::Now()); known.has_value()) {
    Count(known->ok() ? GrammarMetrics::kHit : GrammarMetrics::kKnownRefusal);
    return std::make_shared<PendingGrammar>(PendingGrammar::Result(*std::move(known)));
  }
  if (const auto found = jobs_.find(key); found != jobs_.end()) {
    Count(found->second->late ? GrammarMetrics::kTooSlow : GrammarMetrics::kJoined);
    return found->second->pending;  // of a late one: the refusal
  }
  const size_t share = std::max<size_t>(1, options_.max_waiting / kShare);
  const auto mine = shares_.find(client);
  if (stopping_ || queue_.size() >= options_.max_waiting || (mine != shares_.end() && mine->second.waiting >= share)) {
    Count(GrammarMetrics::kBusy);
    return refused(queue_.size() >= options_.max_waiting
                       ? Busy(absl::StrCat(queue_.size(), "/", options_.max_waiting, " schemas wait to be compiled"))
                       : Busy(absl::StrCat("this client has ", share, "/", share, " schemas waiting to be compiled")));
  }
  Count(GrammarMetrics::kMiss);
  auto job = std::make_shared<Job>();
  job->key = std::move(key);
  job->client = client;
  job->compiler = std::move(compiler);
  job->spec = std::move(spec);
  job->deadline = Clock::now() + absl::ToChronoMicroseconds(options_.time_limit);
  jobs_[job->key] = job;
  ++shares_[client].waiting;
  queue_.push_back(job);
  watched_.push_back(job);
  work_.NotifyOne();
  watch_.NotifyOne();
  return job->pending;
}

std::shared_ptr<GrammarService::Job> GrammarService::TakeLocked() {
  const int threads = std::max(options_.threads, 1);
  if (lanes_used_ >= threads) return nullptr;
  const int share = std::max(1, (threads + kSpareLanes) / kShare);
  for (auto next = queue_.begin(); next != queue_.end(); ++next) {
    Share& mine = shares_[(*next)->client];
    if (mine.running >= share) continue;
    std::shared_ptr<Job> job = std::move(*next);
    queue_.erase(next);
    --mine.waiting;
    ++mine.running;
    ++lanes_used_;
    job->running = true;
    return job;
  }
  return nullptr;
}

void GrammarService::LeaveLocked(Job& job) {
  job.left = true;
  jobs_.erase(job.key);
  const auto mine = shares_.find(job.client);
  if (job.running) {
    --mine->second.running;
    --(job.spare ? spares_used_ : lanes_used_);
    work_.NotifyAll();  // one may have waited for the lane, another for the client's share
  } else {
    --mine->second.waiting;
  }
  if (mine->second.running == 0 && mine->second.waiting == 0) shares_.erase(mine);
}

void GrammarService::KeepLocked(const Job& job, const GrammarCache::Result& compiled) {
  if (compiled.ok()) {
    const bool kept = cache_.Insert(job.key, compiled);
    if (!kept && job.late) cache_.Insert(job.key, TooSlow(), absl::Now() + kSlowMemory);
  } else {
    cache_.Insert(job.key, compiled);
  }
  metrics_.cache_bytes.Get().Set(static_cast<double>(cache_.bytes()));
}

void GrammarService::Work() {
  // Compiling is worth less than decoding: on a CPU that does both, the engine goes first. 0 is this thread.
  setpriority(PRIO_PROCESS, 0, 10);
  while (true) {
    std::shared_ptr<Job> job;
    {
      base::MutexLock lock(&mutex_);
      while (!stopping_ && (job = TakeLocked()) == nullptr) work_.Wait(&mutex_);
      if (job == nullptr) return;
    }
    const Clock::time_point start = Clock::now();
    GrammarCache::Result compiled = job->compiler->Compile(job->spec);
    metrics_.compile_time.Get().Observe(std::chrono::duration<double>(Clock::now() - start).count());
    if (!compiled.ok()) {
      compiled = request::MakeError(Reason::kInvalidRequest,
                                    absl::StrCat("it cannot be compiled: ", compiled.status().message()));
      Count(GrammarMetrics::kRefused);
    }
    bool late = false;
    {
      base::MutexLock lock(&mutex_);
      late = job->late;
      KeepLocked(*job, compiled);
      LeaveLocked(*job);
    }
    if (!late) job->pending->Set(std::move(compiled));  // else Watch has counted it as too slow, and says so
  }
}

void GrammarService::Watch() {
  while (true) {
    std::shared_ptr<Job> job;
    bool ran = false;
    {
      base::MutexLock lock(&mutex_);
      while (!watched_.empty() && watched_.front()->left) watched_.pop_front();
      if (stopping_) return;
      if (watched_.empty()) {
        watch_.Wait(&mutex_);
        continue;
      }
      const auto left = watched_.front()->deadline - Clock::now();
      if (left > Clock::duration::zero()) {
        watch_.WaitFor(&mutex_, absl::FromChrono(left) + absl::Microseconds(1));
        continue;
      }
      job = std::move(watched_.front());
      watched_.pop_front();
      ran = job->running;
      if (ran) {
        job->late = true;  // stays among the jobs until it is done, so that nobody starts it again
        if (spares_used_ < kSpareLanes) {
          job->spare = true;
          ++spares_used_;
          --lanes_used_;
          work_.NotifyAll();
        }
      } else {
        std::erase(queue_, job);
        LeaveLocked(*job);
      }
    }
    Count(ran ? GrammarMetrics::kTooSlow : GrammarMetrics::kBusy);
    job->pending->Set(ran ? TooSlow() : Busy("the schema waited too long to be compiled"));
  }
}

int64_t GrammarService::cached_bytes() const {
  base::MutexLock lock(&mutex_);
  return cache_.bytes();
}

}  // namespace hadal::service
