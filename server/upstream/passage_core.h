// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "base/sync.h"
#include "server/request/notifier.h"
#include "server/upstream/passage.h"
#include "server/upstream/target_keys.h"
#include "server/upstream/target_set.h"
#include "server/upstream/transfer_loop.h"

namespace hadal::upstream {

// What passages need of the upstreams; outlives them.
struct PassageEnvironment {
  const UpstreamOptions* options = nullptr;
  TargetSet* targets = nullptr;
  const TargetKeys* keys = nullptr;
  TransferLoop* loop = nullptr;
  base::Clock* clock = nullptr;  // of a request's times
};

// Passage's part on the loop's thread, which makes the attempts, and what both sides share. Held by both.
class PassageCore final : public TransferListener, public std::enable_shared_from_this<PassageCore> {
 public:
  // Bytes that may wait for the reader before the transfer pauses.
  static constexpr size_t kMaxWaitingBytes = 64 << 10;

  PassageCore(PassageEnvironment environment, PassedRequest request, std::function<void()> notify);

  // --- on the loop's thread ---
  void Start() { TryNext(); }
  void Cancel();
  void OnHead(TransferHead head) override;
  Taken OnBody(std::string_view bytes) override;
  void OnEnd(TransferEnd end) override;

  // --- for the reader ---
  Passage::Progress Read(std::string* out);
  const PassedHead& head() const;
  absl::Status status() const;
  void Leave();  // it reads no more

 private:
  using Progress = Passage::Progress;

  void TryNext();
  TransferRequest RequestFor(const TargetOptions& target, size_t index, std::shared_ptr<const std::string> body) const;
  // How an attempt without a byte of an answer ended.
  Outcome OutcomeOf(const TransferEnd& end) const;
  void NoteFailure(Outcome outcome, const TransferEnd& end);
  void EndWith(Progress progress, absl::Status status);
  absl::Status BrokenStatus(const TransferEnd& end) const;

  const PassageEnvironment environment_;
  const PassedRequest request_;
  const absl::Time end_by_;  // of the whole passage, by base::Clock::Real()
  const std::shared_ptr<request::Notifier> notifier_;

  // On the loop's thread only.
  std::vector<bool> tried_;
  std::optional<TargetSet::Attempt> attempt_;
  uint64_t transfer_ = 0;
  TransferHead answer_;       // of this attempt; status 0: none yet
  size_t ignored_bytes_ = 0;  // of an answer that is not passed on
  bool committed_ = false;    // a byte of this attempt's answer has been passed on
  bool cancelled_ = false;
  std::string last_failure_ = "no upstream may be asked now";

  mutable base::Mutex mutex_;
  std::string waiting_ ABSL_GUARDED_BY(mutex_);
  bool paused_ ABSL_GUARDED_BY(mutex_) = false;
  Progress progress_ ABSL_GUARDED_BY(mutex_) = Progress::kWaiting;
  PassedHead head_ ABSL_GUARDED_BY(mutex_);
  absl::Status status_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace hadal::upstream
