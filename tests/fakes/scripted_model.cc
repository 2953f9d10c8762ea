// SPDX-License-Identifier: Apache-2.0
#include "tests/fakes/scripted_model.h"

#include <algorithm>

namespace hadal::testing {
namespace {

uint64_t Mix(uint64_t x) {
  x += 0x9e3779b97f4a7c15ULL;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}

constexpr uint64_t kEmptyContext = 1;

uint64_t HashOn(uint64_t hash, int32_t token) { return Mix(hash ^ static_cast<uint32_t>(token)); }

uint64_t HashContext(const std::vector<int32_t>& context) {
  uint64_t hash = kEmptyContext;
  for (const int32_t token : context) hash = HashOn(hash, token);
  return hash;
}

}  // namespace

ScriptedModel::ScriptedModel(Options options) : options_(options) {
  info_.name = "scripted";
  info_.family = "null";
  info_.fingerprint = "scripted";
  info_.vocab_size = options_.vocab_size;
  info_.max_model_len = options_.max_model_len;
  layout_.caches.push_back(
      {.name = "tokens", .layers = 1, .bytes_per_entry_layer = 8, .tokens_per_entry = options_.tokens_per_entry});
  if (options_.window_tokens == 0) return;
  layout_.caches.push_back({.name = "window", .layers = 1, .bytes_per_entry_layer = 12, .windowed = true});
  layout_.window_tokens = options_.window_tokens;
}

absl::Status ScriptedModel::AllocateKvCache(const models::KvCacheSize& size) {
  if (absl::Status status = models::CheckCacheSize(layout_, size); !status.ok()) return status;
  block_tokens_ = size.block_tokens;
  slots_.assign(static_cast<size_t>(size.blocks) * size.block_tokens, Slot());
  window_slots_.assign(static_cast<size_t>(size.window_blocks) * size.block_tokens, WindowSlot());
  checker_.emplace(models::StepLimits{.vocab_size = options_.vocab_size,
                                      .max_model_len = options_.max_model_len,
                                      .num_blocks = size.blocks,
                                      .block_tokens = size.block_tokens,
                                      .window_tokens = options_.window_tokens,
                                      .window_blocks = size.window_blocks,
                                      .max_tokens = options_.max_tokens,
                                      .max_sequences = options_.max_sequences});
  return absl::OkStatus();
}

void ScriptedModel::Hold() {
  std::lock_guard<std::mutex> lock(mutex_);
  held_ = true;
}

void ScriptedModel::LetGo() {
  std::lock_guard<std::mutex> lock(mutex_);
  held_ = false;
  condition_.notify_all();
}

absl::StatusOr<models::StepHandle> ScriptedModel::Launch(models::StepInput input) {
  const auto most = static_cast<size_t>(max_steps_in_flight());
  if (in_flight_.size() == most) errors_.push_back("Launch while " + std::to_string(most) + " steps are in flight");
  const bool fed = options_.overlapped_steps == 1 && !in_flight_.empty();
  const size_t fed_samples = fed ? in_flight_.back().samples.size() : 0;
  if (absl::Status status = checker_->Check(input, static_cast<int32_t>(fed_samples)); !status.ok()) {
    errors_.push_back(std::string(status.message()));
    return status;
  }
  if (on_launch) {
    if (absl::Status status = on_launch(input); !status.ok()) return status;
  }
  ++launched_;
  calls_.push_back("L" + std::to_string(launched_));
  shapes_.push_back({input.tokens(), input.sequences(), static_cast<int32_t>(input.samples.size())});
  rows_ += input.tokens();
  in_flight_.push_back(std::move(input));
  most_in_flight_ = std::max(most_in_flight_.load(), in_flight_.size());
  return models::StepHandle{launched_};
}

absl::StatusOr<models::StepOutput> ScriptedModel::Wait(models::StepHandle handle) {
  calls_.push_back("W" + std::to_string(handle.id));
  if (in_flight_.empty() || handle.id != launched_ + 1 - in_flight_.size()) {
    errors_.push_back("Wait for a step that is not the oldest in flight");
    return absl::FailedPreconditionError(errors_.back());
  }
  input_ = std::move(in_flight_.front());
  in_flight_.pop_front();
  {
    std::unique_lock<std::mutex> lock(mutex_);
    condition_.wait(lock, [this] { return !held_; });
  }
  if (on_wait) {
    if (absl::Status status = on_wait(); !status.ok()) {
      sampled_.clear();
      return status;
    }
  }
  for (int32_t& token : input_.token_ids) {
    if (!models::IsFedToken(token)) continue;
    if (sampled_.empty()) return absl::InternalError("the step before has failed");
    token = std::max(0, sampled_[models::FedSample(token)]);
  }
  Write();
  if (options_.window_tokens > 0) WriteAndReadWindows();
  models::StepOutput output;
  sampled_.clear();
  for (const models::SampleRow& row : input_.samples) {
    const auto& starts = input_.query_start;
    const auto sequence = std::upper_bound(starts.begin(), starts.end(), row.token_index) - starts.begin() - 1;
    output.samples.push_back(Sample(row, static_cast<int32_t>(sequence)));
    sampled_.push_back(output.samples.back().token_id);
  }
  return output;
}

void ScriptedModel::Write() {
  for (int32_t i = 0; i < input_.tokens(); ++i)
    slots_[input_.slot_mapping[i]] = {input_.token_ids[i], input_.positions[i]};
}

void ScriptedModel::WriteAndReadWindows() {
  const auto sequences = static_cast<int32_t>(input_.context_lens.size());
  std::vector<std::vector<uint64_t>> hashes(sequences);  // by sequence: of its context up to each position
  for (int32_t s = 0; s < sequences; ++s) {
    uint64_t hash = kEmptyContext;
    for (const int32_t token : Context(s, input_.context_lens[s])) hashes[s].push_back(hash = HashOn(hash, token));
    for (int32_t row = input_.query_start[s]; row < input_.query_start[s + 1]; ++row) {
      const int32_t position = input_.positions[row];
      window_slots_[input_.window_slot_mapping[row]] = {hashes[s][position], position};
    }
  }
  for (int32_t s = 0; s < sequences; ++s) {
    const int32_t* table = input_.window_block_tables.data() + static_cast<int64_t>(s) * input_.block_table_stride;
    const int32_t first_row = input_.positions[input_.query_start[s]];
    for (int32_t p = std::max(0, first_row - options_.window_tokens + 1); p < input_.context_lens[s]; ++p) {
      const int64_t slot = static_cast<int64_t>(table[p / block_tokens_]) * block_tokens_ + p % block_tokens_;
      const WindowSlot& found = window_slots_[slot];
      if (found.position == p && found.context_hash == hashes[s][p]) continue;
      errors_.push_back("the window slot of position " + std::to_string(p) + " holds position " +
                        std::to_string(found.position) + (found.position == p ? " of another context" : ""));
    }
  }
}

std::vector<int32_t> ScriptedModel::Context(int32_t sequence, int32_t length) {
  std::vector<int32_t> context(length);
  const int32_t* table = input_.block_tables.data() + static_cast<int64_t>(sequence) * input_.block_table_stride;
  for (int32_t position = 0; position < length; ++position) {
    const Slot& slot =
        slots_[static_cast<int64_t>(table[position / block_tokens_]) * block_tokens_ + position % block_tokens_];
    if (slot.position != position) {
      errors_.push_back("slot of position " + std::to_string(position) + " holds position " +
                        std::to_string(slot.position));
    }
    context[position] = slot.token;
  }
  return context;
}

models::SampleResult ScriptedModel::Sample(const models::SampleRow& row, int32_t sequence) {
  models::SampleResult result;
  const std::vector<int32_t> context = Context(sequence, input_.positions[row.token_index] + 1);
  const int32_t scripted = script ? script(context) : -1;
  if (scripted == kFaulty) {
    result.faulty = true;
    return result;
  }
  uint64_t hash = HashContext(context);
  if (row.target_token >= 0) {
    result.token_id = row.target_token;
    result.logprob = -static_cast<float>((hash ^ static_cast<uint64_t>(row.target_token)) % 100) / 10.0f;
    return result;
  }
  if (row.params->temperature > 0) hash = Mix(hash ^ row.params->seed) ^ Mix(row.random_counter);
  for (const models::PenaltyEntry& entry : row.penalties) {
    hash += Mix(static_cast<uint64_t>(entry.token_id)) * (entry.output_count * 2 + entry.in_prompt);
  }
  if (row.random_counter != context.size()) errors_.push_back("random_counter is not the sampled token's position");
  result.token_id = scripted >= 0 ? scripted : static_cast<int32_t>(hash % options_.vocab_size);
  const auto forbidden = [&](int32_t id) {
    const auto& ids = row.forbidden_tokens;
    if (row.allowed_tokens != nullptr && ((*row.allowed_tokens)[id / 32] >> (id % 32) & 1u) == 0) return true;
    return std::find(ids.begin(), ids.end(), id) != ids.end();
  };
  for (int32_t tried = 0; forbidden(result.token_id); ++tried) {
    result.token_id = (result.token_id + 1) % options_.vocab_size;
    result.faulty = tried == options_.vocab_size;
    if (result.faulty) return result;
  }
  result.logprob = -0.5f;
  for (int32_t i = 0; i < row.top_logprobs; ++i) {
    result.top.push_back({(result.token_id + i) % options_.vocab_size, -0.5f - static_cast<float>(i)});
  }
  return result;
}

int32_t ScriptedModel::NextToken(const std::vector<int32_t>& context) const {
  const int32_t scripted = script ? script(context) : -1;
  return scripted >= 0 ? scripted : static_cast<int32_t>(HashContext(context) % options_.vocab_size);
}

}  // namespace hadal::testing
