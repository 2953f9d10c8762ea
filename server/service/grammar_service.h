// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <unordered_map>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "base/sync.h"
#include "models/grammar/grammar_compiler.h"
#include "server/service/grammar_cache.h"
#include "server/service/grammar_metrics.h"
#include "server/service/grammar_options.h"
#include "server/service/pending_grammar.h"

namespace hadal::service {

// Compiles grammars on dedicated threads, so that neither the engine nor a front end's worker waits. Equal grammars are
// compiled once, even if they are requested concurrently.
//
// A compilation cannot be interrupted: one that exceeds the time limit is reported as refused and continues in a spare
// lane, so that its lane is free for others. Its result serves later calls; if it is too large to cache, the refusal is
// cached. Refused grammars are not compiled again either.
//
// Each client (its tenant, else its network) gets at most a quarter of the lanes and of the queue. Further requests
// wait or are refused, so that a client's slow schemas only affect that client. Thread-safe.
class GrammarService {
 public:
  using Options = GrammarOptions;

  explicit GrammarService(Options options);
  ~GrammarService();  // waits for the compilations that run

  // The grammar of `spec` for the tokens of the model `model_name`. Returns at once. Results: the grammar;
  // INVALID_REQUEST when it cannot be compiled or took too long; GRAMMAR_QUEUE_FULL when too much waits, of `client` or
  // of all, or it waited for too long.
  std::shared_ptr<PendingGrammar> Get(const std::string& model_name,
                                      std::shared_ptr<const grammar::GrammarCompiler> compiler,
                                      grammar::GrammarSpec spec, const std::string& client);

  // Counts a grammar that was refused before it got here.
  void CountRefused() { metrics_.requests.At(GrammarMetrics::kRefused).Increment(); }

  const Options& options() const { return options_; }
  int64_t cached_bytes() const;

 private:
  using Clock = std::chrono::steady_clock;
  struct Job {
    std::string key;
    std::string client;
    std::shared_ptr<const grammar::GrammarCompiler> compiler;
    grammar::GrammarSpec spec;
    std::shared_ptr<PendingGrammar> pending = std::make_shared<PendingGrammar>();
    Clock::time_point deadline;
    bool running = false;
    bool late = false;
    bool spare = false;  // has moved to a spare lane
    bool left = false;   // its place is free again: all that is left is to tell its callers
  };
  // Jobs of one client.
  struct Share {
    size_t waiting = 0;
    int running = 0;
  };

  void Work();
  // The next job to run, null when there is none or no lane for it.
  std::shared_ptr<Job> TakeLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Keeps the result of a job that ran, for later calls.
  void KeepLocked(const Job& job, const GrammarCache::Result& compiled) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void LeaveLocked(Job& job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Watch();
  void Count(GrammarMetrics::Result result) { metrics_.requests.At(result).Increment(); }
  absl::Status TooSlow() const;
  absl::Status Busy(std::string_view why) const;

  const Options options_;
  GrammarMetrics metrics_;
  mutable base::Mutex mutex_;
  base::CondVar work_, watch_;
  GrammarCache cache_ ABSL_GUARDED_BY(mutex_);
  std::deque<std::shared_ptr<Job>> queue_ ABSL_GUARDED_BY(mutex_);
  std::deque<std::shared_ptr<Job>> watched_ ABSL_GUARDED_BY(mutex_);                    // by deadline
  std::unordered_map<std::string, std::shared_ptr<Job>> jobs_ ABSL_GUARDED_BY(mutex_);  // waiting or running
  std::unordered_map<std::string, Share> shares_ ABSL_GUARDED_BY(mutex_);               // of clients with jobs
  int lanes_used_ ABSL_GUARDED_BY(mutex_) = 0;                                          // at most options_.threads
  int spares_used_ ABSL_GUARDED_BY(mutex_) = 0;                                         // at most kSpareLanes
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_;
};

}  // namespace hadal::service
