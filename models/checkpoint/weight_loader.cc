// SPDX-License-Identifier: Apache-2.0
#include "models/checkpoint/weight_loader.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <optional>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "base/sync.h"
#include "models/checkpoint/decode.h"
#include "models/checkpoint/dummy_values.h"
#include "models/checkpoint/expert_table.h"
#include "models/checkpoint/weight_chunks.h"
#include "models/checkpoint/weight_sources.h"

namespace hadal::checkpoint {

using kernels::DType;
using kernels::DTypeBytes;
using kernels::TensorView;
using kernels::WeightView;

namespace {

constexpr int64_t kParallelBytes = int64_t{8} << 20;  // smaller results are not worth threads
constexpr int32_t kMaxThreads = 8;
constexpr int64_t kTile = 64;  // rows and columns that are transposed at once, within the cache of a core

std::vector<RowRange> WholeTensors(const std::vector<TensorSpec>& specs) {
  std::vector<RowRange> ranges;
  for (const TensorSpec& spec : specs) ranges.push_back({spec.name});
  return ranges;
}

absl::Status RangeError(const WeightSource& source, const RangeFault& fault) {
  return absl::InvalidArgumentError(
      absl::StrCat(source.path, ": tensor \"", source.name, "\": expected values within +-65504 for float16, found ",
                   fault.value, " at row ", fault.row, ", column ", fault.column, "; use bfloat16 or float32"));
}

}  // namespace

struct WeightLoader::State {
  WeightStore store;
  std::optional<config::Fp8Config> fp8;
  kernels::Backend* backend = nullptr;
  Options options;
  int32_t threads = 1;
  std::unique_ptr<const DummyValues> dummy_compute;
  std::unique_ptr<const DummyValues> dummy_f32;

  base::Mutex mutex;  // one call of options.progress at a time
  int64_t bytes_done ABSL_GUARDED_BY(mutex) = 0;
  std::atomic<int64_t> buffer_bytes{0};
  std::atomic<int64_t> zero_copy_bytes{0};

  explicit State(WeightStore weights) : store(std::move(weights)) {}

