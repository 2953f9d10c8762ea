// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "models/kv_layout.h"
#include "models/sampling_params.h"

namespace hadal::models {

// The engine's view of a model: plain data in, plain data out. Nothing here names a device, a tensor library or a text.

// A token's entry in the penalty table of one row: how often the output holds it, and whether the prompt does.
struct PenaltyEntry {
  int32_t token_id = 0;
  int32_t output_count = 0;
  bool in_prompt = false;
};

// Asks for the logits of one input token and says what to do with them.
struct SampleRow {
  int32_t token_index = 0;                       // row in StepInput::token_ids whose logits are wanted
  std::shared_ptr<const SamplingParams> params;  // null for a scoring row
  uint64_t random_counter = 0;                   // position of the sampled token in its sequence; with params->seed
                                                 // it fixes the random number, whatever else is in the batch
  int32_t target_token = -1;              // >= 0: score this token instead of sampling (prompt log-probabilities)
  int32_t top_logprobs = -1;              // -1: no log-probability wanted; 0..20: chosen plus that many best
  std::vector<PenaltyEntry> penalties;    // only when params->HasPenalties()
  std::vector<int32_t> forbidden_tokens;  // never sampled in this row (min_tokens: the end tokens)
  // Bit t % 32 of word t / 32: token t may be sampled; null: all may. Applied before everything else that samples; the
  // log-probabilities stay those of the model's own distribution.
  std::shared_ptr<const std::vector<uint32_t>> allowed_tokens;
};

// One forward step over any mix of prefill chunks and decode tokens. Sequences are ragged: sequence s owns the token
// rows [query_start[s], query_start[s+1]), in position order. Every vector is host memory.
struct StepInput {
  std::vector<int32_t> token_ids;     // [tokens] ids, or FedToken
  std::vector<int32_t> positions;     // [tokens] absolute position in the sequence, from 0
  std::vector<int64_t> slot_mapping;  // [tokens] cache slot: block id * block_tokens + offset in the block
  std::vector<int32_t> query_start;   // [sequences + 1]
  std::vector<int32_t> context_lens;  // [sequences] tokens in the cache once this step has run
  std::vector<int32_t> block_tables;  // [sequences, block_table_stride] block ids, padded with 0
  int32_t block_table_stride = 0;

  // The same in the window pool; both empty when KvLayout::window_tokens is 0. Column j holds the window block of
  // tokens [j * block_tokens, (j + 1) * block_tokens). Columns wholly behind the window of the sequence's first new
  // token hold 0 and are not read.
  std::vector<int64_t> window_slot_mapping;  // [tokens]
  std::vector<int32_t> window_block_tables;  // [sequences, block_table_stride]

  std::vector<SampleRow> samples;  // rows may repeat a token_index

  int32_t tokens() const { return static_cast<int32_t>(token_ids.size()); }
  int32_t sequences() const { return static_cast<int32_t>(context_lens.size()); }
};

// Stands in StepInput::token_ids for a token that is not known yet: the one that the step launched before gives as its
// sample of that index. Only where Model::max_steps_in_flight() is above 1, and that step is still in flight.
constexpr int32_t FedToken(int32_t sample) { return -1 - sample; }
constexpr bool IsFedToken(int32_t token_id) { return token_id < 0; }
constexpr int32_t FedSample(int32_t token_id) { return -1 - token_id; }

struct TokenLogprob {
  int32_t token_id = 0;
  float logprob = 0.0f;  // natural log, of the model's own distribution (temperature 1, before penalties and bias)
};

struct SampleResult {
  int32_t token_id = -1;          // sampled, or the row's target_token
  float logprob = 0.0f;           // valid when the row asked for log-probabilities
  std::vector<TokenLogprob> top;  // best first, ties by lower id; SampleRow::top_logprobs entries
  bool faulty = false;            // logits held NaN, or no token may be sampled: this row failed, the others did not
};

struct StepOutput {
  std::vector<SampleResult> samples;  // [StepInput::samples]
};

// Handle of a launched step. Value type; 0 is never a launched step.
struct StepHandle {
  uint64_t id = 0;
};

// What is known of the device that a model runs on; zeros for a processor.
struct DeviceFacts {
  int64_t multiprocessors = 0;  // that this process may use
  bool mps = false;             // under NVIDIA's Multi-Process Service
  std::string pci_bus_id;       // "0000:65:00.0"; empty: not known
};

struct ModelInfo {
  std::string name;         // served name
  std::string family;       // "llama", "qwen2", "deepseek_v3", "null", ...
  std::string dtype;        // compute type: "bfloat16", "float16", "float32"
  std::string device;       // where it runs: "cpu", "cuda:0"; "none" when nothing is computed
  std::string device_text;  // the same for the log, in more words
  DeviceFacts device_facts;
  std::string fingerprint;    // hash of config and weights' headers: salt of the prefix cache, system_fingerprint
  int32_t vocab_size = 0;     // rows of the embedding: ids at or above are invalid
  int32_t max_model_len = 0;  // tokens, prompt plus output
  int64_t parameter_count = 0;
  int64_t weights_bytes = 0;  // on the device
};

// What a model's device has counted since the model was loaded.
struct DeviceCounters {
  int64_t refused_products = 0;  // that its library did not take and a slower kernel computed
};

// A loaded model. Owned by the process, used by one engine thread: Launch and Wait are called from that thread only;
// info(), kv_layout() and device_counters() may be read from any thread. The caches are allocated once, before the
// first Launch.
class Model {
 public:
  virtual ~Model() = default;

  virtual const ModelInfo& info() const = 0;
  virtual const KvLayout& kv_layout() const = 0;
  virtual DeviceCounters device_counters() const { return {}; }

  // Upper bound of device bytes that a step of that size needs besides weights and caches. Grows with both arguments.
  virtual int64_t WorkspaceBytes(int32_t max_tokens, int32_t max_sequences) const = 0;

  // The largest size up to `wanted` that there is memory for beyond the device of kv_layout(): less where other hosts
  // hold a part of the model. Before AllocateKvCache. ResourceExhausted names the host that has no room at all.
  virtual absl::StatusOr<KvCacheSize> FitKvCache(const KvCacheSize& wanted) { return wanted; }

  // Allocates the caches. Called once. InvalidArgument when the size does not fit the layout, ResourceExhausted when
  // the device refuses.
  virtual absl::Status AllocateKvCache(const KvCacheSize& size) = 0;

  // Between them the steps are a warm-up, which may try things out: nobody reads its results, and nobody waits for
  // them. No step is in flight at either.
  virtual void BeginWarmUp() {}
  virtual void EndWarmUp() {}

  // How many steps are to be in flight at a time to keep the model busy: as many as hosts that a step passes through
  // one after another. Above 1 a step may be launched before the one before has been waited for, but never with rows of
  // a sequence whose next token that one samples: no token is a FedToken.
  virtual int overlapped_steps() const { return 1; }

  // How many steps may be launched before the first of them is waited for. They run in the order of Launch.
  virtual int max_steps_in_flight() const { return 1; }

  // Starts a step, or puts it behind the one in flight, and returns at once. InvalidArgument for an inconsistent input
  // (nothing ran). The input is consumed.
  virtual absl::StatusOr<StepHandle> Launch(StepInput input) = 0;

  // Blocks until the step is done; in the order of Launch. An error means that the device failed as a whole; a single
  // bad row is reported by SampleResult::faulty.
  virtual absl::StatusOr<StepOutput> Wait(StepHandle handle) = 0;
};

}  // namespace hadal::models
