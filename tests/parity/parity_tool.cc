// SPDX-License-Identifier: Apache-2.0
//
// Loads a checkpoint folder and scores prompts and greedy continuations on it, through nothing but the Model contract:
// the C++ half of the parity tests (test_parity.py). One JSON object on stdin, one on stdout.
//
//   in:  {"dir", "device", "dtype", "isa", "mla_form", "load_format", "threads", "block_tokens", "max_batch_tokens",
//         "parts", "runs": [{"prompts": [[id, ...], ...], "greedy": 24, "chunk": 0, "together": true, "top": 0}, ...]}
//   out: {"info": {...}, "runs": [[{"prompt_logprobs": [...], "tokens": [...], "token_logprobs": [...]}, ...], ...]}
//
// With parts, that many parts of the model in this process hand each step on. prompt_logprobs[i] is the log-probability
// of prompt token i + 1 after the tokens up to i. A chunk of 0 is the whole prompt. Together: all prompts of a run are
// in flight at once, each at its own place, so steps mix chunks and decode.

#include <algorithm>
#include <cstdint>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "models/registry.h"
#include "models/status_macros.h"
#include "nlohmann/json.hpp"
#include "tests/models/model_in_parts.h"
#include "tests/parity/json_tool.h"

namespace hadal::models {
namespace {

using nlohmann::json;

struct Sequence {
  std::vector<int32_t> prompt;
  std::vector<int32_t> output;
  std::vector<float> prompt_logprobs;
  std::vector<float> token_logprobs;
  std::vector<int32_t> blocks;
  std::vector<int32_t> window_blocks;  // one for each of blocks; 0 where it is not held
  int32_t window_begin = 0;            // the first that is held
  int32_t cached = 0;

  int32_t Token(int32_t position) const {
    const int32_t prompt_tokens = static_cast<int32_t>(prompt.size());
    return position < prompt_tokens ? prompt[position] : output[position - prompt_tokens];
  }
  int32_t known_tokens() const { return static_cast<int32_t>(prompt.size() + output.size()); }
};

struct RunOptions {
  int32_t greedy = 0;
  int32_t chunk = 0;
  bool together = true;
};

// Hands out blocks in a shuffled order, so that a sequence's blocks are never neighbours by accident.
class BlockPool {
 public:
  explicit BlockPool(int32_t blocks) : free_(blocks) {
    std::iota(free_.begin(), free_.end(), 0);
    std::shuffle(free_.begin(), free_.end(), std::mt19937(7));
  }
  bool Take(int32_t count, std::vector<int32_t>& blocks) {
    if (count > static_cast<int32_t>(free_.size())) return false;
    blocks.assign(free_.end() - count, free_.end());
    free_.resize(free_.size() - count);
    return true;
  }
  void Give(std::vector<int32_t>& blocks) {
    free_.insert(free_.begin(), blocks.begin(), blocks.end());
    blocks.clear();
  }

 private:
  std::vector<int32_t> free_;
};

class Driver {
 public:
  Driver(Model& model, const KvCacheSize& size)
      : model_(model), pool_(size.blocks), window_pool_(size.window_blocks), block_tokens_(size.block_tokens) {}

  absl::Status Run(std::vector<Sequence>& sequences, const RunOptions& options) {
    for (Sequence& sequence : sequences) {
      if (sequence.prompt.empty()) return absl::InvalidArgumentError("a prompt is empty");
      const int32_t tokens = static_cast<int32_t>(sequence.prompt.size()) + options.greedy;
      if (!pool_.Take((tokens + block_tokens_ - 1) / block_tokens_, sequence.blocks)) {
        return absl::ResourceExhaustedError("not enough blocks for all prompts at once");
      }
    }
    if (options.together) {
      std::vector<Sequence*> all;
      for (Sequence& sequence : sequences) all.push_back(&sequence);
      HADAL_RETURN_IF_ERROR(Drain(std::move(all), options));
    } else {
      for (Sequence& sequence : sequences) HADAL_RETURN_IF_ERROR(Drain({&sequence}, options));
    }
    for (Sequence& sequence : sequences) {
      pool_.Give(sequence.blocks);
      ReleaseWindow(sequence, static_cast<int32_t>(sequence.window_blocks.size()));
    }
    return absl::OkStatus();
  }

