// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "models/blocks/context.h"
#include "models/blocks/step_upload.h"
#include "models/config/config.h"
#include "models/model.h"

namespace hadal::models {

// Which form of latent attention a sequence takes. kAuto compares the operations of both; the others force one, for
// tests and measurements. Decode tokens always take the absorbed form, and so does, with an indexer, every sequence
// whose context exceeds what it keeps.
enum class MlaForm { kAuto, kAbsorbed, kExpanded };

// Splits a step into runs of neighbouring sequences that attend in the same form (arXiv:2405.04434, section 2.1):
// absorbed for decode and for short chunks after a long prefix, expanded where the new tokens are many. With an
// indexer, a sequence of more than its top_k tokens is sparse: a choice is needed, and only the absorbed form reads
// single positions. Thread-compatible; one user at a time. Its host arrays back the planned runs until the next Plan.
class MlaPlanner {
 public:
  // A sequence is expanded only when its context is at most this many times its new tokens: bounds the workspace.
  static constexpr int64_t kMaxExpansion = 2;

  MlaPlanner(const config::MlaConfig& config, MlaForm form) : config_(config), form_(form) {}

  // Decides the runs and adds their arrays to the upload.
  void Plan(const StepInput& input, StepUpload& upload);

  // The steps that take the most memory, as runs over all tokens of `batch`, one sequence without memory: absorbed,
  // sparse with an indexer, and expanded with the longest contexts that Plan lets through.
  std::vector<MlaRun> WorstRuns(const StepBatch& batch);

  // The runs with their device views, once the upload is committed. `step` is the whole step's batch.
  const std::vector<MlaRun>& Bind(const StepUpload& upload, const kernels::RaggedBatch& step);

 private:
  struct Draft {
    int32_t sequence_begin = 0;
    int32_t sequence_count = 0;
    std::vector<int32_t> query_start;  // rebased to 0
    std::vector<int32_t> kv_start;     // expanded only
    StepUpload::Handle query_start_handle;
    StepUpload::Handle kv_start_handle;
  };

  bool Expand(int64_t new_tokens, int64_t context_tokens) const;

  config::MlaConfig config_;
  MlaForm form_;
  std::vector<Draft> drafts_;
  std::vector<MlaRun> runs_;
  std::vector<int32_t> worst_context_;  // backs the expanded run of WorstRuns
};

}  // namespace hadal::models
