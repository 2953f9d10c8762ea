// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"
#include "base/sync.h"
#include "server/base/clock.h"
#include "server/batches/batch_metrics.h"
#include "server/batches/batch_store.h"
#include "server/batches/input_reader.h"
#include "server/batches/line_executor.h"
#include "server/batches/send_window.h"

namespace hadal::batches {

// Gets the lines of all batches answered, on its own thread:
//
//   kValidating   reads the input piece by piece; its lines go into the store, or the batch fails with the errors found
//   kInProgress   sends lines, batches in turn, as many at a time as SendWindow allows
//   kCancelling   cancels running lines and ends the batch; the same happens at the end of the completion window
//
// A line that was refused, or interrupted by the server's shutdown, waits as long as the refusal says and is sent
// again; a tenant's quota only delays that tenant. An answered line counts once it is in the store, with its result, in
// a single write; while the store accepts no writes, results are kept and no further line is sent. Whenever the process
// ends, the next one therefore finds each line either waiting or ended, and sends the waiting ones.
//
// If replicas share the store, the runner takes only as many lines as it may send at once, reports regularly that it is
// still working on them, and checks every second what the others did: batches that are new, cancelled or ended, and
// lines that were taken over.
//
// Thread-safe. Borrows store and executor, which outlive it.
class BatchRunner {
 public:
  struct Options {
    BatchStore* store = nullptr;
    LineExecutor* executor = nullptr;
    BatchMetrics* metrics = nullptr;
    base::Clock* clock = nullptr;
    std::function<int64_t()> unix_seconds;  // wall clock
  };

  explicit BatchRunner(Options options);
  ~BatchRunner() { Stop(); }
  BatchRunner(const BatchRunner&) = delete;
  BatchRunner& operator=(const BatchRunner&) = delete;

  // A batch was created, or is to be cancelled.
  void Wake();
  // Sends no further lines; running ones may finish.
  void BeginDrain();
  // Cancels running lines, which stay waiting in the store; joins. Idempotent.
  void Stop();

 private:
  // How often a shared store is checked.
  static constexpr absl::Duration kLookEvery = absl::Seconds(1);

  struct Line {
    WaitingLine at;
    int attempts = 0;
    std::string ticket;
  };
  struct Batch {
    StoredBatch row;
    std::unique_ptr<InputReader> reader;  // while it is validated
    int64_t read_to = 0;                  // of its input, as FileTable::Read counts
    std::deque<Line> ready;               // waiting, taken from the store
    int64_t taken_to = 0;                 // the last line that was taken
    bool all_taken = false;
    absl::Time ask_at;  // a shared store is not asked earlier for lines, or to read the input,
    absl::Time end_at;  // nor whether the others have ended theirs
    int in_flight = 0;
  };
  struct Attempt {
    int64_t batch = 0;
    Line line;
    absl::Time sent;
    std::unique_ptr<RunningLine> running;
    std::optional<EndedLine> ended;  // not in the store yet
  };
  struct News {
    bool stop = false;
    bool changed = false;         // batches were made or cancelled
    std::set<uint64_t> attempts;  // that have something to read
  };

  void Loop();
  News Await(absl::Time until);
  // False when the store fails: they are read again then.
  bool ReadBatches();
  void ReadAttempt(uint64_t id);
  void PutBack(Attempt attempt, const absl::Status& refusal);
  // Writes what has ended; false when the store did not take it.
  bool WriteEnded();
  // One step of a batch's life. True: there is more to do at once.
  bool Step(Batch& batch);
  bool Validate(Batch& batch);
  // Of a shared store: says that this process is alive; true when it is time to see what the others did.
  bool LookAround();
  bool KeepLines(Batch& batch);
  // Lines that this process has taken and that have not ended.
  std::vector<int64_t> LinesOf(const Batch& batch) const;
  void GiveBackLines();
  bool draining();
  // No line of it runs any more.
  void DropAttempts(Batch& batch);
  void End(Batch& batch, BatchStatus status);
  void SendLines();
  Batch* NextToSend();
  // Lines to send are in `ready`, if there are any. False when the store fails.
  bool FillReady(Batch& batch);
  bool Send(Batch& batch);
  void Sweep();
  void ShowLevels();
  absl::Time NextTime() const;
  // Whether the store did it; counts and waits a while when it did not.
  bool Did(const absl::Status& status);

  const Options options_;

  // The thread's own.
  std::map<int64_t, Batch> batches_;        // by number
  std::map<uint64_t, Attempt> attempts_;    // by a number of their own
  std::map<std::string, absl::Time> held_;  // owners whose quota is used up, and until when
  uint64_t next_attempt_ = 0;
  int64_t last_sent_ = 0;  // the batch whose turn it was
  SendWindow window_;
  absl::Time store_again_ = absl::InfinitePast();  // not before, after an error
  absl::Time sweep_at_ = absl::InfinitePast();
  absl::Time look_at_ = absl::InfinitePast();  // around, in a shared store
  absl::Time keep_at_ = absl::InfinitePast();  // lines of a shared store

  base::Mutex mutex_;
  base::CondVar changed_;
  News news_ ABSL_GUARDED_BY(mutex_);
  bool draining_ ABSL_GUARDED_BY(mutex_) = false;

  std::thread thread_;
};

}  // namespace hadal::batches