 private:
  // Steps until every sequence has its output.
  absl::Status Drain(std::vector<Sequence*> active, const RunOptions& options) {
    while (true) {
      const auto done = [&](const Sequence* s) {
        const bool prompt_done = s->cached >= static_cast<int32_t>(s->prompt.size());
        return prompt_done && static_cast<int32_t>(s->output.size()) >= options.greedy;
      };
      active.erase(std::remove_if(active.begin(), active.end(), done), active.end());
      if (active.empty()) return absl::OkStatus();
      HADAL_RETURN_IF_ERROR(Step(active, options));
    }
  }

  // Gives back the window blocks before that column.
  void ReleaseWindow(Sequence& s, int32_t end) {
    for (; s.window_begin < end; ++s.window_begin) {
      std::vector<int32_t> block = {std::exchange(s.window_blocks[s.window_begin], 0)};
      window_pool_.Give(block);
    }
  }

  // Holds the window blocks that `count` new tokens read and write, and no other.
  absl::Status MoveWindow(Sequence& s, int32_t count) {
    const int32_t window = model_.kv_layout().window_tokens;
    if (window == 0) return absl::OkStatus();
    ReleaseWindow(s, std::max(0, s.cached - window + 1) / block_tokens_);
    while (static_cast<int32_t>(s.window_blocks.size()) * block_tokens_ < s.cached + count) {
      std::vector<int32_t> block;
      if (!window_pool_.Take(1, block)) return absl::ResourceExhaustedError("not enough window blocks");
      s.window_blocks.push_back(block[0]);
    }
    return absl::OkStatus();
  }

  absl::Status Step(const std::vector<Sequence*>& active, const RunOptions& options) {
    StepInput input;
    std::vector<Sequence*> row_owner;
    input.query_start.push_back(0);
    for (const Sequence* s : active) {
      input.block_table_stride = std::max(input.block_table_stride, static_cast<int32_t>(s->blocks.size()));
    }
    for (Sequence* s : active) {
      const int32_t pending = s->known_tokens() - s->cached;
      const int32_t count = options.chunk > 0 ? std::min(pending, options.chunk) : pending;
      HADAL_RETURN_IF_ERROR(MoveWindow(*s, count));
      for (int32_t position = s->cached; position < s->cached + count; ++position) {
        input.token_ids.push_back(s->Token(position));
        input.positions.push_back(position);
        input.slot_mapping.push_back(int64_t{s->blocks[position / block_tokens_]} * block_tokens_ +
                                     position % block_tokens_);
        if (!s->window_blocks.empty()) {
          input.window_slot_mapping.push_back(int64_t{s->window_blocks[position / block_tokens_]} * block_tokens_ +
                                              position % block_tokens_);
        }
        AddRow(input, *s, position, options, row_owner, s);
      }
      s->cached += count;
      input.context_lens.push_back(s->cached);
      input.query_start.push_back(input.tokens());
      for (int32_t b = 0; b < input.block_table_stride; ++b) {
        input.block_tables.push_back(b < static_cast<int32_t>(s->blocks.size()) ? s->blocks[b] : 0);
        if (s->window_blocks.empty()) continue;
        input.window_block_tables.push_back(b < static_cast<int32_t>(s->window_blocks.size()) ? s->window_blocks[b]
                                                                                              : 0);
      }
    }
    const std::vector<SampleRow> rows = input.samples;
    HADAL_ASSIGN_OR_RETURN(const StepHandle handle, model_.Launch(std::move(input)));
    HADAL_ASSIGN_OR_RETURN(const StepOutput output, model_.Wait(handle));
    for (size_t i = 0; i < rows.size(); ++i) {
      const SampleResult& result = output.samples[i];
      if (result.faulty) return absl::InternalError("a row came back faulty");
      if (rows[i].target_token >= 0) {
        row_owner[i]->prompt_logprobs.push_back(result.logprob);
      } else {
        row_owner[i]->output.push_back(result.token_id);
        row_owner[i]->token_logprobs.push_back(result.logprob);
      }
    }
    return absl::OkStatus();
  }

