// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "kernels/backend.h"
#include "models/blocks/arena.h"
#include "models/blocks/network.h"
#include "models/blocks/step_upload.h"
#include "models/model.h"
#include "models/model_part.h"
#include "models/sample_rows.h"

namespace hadal::models {

// Upper bounds of a step, and of the memory that a forward pass needs for it.
struct StepBudget {
  int32_t max_tokens = 0;
  int32_t max_sequences = 0;
  std::function<int64_t(int64_t tokens)> network_workspace;  // NetworkOutline::WorkspaceBytes
  kernels::StepBounds bounds;                                // of the same step, for the backend's own memory
};

// Runs steps from plain data to plain data: uploads a step's arrays, runs the network, applies the output head to the
// rows that are sampled (in slices, so that scoring a whole chunk needs no more memory than sampling a batch), samples,
// and brings the results to the host. A step may be issued while the one before runs: the sampled tokens stay on the
// device, too, where it finds those that it is fed. A network that holds a range of a model's layers begins with the
// state of the part before, which it uploads, and ends with that for the next part, which it downloads, or with the
// samples. All memory is reserved once, for the largest step. One thread issues; the backend must outlive it.
class StepExecutor {
 public:
  // The smallest block that the bounds of block tables account for.
  static constexpr int64_t kMinBlockTokens = 16;
  // Steps of one token a sequence and at most so many of them are given to the backend to be replayed
  // (Backend::Replay), padded to a DecodeBucket: larger ones compute for longer than they take to be launched.
  static constexpr int32_t kMaxReplayedTokens = 64;
  // Rows of logits that are alive at once.
  static constexpr int64_t kMaxLogitRows = 256;

  StepExecutor(kernels::Backend* backend, std::unique_ptr<Network> network, StepBudget budget);

  // Columns of the logits that a network gives: none when layers follow.
  static int64_t LogitWidth(const Network& network) { return network.edges().gives_state ? 0 : network.vocab_size(); }

  // Device bytes for a step of that size, besides weights and caches. `vocab_size` is a LogitWidth.
  static int64_t WorkspaceBytes(int64_t network_bytes, int64_t hidden_size, int64_t vocab_size, int64_t max_model_len,
                                const KvLayout& kv_layout, int64_t max_tokens, int64_t max_sequences);

  // Reserves the memory of the largest step: activations, uploads, and the backend's own.
  absl::Status Prepare();

  // A step whose work is queued.
  struct Issued {
    SampleLayout layout;
    kernels::Readback* results = nullptr;
  };

  // Queues all work of a step; where layers follow, also waits for it and fills `next_state`, which may be null
  // elsewhere. `input` has passed StepChecker; the step before, if it names samples of that one, was issued without an
  // error. `state` has the size that PartEdges say. An error leaves work queued.
  absl::StatusOr<Issued> Issue(const StepInput& input, absl::Span<const std::byte> state = {},
                               std::vector<std::byte>* next_state = nullptr);
  // Waits for a step, but not for those behind it; `samples` are those of its input. On any thread, in the order of
  // Issue, of which at most ModelPart::kMostIssued are ahead.
  absl::StatusOr<StepOutput> Finish(const Issued& issued, absl::Span<const SampleRow> samples) const;
  // Both.
  absl::StatusOr<StepOutput> Run(const StepInput& input);

  Network& network() { return *network_; }
  const Network& network() const { return *network_; }
  const Arena& arena() const { return arena_; }

 private:
  static int64_t UploadBytes(int64_t max_model_len, const KvLayout& kv_layout, int64_t max_tokens,
                             int64_t max_sequences);
  static int64_t LogitRows(int64_t tokens, int64_t sequences);
  static int64_t ResultBytes(int64_t tokens, int64_t sequences);
  static int64_t ArenaBytesFor(int64_t network_bytes, int64_t hidden_size, int64_t vocab_size, int64_t tokens,
                               int64_t sequences);

  // The device arrays of a step.
  struct Begun {
    StepBatch batch;
    kernels::TensorView row_ids;  // of the rows that are sampled; padded when it is replayed
    bool replayed = false;
  };

  absl::Status MakeReadbacks(int64_t bytes);
  bool Replayable(const StepInput& input) const;
  // The step's arrays with sequences of one token that write no slot and see that of slot 0, and with wider tables. Its
  // rows in row_ids_ are padded, too.
  const StepInput& Padded(const StepInput& input);
  // Uploads the step's arrays, tells the backend what comes, and sets the ids that the step before has sampled.
  absl::StatusOr<Begun> BeginStep(const StepInput& input);
  absl::Status ComputeLogits(const kernels::TensorView& row_ids, const kernels::TensorView& hidden,
                             const kernels::TensorView& logits);
  // Forward pass and logits of all rows in a form that the backend may replay, then sampling of those asked for.
  absl::Status RunReplayed(const StepInput& input, const Begun& begun);
  absl::Status SampleIssued(const StepInput& input, const Begun& begun, const kernels::TensorView& hidden);
  // The forward pass, with the state of the part before where there is one.
  absl::StatusOr<kernels::TensorView> RunForward(const Begun& begun, absl::Span<const std::byte> state);

  kernels::Backend* backend_;
  std::unique_ptr<Network> network_;
  StepBudget budget_;
  Arena arena_;
  StepUpload upload_;
  SampleRows sample_rows_;
  kernels::Buffer results_;   // of the step issued last, as SampleLayout says
  int64_t sampled_rows_ = 0;  // in it
  std::array<std::unique_ptr<kernels::Readback>, ModelPart::kMostIssued> readbacks_;
  size_t next_readback_ = 0;
  std::vector<int32_t> row_ids_;
  std::vector<kernels::RaggedBatch> batches_, expanded_batches_;
  StepInput padded_;  // without samples
};

}  // namespace hadal::models
