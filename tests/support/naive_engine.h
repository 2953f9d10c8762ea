// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <unordered_map>
#include <vector>

#include "models/sampling_params.h"
#include "tests/fakes/scripted_model.h"

namespace hadal::testing {

// A continuous batcher as servers have it that nobody planned for overload, to show that a test of ours can fail: its
// faults are those of docs/overload.md, "What other servers do badly". It runs the same scripted model as our engine.
//   - The queue has no limit and no classes, and its head waits until it fits, however long that takes.
//   - A request starts when its prompt has room. Nothing is reserved for its output: whoever finds no block preempts
//     the youngest, which computes everything again.
//   - Cached blocks are found by a hash of their own tokens, which are not compared.
//   - A cancelled request runs on to its end; or it is dropped, and one in its prefill keeps its blocks (OnCancel).
// Used by one thread.
class NaiveEngine {
 public:
  enum class OnCancel { kRunsOn, kLeaks };
  struct Options {
    int32_t blocks = 1000;
    int32_t block_tokens = 4;
    int32_t max_batch_size = 16;
    int32_t max_batch_tokens = 64;
    OnCancel on_cancel = OnCancel::kRunsOn;
  };
  explicit NaiveEngine(Options options);

  // Queues a request, whatever its size; its number.
  size_t Submit(std::vector<int32_t> prompt, int32_t max_tokens);
  void Cancel(size_t call);
  // Runs one step; false when there was nothing to run.
  bool Round();
  // From now on the device gives memory for that many blocks, those that are held included. Nobody asks for it: a block
  // is taken where one is needed, and where the device refuses it, the step fails and with it everything that runs.
  void SetBudget(int32_t blocks) { budget_ = blocks; }

  const std::vector<int32_t>& output(size_t call) const { return calls_[call].output; }
  bool finished(size_t call) const { return calls_[call].finished; }
  int64_t waiting() const { return static_cast<int64_t>(waiting_.size()); }
  // Held by requests; what only the cache holds is not counted.
  int32_t blocks_in_use() const;
  ScriptedModel& model() { return model_; }

 private:
  struct Call {
    std::vector<int32_t> prompt, output;
    int32_t max_tokens = 0;
    std::vector<int32_t> blocks;
    int32_t computed = 0;  // tokens in the cache
    bool finished = false, cancelled = false;

    int32_t length() const { return static_cast<int32_t>(prompt.size() + output.size()); }
    int32_t token(int32_t at) const {
      const auto prompt_size = static_cast<int32_t>(prompt.size());
      return at < prompt_size ? prompt[at] : output[at - prompt_size];
    }
  };
  // Rows of a step.
  struct Part {
    size_t call;
    int32_t rows;
  };

  uint32_t BlockHash(const Call& call, int32_t block) const;
  int32_t Allocate();
  void Release(Call& call);
  void StartWaiting();
  // Blocks for `tokens`; preempts the youngest for them. False when `call` itself was preempted.
  bool Reserve(size_t call, int32_t tokens);
  void Preempt(size_t call);
  std::vector<Part> Plan();
  models::StepInput Build(const std::vector<Part>& parts);
  void Apply(const std::vector<Part>& parts, const models::StepOutput& output);

  const Options options_;
  ScriptedModel model_;
  const std::shared_ptr<const models::SamplingParams> greedy_;
  std::vector<Call> calls_;
  std::deque<size_t> waiting_;
  std::vector<size_t> running_;  // the youngest last
  std::vector<int32_t> references_;
  std::vector<int32_t> free_;
  std::unordered_map<uint32_t, int32_t> cached_;  // hash to block
  std::vector<bool> is_cached_;
  int32_t budget_;
  bool allocation_failed_ = false;
};

}  // namespace hadal::testing