  static void AddRow(StepInput& input, const Sequence& s, int32_t position, const RunOptions& options,
                     std::vector<Sequence*>& row_owner, Sequence* owner) {
    const bool score = position + 1 < static_cast<int32_t>(s.prompt.size());
    const bool sample = position + 1 == s.known_tokens() && static_cast<int32_t>(s.output.size()) < options.greedy;
    if (!score && !sample) return;
    SampleRow& row = input.samples.emplace_back();
    row.token_index = input.tokens() - 1;
    row.top_logprobs = 0;
    row.random_counter = static_cast<uint64_t>(position) + 1;
    if (score) {
      row.target_token = s.prompt[position + 1];
    } else {
      row.params = std::make_shared<SamplingParams>(SamplingParams{.temperature = 0.0f});
    }
    row_owner.push_back(owner);
  }

  Model& model_;
  BlockPool pool_;
  BlockPool window_pool_;
  int32_t block_tokens_;
};

absl::StatusOr<json> RunAll(const json& request) {
  LoadOptions options;
  options.dir = request.at("dir").get<std::string>();
  options.device = request.value("device", std::string("cpu"));
  options.dtype = request.value("dtype", std::string("auto"));
  options.isa = request.value("isa", std::string("auto"));
  options.mla_form = request.value("mla_form", std::string("auto"));
  options.threads = request.value("threads", 0);
  options.max_batch_tokens = request.value("max_batch_tokens", 4096);
  if (request.value("load_format", std::string("auto")) == "dummy") options.load_format = LoadFormat::kDummy;
  const int parts = request.value("parts", 1);
  HADAL_ASSIGN_OR_RETURN(const std::unique_ptr<Model> model,
                         parts == 1 ? LoadModel(options) : testing::LoadInParts(options, parts));

  const int32_t blocks = request.value("blocks", 1024);
  KvCacheSize size;
  size.blocks = blocks;
  size.block_tokens = model->kv_layout().round_block_tokens(request.value("block_tokens", 16));
  size.window_blocks = model->kv_layout().window_tokens > 0 ? blocks : 0;
  HADAL_RETURN_IF_ERROR(model->AllocateKvCache(size));
  Driver driver(*model, size);
  json answer;
  answer["info"] = {{"family", model->info().family},
                    {"dtype", model->info().dtype},
                    {"fingerprint", model->info().fingerprint},
                    {"parameter_count", model->info().parameter_count},
                    {"weights_bytes", model->info().weights_bytes},
                    {"kv_bytes_per_token", model->kv_layout().bytes_per_token()}};
  answer["runs"] = json::array();
  for (const json& run : request.at("runs")) {
    std::vector<Sequence> sequences;
    for (const json& prompt : run.at("prompts")) {
      sequences.emplace_back().prompt = prompt.get<std::vector<int32_t>>();
    }
    const RunOptions run_options = {run.value("greedy", 0), run.value("chunk", 0), run.value("together", true)};
    HADAL_RETURN_IF_ERROR(driver.Run(sequences, run_options));
    json results = json::array();
    for (const Sequence& sequence : sequences) {
      results.push_back({{"prompt_logprobs", sequence.prompt_logprobs},
                         {"tokens", sequence.output},
                         {"token_logprobs", sequence.token_logprobs}});
    }
    answer["runs"].push_back(std::move(results));
  }
  return answer;
}

}  // namespace
}  // namespace hadal::models

int main() { return hadal::testing::AnswerJson(hadal::models::RunAll); }
