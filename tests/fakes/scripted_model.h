// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "models/model.h"
#include "models/step_check.h"

namespace hadal::testing {

// A model with real cache semantics and no arithmetic. Each step writes its tokens into the slots it was given, and a
// sample reads the sequence's whole context back through the block table: the next token is a hash of that context (and
// of the row's seed, counter and penalties). So a wrong block, a stale prefix hit or a lost token changes the answer,
// and reading a slot that holds another position is reported in errors(). Every input goes through StepChecker. A step
// takes effect when it is waited for, so one that was launched behind another sees what that one has written.
// With a window every row also reads the window slots of the last window_tokens positions: each must hold exactly the
// row of that position of this very context, or errors() says so.
class ScriptedModel : public models::Model {
 public:
  struct Options {
    int32_t vocab_size = 1000;
    int32_t max_model_len = 100000;
    int32_t max_tokens = 0;  // rows of a step, checked; 0: any
    int32_t max_sequences = 0;
    int32_t window_tokens = 0;     // 0: no windowed cache
    int overlapped_steps = 1;      // above 1: so many may be in flight, and none is fed
    int32_t tokens_per_entry = 1;  // of the full-attention cache: blocks must hold a multiple of it
  };
  explicit ScriptedModel(Options options);
  ScriptedModel() : ScriptedModel(Options()) {}

  // The answer of a sequence with that context, as the model gives it to greedy rows without penalties.
  int32_t NextToken(const std::vector<int32_t>& context) const;

  // When set, decides the token of a context; -1 leaves it to the hash; kFaulty makes the row faulty.
  static constexpr int32_t kFaulty = -2;
  std::function<int32_t(const std::vector<int32_t>& context)> script;
  // Called in Launch and Wait; a bad status is returned.
  std::function<absl::Status(const models::StepInput&)> on_launch;
  std::function<absl::Status()> on_wait;

  // Wait blocks while it is held.
  void Hold();
  void LetGo();

  // "L3" and "W3": Launch and Wait of step 3, in the order they were called.
  const std::vector<std::string>& calls() const { return calls_; }
  const std::vector<std::string>& errors() const { return errors_; }
  int64_t steps() const { return launched_; }
  int64_t rows() const { return rows_; }
  size_t most_in_flight() const { return most_in_flight_.load(); }
  // Shape of the last step launched.
  struct StepShape {
    int32_t tokens = 0;
    int32_t sequences = 0;
    int32_t samples = 0;
  };
  const std::vector<StepShape>& shapes() const { return shapes_; }

  const models::ModelInfo& info() const override { return info_; }
  const models::KvLayout& kv_layout() const override { return layout_; }
  int max_steps_in_flight() const override { return std::max(2, options_.overlapped_steps); }
  int overlapped_steps() const override { return options_.overlapped_steps; }
  int64_t WorkspaceBytes(int32_t, int32_t) const override { return 0; }
  absl::Status AllocateKvCache(const models::KvCacheSize& size) override;
  absl::StatusOr<models::StepHandle> Launch(models::StepInput input) override;
  absl::StatusOr<models::StepOutput> Wait(models::StepHandle handle) override;

 private:
  struct Slot {
    int32_t token = -1;
    int32_t position = -1;
  };
  // What a windowed cache holds for a token: the position, and a hash of the context up to it.
  struct WindowSlot {
    uint64_t context_hash = 0;
    int32_t position = -1;
  };
  void Write();
  void WriteAndReadWindows();
  models::SampleResult Sample(const models::SampleRow& row, int32_t sequence);
  std::vector<int32_t> Context(int32_t sequence, int32_t length);

  const Options options_;
  models::ModelInfo info_;
  models::KvLayout layout_;
  int32_t block_tokens_ = 0;
  std::optional<models::StepChecker> checker_;
  std::vector<Slot> slots_;
  std::vector<WindowSlot> window_slots_;
  std::deque<models::StepInput> in_flight_;  // the oldest first
  models::StepInput input_;                  // of the step that is waited for
  std::vector<int32_t> sampled_;             // by that step
  uint64_t launched_ = 0;
  std::atomic<size_t> most_in_flight_{0};
  std::atomic<int64_t> rows_{0};
  std::vector<std::string> calls_;
  std::vector<std::string> errors_;
  std::vector<StepShape> shapes_;
  std::mutex mutex_;
  std::condition_variable condition_;
  bool held_ = false;
};

}  // namespace hadal::testing