  absl::StatusOr<WeightAssembly> Assemble(const std::vector<RowRange>& rows) const {
    return checkpoint::Assemble(store, fp8, rows);
  }
  std::optional<LoadedTensor> TryInPlace(const WeightAssembly& assembly, DType dtype,
                                         const std::vector<int64_t>& shape);
  absl::StatusOr<LoadedTensor> Make(const WeightAssembly& assembly, DType dtype, const std::vector<int64_t>& shape);
  absl::StatusOr<LoadedTensor> MakeBuffer(const WeightAssembly& assembly, DType dtype,
                                          const std::vector<int64_t>& shape, absl::Span<const WeightChunk> chunks);
  absl::Status Convert(const WeightSource& source, const MatrixPart& part, DType dtype, void* out) const;
  absl::Status ConvertTransposed(const WeightSource& source, const MatrixPart& part, DType dtype, std::byte* out) const;
  absl::Status Write(absl::Span<const WeightChunk> chunks, DType dtype, const kernels::Buffer& target);
  absl::StatusOr<kernels::Buffer> Allocate(int64_t bytes, absl::string_view what);
  void Report(int64_t stored_bytes);
};

std::optional<LoadedTensor> WeightLoader::State::TryInPlace(const WeightAssembly& assembly, DType dtype,
                                                            const std::vector<int64_t>& shape) {
  if (!options.allow_zero_copy || !backend->host_accessible()) return std::nullopt;
  const std::byte* begin = nullptr;
  const std::byte* end = nullptr;
  const std::shared_ptr<const SafetensorsFile>& file = assembly.pieces.front().source->file;
  for (const WeightPiece& piece : assembly.pieces) {
    const WeightSource& source = *piece.source;
    if (source.file == nullptr || source.file != file || ToKernelDType(source.matrix.dtype) != dtype)
      return std::nullopt;
    const std::byte* first = source.matrix.data + piece.begin * source.row_bytes_stored();
    if (begin == nullptr) begin = end = first;
    if (first != end) return std::nullopt;
    end += piece.count * source.row_bytes_stored();
  }
  const int64_t alignment = std::max(options.zero_copy_alignment_bytes, DTypeBytes(dtype));
  if (reinterpret_cast<uintptr_t>(begin) % static_cast<uintptr_t>(alignment) != 0) return std::nullopt;
  zero_copy_bytes += end - begin;
  return LoadedTensor{WeightView::Plain(TensorView(begin, dtype, shape)), file, true};
}

absl::StatusOr<kernels::Buffer> WeightLoader::State::Allocate(int64_t bytes, absl::string_view what) {
  auto buffer = backend->Allocate(bytes);
  if (!buffer.ok()) {
    return absl::Status(buffer.status().code(),
                        absl::StrCat("weights: tensor \"", what, "\": ", buffer.status().message()));
  }
  buffer_bytes += bytes;
  return buffer;
}

absl::Status WeightLoader::State::Convert(const WeightSource& source, const MatrixPart& part, DType dtype,
                                          void* out) const {
  if (source.dummy == nullptr) {
    if (auto fault = DecodePart(source.matrix, part, dtype, out)) return RangeError(source, *fault);
    return absl::OkStatus();
  }
  const DummyValues& values = dtype == options.compute_dtype ? *dummy_compute : *dummy_f32;
  for (int64_t i = 0; i < part.rows; ++i) {
    values.Fill(*source.dummy, (part.row + i) * source.matrix.columns + part.column, part.columns,
                static_cast<std::byte*>(out) + i * part.columns * DTypeBytes(dtype));
  }
  return absl::OkStatus();
}

absl::Status WeightLoader::State::ConvertTransposed(const WeightSource& source, const MatrixPart& part, DType dtype,
                                                    std::byte* out) const {
  alignas(64) std::array<float, kTile * kTile> tile;
  const int64_t value_bytes = DTypeBytes(dtype);
  for (int64_t column = 0; column < part.columns; column += kTile) {
    for (int64_t row = 0; row < part.rows; row += kTile) {
      const MatrixPart of_tile = {part.row + row, std::min(kTile, part.rows - row), part.column + column,
                                  std::min(kTile, part.columns - column)};
      if (absl::Status status = Convert(source, of_tile, dtype, tile.data()); !status.ok()) return status;
      Transpose(tile.data(), of_tile.rows, of_tile.columns, value_bytes, out + (column * part.rows + row) * value_bytes,
                part.rows);
    }
  }
  return absl::OkStatus();
}

// Every value goes from the file to where the device copies from, and nowhere in between.
absl::Status WeightLoader::State::Write(absl::Span<const WeightChunk> chunks, DType dtype,
                                        const kernels::Buffer& target) {
  std::atomic<size_t> next{0};
  base::Mutex status_mutex;
  absl::Status first_error;
  const auto write = [&](const WeightChunk& chunk) {
    void* out = static_cast<std::byte*>(target.data()) + chunk.target * DTypeBytes(dtype);
    return backend->UploadFilled(out, chunk.part.values() * DTypeBytes(dtype), [&](void* staged) {
      const WeightSource& source = *chunk.piece->source;
      return chunk.transposed ? ConvertTransposed(source, chunk.part, dtype, static_cast<std::byte*>(staged))
                              : Convert(source, chunk.part, dtype, staged);
    });
  };
  auto work = [&] {
    for (size_t i = next++; i < chunks.size(); i = next++) {
      if (absl::Status status = write(chunks[i]); !status.ok()) {
        base::MutexLock lock(&status_mutex);
        first_error.Update(status);
        next = chunks.size();
      }
    }
  };
  std::vector<std::thread> helpers;
  if (target.bytes() >= kParallelBytes) {
    const size_t wanted = std::min<size_t>(static_cast<size_t>(threads), chunks.size());
    for (size_t i = 1; i < wanted; ++i) helpers.emplace_back(work);
  }
  work();
  for (std::thread& helper : helpers) helper.join();
  return first_error;
}

absl::StatusOr<LoadedTensor> WeightLoader::State::MakeBuffer(const WeightAssembly& assembly, DType dtype,
                                                             const std::vector<int64_t>& shape,
                                                             absl::Span<const WeightChunk> chunks) {
  auto buffer = Allocate(assembly.rows * assembly.columns * DTypeBytes(dtype), assembly.pieces.front().source->name);
  if (!buffer.ok()) return buffer.status();
  auto storage = std::make_shared<kernels::Buffer>(*std::move(buffer));
  if (absl::Status status = Write(chunks, dtype, *storage); !status.ok()) return status;
  const void* data = storage->data();
  return LoadedTensor{WeightView::Plain(TensorView(data, dtype, shape)), std::move(storage), false};
}

absl::StatusOr<LoadedTensor> WeightLoader::State::Make(const WeightAssembly& assembly, DType dtype,
                                                       const std::vector<int64_t>& shape) {
  if (!kernels::IsComputeDType(dtype)) {
    return absl::InvalidArgumentError(
        absl::StrCat("weights: expected type f32, bf16 or f16, found ", kernels::DTypeName(dtype)));
  }
  if (shape.size() > static_cast<size_t>(TensorView::kMaxRank)) {
    return absl::InvalidArgumentError(absl::StrCat("weights: tensor \"", assembly.pieces.front().source->name,
                                                   "\": expected at most ", TensorView::kMaxRank, " dimensions, found ",
                                                   shape.size()));
  }
  if (store.is_dummy() && dtype != options.compute_dtype && dtype != DType::kF32) {
    return absl::InvalidArgumentError("weights: dummy values are made in the compute type and f32 only");
  }
  std::optional<LoadedTensor> tensor = TryInPlace(assembly, dtype, shape);
  if (!tensor) {
    auto made = MakeBuffer(assembly, dtype, shape, CutRows(assembly, DTypeBytes(dtype)));
    if (!made.ok()) return made.status();
    tensor = *std::move(made);
  }
  Report(assembly.stored_bytes);
  return *std::move(tensor);
}

void WeightLoader::State::Report(int64_t stored_bytes) {
  base::MutexLock lock(&mutex);
  bytes_done += stored_bytes;
  if (options.progress) options.progress({LoadStage::kLoad, bytes_done, options.progress_total_bytes});
}

WeightLoader::WeightLoader(std::unique_ptr<State> state) : state_(std::move(state)) {}
WeightLoader::~WeightLoader() = default;

absl::StatusOr<std::unique_ptr<WeightLoader>> WeightLoader::Create(WeightStore store, const config::ModelConfig& config,
                                                                   kernels::Backend* backend, Options options) {
  if (backend == nullptr) return absl::InvalidArgumentError("weights: expected a backend, found none");
  if (!kernels::IsComputeDType(options.compute_dtype)) {
    return absl::InvalidArgumentError(absl::StrCat("weights: compute type: expected f32, bf16 or f16, found ",
                                                   kernels::DTypeName(options.compute_dtype)));
  }
  auto state = std::make_unique<State>(std::move(store));
  state->fp8 = config.fp8;
  state->backend = backend;
  const int32_t cores = static_cast<int32_t>(std::thread::hardware_concurrency());
  state->threads = std::clamp(options.threads > 0 ? options.threads : cores, 1, kMaxThreads);
  if (state->store.is_dummy()) {
    state->dummy_compute = std::make_unique<DummyValues>(state->store.dummy_seed(), options.compute_dtype);
    state->dummy_f32 = std::make_unique<DummyValues>(state->store.dummy_seed(), DType::kF32);
  }
  state->options = std::move(options);
  return std::unique_ptr<WeightLoader>(new WeightLoader(std::move(state)));
}

DType WeightLoader::compute_dtype() const { return state_->options.compute_dtype; }
kernels::Backend* WeightLoader::backend() const { return state_->backend; }
const WeightStore& WeightLoader::store() const { return state_->store; }
int64_t WeightLoader::buffer_bytes() const { return state_->buffer_bytes; }
int64_t WeightLoader::zero_copy_bytes() const { return state_->zero_copy_bytes; }

absl::StatusOr<LoadedTensor> WeightLoader::Take(const TensorSpec& spec) {
  return Load(spec.name, KeptDType(spec.role, compute_dtype()));
}

absl::StatusOr<LoadedTensor> WeightLoader::TakeStacked(const std::vector<TensorSpec>& specs) {
  return LoadRows(WholeTensors(specs), KeptDType(specs.front().role, compute_dtype()));
}

absl::StatusOr<LoadedTensor> WeightLoader::TakeGroups(const std::vector<std::vector<TensorSpec>>& groups) {
  std::vector<std::vector<RowRange>> ranges;
  for (const std::vector<TensorSpec>& group : groups) ranges.push_back(WholeTensors(group));
  return LoadGroups(ranges);
}

absl::StatusOr<LoadedTensor> WeightLoader::TakeExpertTable(const TensorSpec& spec, int64_t experts) {
  return LoadExpertTable(spec.name, experts);
}

absl::StatusOr<LoadedTensor> WeightLoader::Load(absl::string_view name) { return Load(name, compute_dtype()); }

absl::StatusOr<LoadedTensor> WeightLoader::Load(absl::string_view name, DType dtype) {
  auto assembly = state_->Assemble({{std::string(name), 0, -1}});
  if (!assembly.ok()) return assembly.status();
  std::vector<int64_t> shape = assembly->pieces.front().source->shape;
  if (shape.empty()) shape = {1};
  return state_->Make(*assembly, dtype, shape);
}

absl::StatusOr<LoadedTensor> WeightLoader::LoadRows(const std::vector<RowRange>& rows) {
  return LoadRows(rows, compute_dtype());
}

absl::StatusOr<LoadedTensor> WeightLoader::LoadRows(const std::vector<RowRange>& rows, DType dtype) {
  auto assembly = state_->Assemble(rows);
  if (!assembly.ok()) return assembly.status();
  std::vector<int64_t> shape = {assembly->rows};
  if (!assembly->vectors) shape.push_back(assembly->columns);
  return state_->Make(*assembly, dtype, shape);
}

absl::StatusOr<LoadedTensor> WeightLoader::LoadStacked(const std::vector<std::string>& names) {
  std::vector<RowRange> rows;
  for (const std::string& name : names) rows.push_back({name, 0, -1});
  return LoadRows(rows);
}

absl::StatusOr<LoadedTensor> WeightLoader::LoadGroups(const std::vector<std::vector<RowRange>>& groups) {
  std::vector<RowRange> rows;
  int64_t group_rows = -1;
  for (const std::vector<RowRange>& group : groups) {
    auto assembly = state_->Assemble(group);
    if (!assembly.ok()) return assembly.status();
    if (group_rows >= 0 && assembly->rows != group_rows) {
      return absl::InvalidArgumentError(absl::StrCat("weights: tensor \"", group.front().name,
                                                     "\": expected groups of ", group_rows, " rows, found ",
                                                     assembly->rows));
    }
    group_rows = assembly->rows;
    rows.insert(rows.end(), group.begin(), group.end());
  }
  auto assembly = state_->Assemble(rows);
  if (!assembly.ok()) return assembly.status();
  return state_->Make(*assembly, compute_dtype(), {static_cast<int64_t>(groups.size()), group_rows, assembly->columns});
}

absl::StatusOr<LoadedTensor> WeightLoader::LoadExpertTable(absl::string_view name, int64_t experts) {
  auto table = ExpertTable::Find(state_->store, name, experts);
  if (!table.ok()) return table.status();
  constexpr int64_t kEntryBytes = sizeof(int32_t), kAtOnce = kChunkBytes / kEntryBytes;
  auto buffer = state_->Allocate(table->entries() * kEntryBytes, name);
  if (!buffer.ok()) return buffer.status();
  auto storage = std::make_shared<kernels::Buffer>(*std::move(buffer));
  for (int64_t done = 0; done < table->entries(); done += kAtOnce) {
    const int64_t count = std::min(kAtOnce, table->entries() - done);
    absl::Status status = state_->backend->UploadFilled(
        static_cast<std::byte*>(storage->data()) + done * kEntryBytes, count * kEntryBytes,
        [&](void* staged) { return table->Read(done, count, static_cast<int32_t*>(staged)); });
    if (!status.ok()) return status;
  }
  state_->Report(table->stored_bytes());
  const void* data = storage->data();
  return LoadedTensor{WeightView::Plain(TensorView(data, DType::kI32, table->shape())), std::move(storage), false};
}

absl::StatusOr<LoadedTensor> WeightLoader::LoadHeads(absl::string_view name, int64_t heads, int64_t head_rows,
                                                     int64_t first_row, int64_t width) {
  auto rows = HeadRows(state_->store, name, heads, head_rows, first_row, width);
  if (!rows.ok()) return rows.status();
  auto assembly = state_->Assemble(*rows);
  if (!assembly.ok()) return assembly.status();
  return state_->Make(*assembly, compute_dtype(), {heads, width, assembly->columns});
}

absl::StatusOr<LoadedTensor> WeightLoader::LoadHeadsTransposed(absl::string_view name, int64_t heads, int64_t head_rows,
                                                               int64_t first_row, int64_t width) {
  auto rows = HeadRows(state_->store, name, heads, head_rows, first_row, width);
  if (!rows.ok()) return rows.status();
  auto assembly = state_->Assemble(*rows);
  if (!assembly.ok()) return assembly.status();
  auto tensor = state_->MakeBuffer(*assembly, compute_dtype(), {heads, assembly->columns, width},
                                   CutTransposed(*assembly, DTypeBytes(compute_dtype())));
  if (tensor.ok()) state_->Report(assembly->stored_bytes);
  return tensor;
}

}  // namespace hadal::checkpoint
