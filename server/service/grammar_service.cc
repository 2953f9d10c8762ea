// SPDX-License-Identifier: Apache-2.0
#include "server/service/grammar_service.h"

#include <sys/resource.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/base/strings.h"
#include "server/request/refusal.h"

namespace hadal::service {

using request::Reason;

GrammarService::GrammarService(Options options)
    : options_(std::move(options)), metrics_(options_.metrics), cache_(options_.cache_bytes) {
  for (int i = 0; i < std::max(options_.threads, 1); ++i) threads_.emplace_back([this] { Work(); });
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
  for (const auto& job : queue_) job->pending->Set(Busy());
}

PendingGrammar::Result GrammarService::TooSlow() const {
  return request::MakeError(Reason::kInvalidRequest,
                            absl::StrCat("compiling it took longer than ", absl::FormatDuration(options_.time_limit),
                                         ": simplify the schema"));
}

PendingGrammar::Result GrammarService::Busy() const {
  return request::MakeBusy(Reason::kConnectionQueueFull, "too many schemas are being compiled", absl::Seconds(1));
}

std::shared_ptr<PendingGrammar> GrammarService::Get(const std::string& model_name,
                                                    std::shared_ptr<const grammar::GrammarCompiler> compiler,
                                                    grammar::GrammarSpec spec) {
  std::string key = absl::StrCat(model_name, "\n", spec.Key());
  base::MutexLock lock(&mutex_);
  if (auto cached = cache_.Find(key); cached != nullptr) {
    Count(GrammarMetrics::kHit);
    return std::make_shared<PendingGrammar>(PendingGrammar::Result(std::move(cached)));
  }
  if (const auto found = jobs_.find(key); found != jobs_.end()) {
    Count(found->second->late ? GrammarMetrics::kTooSlow : GrammarMetrics::kJoined);
    return found->second->pending;  // of a late one: the refusal
  }
  if (stopping_ || queue_.size() >= options_.max_waiting) {
    Count(GrammarMetrics::kBusy);
    return std::make_shared<PendingGrammar>(Busy());
  }
  Count(GrammarMetrics::kMiss);
  auto job = std::make_shared<Job>();
  job->key = std::move(key);
  job->compiler = std::move(compiler);
  job->spec = std::move(spec);
  job->deadline = Clock::now() + absl::ToChronoMicroseconds(options_.time_limit);
  jobs_[job->key] = job;
  queue_.push_back(job);
  watched_.push_back(job);
  work_.NotifyOne();
  watch_.NotifyOne();
  return job->pending;
}

void GrammarService::Work() {
  // Compiling is worth less than decoding: on a CPU that does both, the engine goes first. 0 is this thread.
  setpriority(PRIO_PROCESS, 0, 10);
  while (true) {
    std::shared_ptr<Job> job;
    {
      base::MutexLock lock(&mutex_);
      while (!stopping_ && queue_.empty()) work_.Wait(&mutex_);
      if (stopping_) return;
      job = std::move(queue_.front());
      queue_.pop_front();
      job->running = true;
    }
    const Clock::time_point start = Clock::now();
    absl::StatusOr<std::shared_ptr<const grammar::CompiledGrammar>> compiled = job->compiler->Compile(job->spec);
    metrics_.compile_time.Get().Observe(std::chrono::duration<double>(Clock::now() - start).count());
    {
      base::MutexLock lock(&mutex_);
      jobs_.erase(job->key);
      if (compiled.ok()) cache_.Insert(job->key, *compiled);
      metrics_.cache_bytes.Get().Set(static_cast<double>(cache_.bytes()));
    }
    if (compiled.ok()) {
      job->pending->Set(PendingGrammar::Result(*std::move(compiled)));
    } else {
      Count(GrammarMetrics::kRefused);
      job->pending->Set(request::MakeError(Reason::kInvalidRequest,
                                           absl::StrCat("it cannot be compiled: ", compiled.status().message())));
    }
  }
}

void GrammarService::Watch() {
  while (true) {
    std::shared_ptr<Job> job;
    bool ran = false;
    {
      base::MutexLock lock(&mutex_);
      while (!watched_.empty() && watched_.front()->pending->ready()) watched_.pop_front();
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
      } else {
        std::erase(queue_, job);
        jobs_.erase(job->key);
      }
    }
    Count(ran ? GrammarMetrics::kTooSlow : GrammarMetrics::kBusy);
    job->pending->Set(ran ? TooSlow() : Busy());
  }
}

int64_t GrammarService::cached_bytes() const {
  base::MutexLock lock(&mutex_);
  return cache_.bytes();
}

}  // namespace hadal::service
