// SPDX-License-Identifier: Apache-2.0
#include "models/step_executor.h"

#include <algorithm>
#include <array>
#include <numeric>
#include <utility>
#include <vector>

#include "models/decode_bucket.h"
#include "models/status_macros.h"
#include "models/step_check.h"

namespace hadal::models {
namespace {

using kernels::DType;
using kernels::TensorView;

constexpr int64_t kMinLogitRows = 16;

}  // namespace

StepExecutor::StepExecutor(kernels::Backend* backend, std::unique_ptr<Network> network, StepBudget budget)
    : backend_(backend), network_(std::move(network)), budget_(std::move(budget)), arena_(backend), upload_(backend) {}

int64_t StepExecutor::LogitRows(int64_t tokens, int64_t sequences) {
  return std::min(kMaxLogitRows, std::max({tokens, sequences, kMinLogitRows}));
}

int64_t StepExecutor::ArenaBytesFor(int64_t network_bytes, int64_t hidden_size, int64_t vocab_size, int64_t tokens,
                                    int64_t sequences) {
  const int64_t rows = LogitRows(tokens, sequences);
  // Hidden rows may be of any compute type: account for the widest.
  return network_bytes + ArenaBytes(DType::kF32, rows * hidden_size) + ArenaBytes(DType::kF32, rows * vocab_size);
}

int64_t StepExecutor::WorkspaceBytes(int64_t network_bytes, int64_t hidden_size, int64_t vocab_size,
                                     int64_t max_model_len, const KvLayout& kv_layout, int64_t max_tokens,
                                     int64_t max_sequences) {
  return ArenaBytesFor(network_bytes, hidden_size, vocab_size, max_tokens, max_sequences) +
         UploadBytes(max_model_len, kv_layout, max_tokens, max_sequences) + ResultBytes(max_tokens, max_sequences);
}

int64_t StepExecutor::UploadBytes(int64_t max_model_len, const KvLayout& kv_layout, int64_t max_tokens,
                                  int64_t max_sequences) {
  // Ids, positions, slots and sample rows; block tables, lengths and starts, twice for latent attention.
  const int64_t table_bytes = (max_model_len + kMinBlockTokens - 1) / kMinBlockTokens * 4;
  const int64_t array_bytes = max_tokens * 32 + max_sequences * (table_bytes + 64) + 4096;
  const int64_t window_bytes = kv_layout.window_tokens > 0 ? max_tokens * 8 + max_sequences * table_bytes : 0;
  return 2 * (array_bytes + window_bytes);
}

int64_t StepExecutor::ResultBytes(int64_t tokens, int64_t sequences) {
  return SampleRows::MostBytes(std::max({tokens, sequences, kMinLogitRows}));
}

absl::Status StepExecutor::MakeReadbacks(int64_t bytes) {
  for (std::unique_ptr<kernels::Readback>& readback : readbacks_) {
    HADAL_ASSIGN_OR_RETURN(readback, backend_->MakeReadback(bytes));
  }
  return absl::OkStatus();
}

absl::Status StepExecutor::Prepare() {
  HADAL_RETURN_IF_ERROR(backend_->Reserve(budget_.bounds));
  const int64_t upload_bytes =
      UploadBytes(budget_.bounds.context_tokens, network_->kv_layout(), budget_.max_tokens, budget_.max_sequences);
  HADAL_RETURN_IF_ERROR(upload_.Reserve(upload_bytes + backend_->ListBytes(budget_.bounds)));
  const int64_t result_bytes = ResultBytes(budget_.max_tokens, budget_.max_sequences);
  HADAL_ASSIGN_OR_RETURN(results_, backend_->Allocate(result_bytes));
  HADAL_RETURN_IF_ERROR(MakeReadbacks(result_bytes));
  return arena_.Reserve(ArenaBytesFor(budget_.network_workspace(budget_.max_tokens), network_->hidden_size(),
                                      LogitWidth(*network_), budget_.max_tokens, budget_.max_sequences));
}

bool StepExecutor::Replayable(const StepInput& input) const {
  const int64_t tokens = input.tokens(), sequences = input.sequences(), rows = input.samples.size();
  const StepPlanner* planner = network_->step_planner();
  return backend_->ReplaysSteps() && network_->edges().whole() && tokens == sequences && tokens <= kMaxReplayedTokens &&
         rows > 0 && rows <= LogitRows(tokens, sequences) && (planner == nullptr || planner->Replayable());
}

const StepInput& StepExecutor::Padded(const StepInput& input) {
  const bool experts = budget_.bounds.experts > 0;
  const auto sequences = static_cast<size_t>(
      std::min({DecodeBucket(input.sequences(), experts), budget_.max_sequences, budget_.max_tokens}));
  // One width for contexts of many lengths, since addresses behind the tables follow from it; not wider than planned.
  const int64_t stride = input.block_table_stride;
  const int64_t widest = (budget_.bounds.context_tokens + kMinBlockTokens - 1) / kMinBlockTokens;
  const int64_t columns = std::max(stride, std::min(TableBucket(stride), widest));
  padded_.token_ids = input.token_ids;
  padded_.token_ids.resize(sequences, 0);
  padded_.positions = input.positions;
  padded_.positions.resize(sequences, 0);
  padded_.slot_mapping = input.slot_mapping;
  padded_.slot_mapping.resize(sequences, -1);
  padded_.query_start.resize(sequences + 1);
  std::iota(padded_.query_start.begin(), padded_.query_start.end(), 0);
  padded_.context_lens = input.context_lens;
  padded_.context_lens.resize(sequences, 1);
  padded_.block_table_stride = static_cast<int32_t>(columns);
  padded_.block_tables.assign(sequences * static_cast<size_t>(columns), 0);
  for (int32_t s = 0; s < input.sequences(); ++s) {
    const auto row = input.block_tables.begin() + s * stride;
    std::copy(row, row + stride, padded_.block_tables.begin() + s * columns);
  }
  const int64_t rows = DecodeBucket(static_cast<int32_t>(row_ids_.size()), experts);
  row_ids_.resize(static_cast<size_t>(std::min(rows, LogitRows(budget_.max_tokens, budget_.max_sequences))), 0);
  return padded_;
}

absl::StatusOr<StepExecutor::Begun> StepExecutor::BeginStep(const StepInput& step) {
  // Rows are sampled where there is a head.
  const absl::Span<const SampleRow> samples =
      network_->edges().gives_state ? absl::Span<const SampleRow>() : absl::MakeConstSpan(step.samples);
  row_ids_.clear();
  for (const SampleRow& row : samples) row_ids_.push_back(row.token_index);
  Begun begun;
  begun.replayed = Replayable(step);
  const StepInput& input = begun.replayed ? Padded(step) : step;
  const int64_t tokens = input.tokens(), sequences = input.sequences(), columns = input.block_table_stride;

  upload_.Clear();
  StepPlanner* planner = network_->step_planner();
  if (planner != nullptr) planner->Plan(input, upload_);
  const StepUpload::Handle slots = upload_.Add(absl::MakeConstSpan(input.slot_mapping));
  const StepUpload::Handle ids = upload_.Add(absl::MakeConstSpan(input.token_ids));
  const StepUpload::Handle positions = upload_.Add(absl::MakeConstSpan(input.positions));
  const StepUpload::Handle starts = upload_.Add(absl::MakeConstSpan(input.query_start));
  const StepUpload::Handle lengths = upload_.Add(absl::MakeConstSpan(input.context_lens));
  const StepUpload::Handle tables = upload_.Add(absl::MakeConstSpan(input.block_tables));
  const StepUpload::Handle row_ids = upload_.Add(absl::MakeConstSpan(row_ids_));
  HADAL_RETURN_IF_ERROR(upload_.Place());

  StepBatch& batch = begun.batch;
  batch.token_ids = upload_.View(ids, {tokens});
  batch.positions = upload_.View(positions, {tokens});
  batch.slot_mapping = upload_.View(slots, {tokens});
  batch.ragged = {.query_start = upload_.View(starts, {sequences + 1}),
                  .context_lens = upload_.View(lengths, {sequences}),
                  .block_tables = upload_.View(tables, {sequences, columns}),
                  .host_query_start = input.query_start,
                  .host_context_lens = input.context_lens};
  begun.row_ids = upload_.View(row_ids, {static_cast<int64_t>(row_ids_.size())});
  batches_.clear();
  expanded_batches_.clear();
  if (planner != nullptr) {
    planner->Bind(upload_, batch);
    planner->AddBatches(batches_);
    planner->AddExpandedBatches(expanded_batches_);
  } else {
    batches_.push_back(batch.ragged);
  }
  sample_rows_.Begin(samples);
  HADAL_RETURN_IF_ERROR(upload_.Commit({.batches = batches_,
                                        .rows = sample_rows_.params(),
                                        .vocab = network_->vocab_size(),
                                        .replayed = begun.replayed,
                                        .expanded_batches = expanded_batches_}));
  if (IsFed(step)) {
    const TensorView sampled(results_.data(), DType::kI32, {sampled_rows_});
    HADAL_RETURN_IF_ERROR(backend_->FeedTokens({.ids = batch.token_ids, .sampled = sampled}));
  }
  return begun;
}

absl::StatusOr<StepExecutor::Issued> StepExecutor::Issue(const StepInput& input, absl::Span<const std::byte> state,
                                                         std::vector<std::byte>* next_state) {
  HADAL_ASSIGN_OR_RETURN(const Begun begun, BeginStep(input));
  const Arena::Scope scope(arena_);
  const SampleLayout layout = sample_rows_.layout();
  if (readbacks_[0] == nullptr) HADAL_RETURN_IF_ERROR(MakeReadbacks(layout.bytes()));  // nobody has called Prepare
  if (layout.bytes() > results_.bytes()) {                                             // rows that share tokens
    HADAL_ASSIGN_OR_RETURN(results_, backend_->Allocate(layout.bytes()));
  }
  if (begun.replayed) {
    HADAL_RETURN_IF_ERROR(RunReplayed(input, begun));
  } else {
    HADAL_ASSIGN_OR_RETURN(const TensorView hidden, RunForward(begun, state));
    if (network_->edges().gives_state) {
      next_state->resize(static_cast<size_t>(hidden.bytes()));
      HADAL_RETURN_IF_ERROR(backend_->Download(next_state->data(), hidden.data, hidden.bytes()));
    } else {
      HADAL_RETURN_IF_ERROR(SampleIssued(input, begun, hidden));
    }
  }
  sampled_rows_ = layout.rows;
  kernels::Readback* const results = readbacks_[next_readback_].get();
  next_readback_ = (next_readback_ + 1) % readbacks_.size();
  HADAL_RETURN_IF_ERROR(results->Begin(results_.data(), layout.bytes()));
  return Issued{layout, results};
}

absl::StatusOr<StepOutput> StepExecutor::Finish(const Issued& issued, absl::Span<const SampleRow> samples) const {
  HADAL_ASSIGN_OR_RETURN(const void* const results, issued.results->Wait());
  StepOutput output;
  if (!network_->edges().gives_state) output.samples = SampleRows::Read(issued.layout, samples, results);
  return output;
}

absl::StatusOr<StepOutput> StepExecutor::Run(const StepInput& input) {
  HADAL_ASSIGN_OR_RETURN(const Issued issued, Issue(input));
  return Finish(issued, input.samples);
}

absl::StatusOr<TensorView> StepExecutor::RunForward(const Begun& begun, absl::Span<const std::byte> state) {
  const PartEdges edges = network_->edges();
  TensorView taken;
  if (edges.takes_state) {
    HADAL_ASSIGN_OR_RETURN(taken, arena_.Take(edges.state_dtype, {begun.batch.tokens(), edges.state_width}));
    HADAL_RETURN_IF_ERROR(backend_->Upload(taken.data, state.data(), static_cast<int64_t>(state.size())));
  }
  return network_->Forward({*backend_, arena_, begun.batch, taken});
}

absl::Status StepExecutor::RunReplayed(const StepInput& input, const Begun& begun) {
  const int64_t rows = begun.row_ids.size(0);
  // Taken first, so that its place is known without a forward pass.
  HADAL_ASSIGN_OR_RETURN(const TensorView logits, arena_.Take(DType::kF32, {rows, network_->vocab_size()}));
  const TensorView& tables = begun.batch.ragged.block_tables;
  const std::array<int64_t, 5> key = {tables.size(0), tables.size(1), rows, reinterpret_cast<int64_t>(tables.data),
                                      reinterpret_cast<int64_t>(logits.data)};
  HADAL_RETURN_IF_ERROR(backend_->Replay(key, [&]() -> absl::Status {
    const Arena::Scope scope(arena_);
    HADAL_ASSIGN_OR_RETURN(const TensorView hidden, network_->Forward({*backend_, arena_, begun.batch}));
    return ComputeLogits(begun.row_ids, hidden, logits);
  }));
  const auto asked_for = static_cast<int64_t>(input.samples.size());
  return sample_rows_.Run(*backend_, 0, logits.Slice(0, 0, asked_for), results_.data());
}

absl::Status StepExecutor::SampleIssued(const StepInput& input, const Begun& begun, const TensorView& hidden) {
  const size_t slice = static_cast<size_t>(LogitRows(input.tokens(), input.sequences()));
  for (size_t begin = 0; begin < input.samples.size(); begin += slice) {
    const Arena::Scope scope(arena_);
    const int64_t rows = static_cast<int64_t>(std::min(slice, input.samples.size() - begin));
    HADAL_ASSIGN_OR_RETURN(const TensorView logits, arena_.Take(DType::kF32, {rows, network_->vocab_size()}));
    HADAL_RETURN_IF_ERROR(ComputeLogits(begun.row_ids.Slice(0, static_cast<int64_t>(begin), rows), hidden, logits));
    HADAL_RETURN_IF_ERROR(sample_rows_.Run(*backend_, static_cast<int64_t>(begin), logits, results_.data()));
  }
  return absl::OkStatus();
}

absl::Status StepExecutor::ComputeLogits(const TensorView& row_ids, const TensorView& hidden,
                                         const TensorView& logits) {
  const Arena::Scope scope(arena_);
  HADAL_ASSIGN_OR_RETURN(const TensorView chosen, arena_.Take(hidden.dtype, {row_ids.size(0), hidden.size(1)}));
  HADAL_RETURN_IF_ERROR(backend_->Embedding({.ids = row_ids, .table = hidden, .out = chosen}));
  return network_->Head(*backend_, chosen, logits);
}

}  // namespace hadal::models
