// SPDX-License-Identifier: Apache-2.0
#include "tests/support/naive_engine.h"

#include <algorithm>
#include <utility>

#include "server/base/check.h"

namespace hadal::testing {
namespace {

std::shared_ptr<const models::SamplingParams> Greedy() {
  auto params = std::make_shared<models::SamplingParams>();
  params->temperature = 0;
  return params;
}

}  // namespace

NaiveEngine::NaiveEngine(Options options)
    : options_(options),
      greedy_(Greedy()),
      references_(options.blocks),
      is_cached_(options.blocks),
      budget_(options.blocks) {
  HADAL_CHECK(model_.AllocateKvCache({options.blocks, options.block_tokens, 0}).ok()) << "no cache of that size";
  for (int32_t block = options.blocks - 1; block >= 0; --block) free_.push_back(block);
}

size_t NaiveEngine::Submit(std::vector<int32_t> prompt, int32_t max_tokens) {
  Call call;
  call.prompt = std::move(prompt);
  call.max_tokens = max_tokens;
  calls_.push_back(std::move(call));
  waiting_.push_back(calls_.size() - 1);
  return calls_.size() - 1;
}

void NaiveEngine::Cancel(size_t call) {
  calls_[call].cancelled = true;
  if (options_.on_cancel == OnCancel::kRunsOn) return;
  std::erase(waiting_, call);
  if (std::erase(running_, call) > 0 && !calls_[call].output.empty()) Release(calls_[call]);
}

bool NaiveEngine::Round() {
  StartWaiting();
  const std::vector<Part> parts = Plan();
  if (std::exchange(allocation_failed_, false)) {
    for (const size_t call : std::exchange(running_, {})) Release(calls_[call]);
    return true;
  }
  if (parts.empty()) return false;
  const absl::StatusOr<models::StepHandle> step = model_.Launch(Build(parts));
  HADAL_CHECK(step.ok()) << step.status().message();
  const absl::StatusOr<models::StepOutput> output = model_.Wait(*step);
  HADAL_CHECK(output.ok()) << output.status().message();
  Apply(parts, *output);
  return true;
}

int32_t NaiveEngine::blocks_in_use() const {
  return static_cast<int32_t>(std::count_if(references_.begin(), references_.end(), [](int32_t n) { return n > 0; }));
}

uint32_t NaiveEngine::BlockHash(const Call& call, int32_t block) const {
  uint32_t hash = 0;
  for (int32_t i = 0; i < options_.block_tokens; ++i) hash = 31 * hash + call.token(block * options_.block_tokens + i);
  return hash;
}

int32_t NaiveEngine::Allocate() {
  if (options_.blocks - static_cast<int32_t>(free_.size()) >= budget_) {
    allocation_failed_ = true;
    return -1;
  }
  if (free_.empty()) {
    const auto unused = std::find_if(cached_.begin(), cached_.end(),
                                     [this](const auto& entry) { return references_[entry.second] == 0; });
    if (unused == cached_.end()) return -1;
    free_.push_back(unused->second);
    is_cached_[unused->second] = false;
    cached_.erase(unused);
  }
  const int32_t block = free_.back();
  free_.pop_back();
  references_[block] = 1;
  return block;
}

void NaiveEngine::Release(Call& call) {
  for (const int32_t block : call.blocks) {
    if (--references_[block] == 0 && !is_cached_[block]) free_.push_back(block);
  }
  call.blocks.clear();
  call.computed = 0;
}

void NaiveEngine::StartWaiting() {
  while (!waiting_.empty() && static_cast<int32_t>(running_.size()) < options_.max_batch_size) {
    Call& call = calls_[waiting_.front()];
    const int32_t needed = (call.length() + options_.block_tokens - 1) / options_.block_tokens;
    const int32_t whole = (call.length() - 1) / options_.block_tokens;  // the last token is always computed
    for (int32_t block = 0; block < whole; ++block) {
      const auto found = cached_.find(BlockHash(call, block));
      if (found == cached_.end()) break;
      ++references_[found->second];
      call.blocks.push_back(found->second);
    }
    call.computed = static_cast<int32_t>(call.blocks.size()) * options_.block_tokens;
    while (static_cast<int32_t>(call.blocks.size()) < needed) {
      const int32_t block = Allocate();
      if (block < 0) return Release(call);  // and everybody behind it waits
      call.blocks.push_back(block);
    }
    running_.push_back(waiting_.front());
    waiting_.pop_front();
  }
}

void NaiveEngine::Preempt(size_t call) {
  Release(calls_[call]);
  std::erase(running_, call);
  waiting_.push_front(call);
}

bool NaiveEngine::Reserve(size_t call, int32_t tokens) {
  while (static_cast<int32_t>(calls_[call].blocks.size()) * options_.block_tokens < tokens) {
    const int32_t block = Allocate();
    if (block >= 0) {
      calls_[call].blocks.push_back(block);
      continue;
    }
    const size_t youngest = running_.back();
    Preempt(youngest);
    if (youngest == call) return false;
  }
  return true;
}

std::vector<NaiveEngine::Part> NaiveEngine::Plan() {
  std::vector<Part> parts;
  int32_t left = options_.max_batch_tokens;
  for (const size_t call : std::vector<size_t>(running_)) {
    if (left == 0 || std::find(running_.begin(), running_.end(), call) == running_.end()) continue;
    const int32_t rows = std::min(left, calls_[call].length() - calls_[call].computed);
    if (!Reserve(call, calls_[call].computed + rows)) continue;
    parts.push_back({call, rows});
    left -= rows;
  }
  // Who was preempted after it had been planned has no blocks.
  std::erase_if(parts, [this](const Part& part) { return calls_[part.call].blocks.empty(); });
  return parts;
}

models::StepInput NaiveEngine::Build(const std::vector<Part>& parts) {
  models::StepInput input;
  for (const Part& part : parts) {
    input.block_table_stride =
        std::max(input.block_table_stride, static_cast<int32_t>(calls_[part.call].blocks.size()));
  }
  input.query_start = {0};
  for (const auto& [index, rows] : parts) {
    const Call& call = calls_[index];
    for (int32_t at = call.computed; at < call.computed + rows; ++at) {
      input.token_ids.push_back(call.token(at));
      input.positions.push_back(at);
      input.slot_mapping.push_back(int64_t{call.blocks[at / options_.block_tokens]} * options_.block_tokens +
                                   at % options_.block_tokens);
    }
    input.query_start.push_back(input.tokens());
    input.context_lens.push_back(call.computed + rows);
    std::vector<int32_t> table = call.blocks;
    table.resize(input.block_table_stride);
    input.block_tables.insert(input.block_tables.end(), table.begin(), table.end());
    if (call.computed + rows < call.length()) continue;
    models::SampleRow sample;
    sample.token_index = input.tokens() - 1;
    sample.params = greedy_;
    sample.random_counter = static_cast<uint64_t>(call.length());
    input.samples.push_back(std::move(sample));
  }
  return input;
}

void NaiveEngine::Apply(const std::vector<Part>& parts, const models::StepOutput& output) {
  size_t sample = 0;
  for (const auto& [index, rows] : parts) {
    Call& call = calls_[index];
    const int32_t before = call.computed;
    call.computed += rows;
    for (int32_t block = before / options_.block_tokens; block < call.computed / options_.block_tokens; ++block) {
      if (cached_.emplace(BlockHash(call, block), call.blocks[block]).second) is_cached_[call.blocks[block]] = true;
    }
    if (call.computed < call.length()) continue;
    call.output.push_back(output.samples[sample++].token_id);
    if (static_cast<int32_t>(call.output.size()) < call.max_tokens) continue;
    call.finished = true;
    Release(call);
    std::erase(running_, index);
  }
}

}  // namespace hadal::testing
