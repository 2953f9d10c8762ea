// SPDX-License-Identifier: Apache-2.0
#include "tests/kernels/op_harness.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "kernels/half.h"

namespace hadal::kernels {
namespace {

constexpr int64_t kGuardBytes = 256;
constexpr uint8_t kGuard = 0xA5;

double ReadElement(DType dtype, const uint8_t* at) {
  switch (dtype) {
    case DType::kBF16:
      return ToFloat(*reinterpret_cast<const BF16*>(at));
    case DType::kF16:
      return ToFloat(*reinterpret_cast<const F16*>(at));
    case DType::kI32:
      return *reinterpret_cast<const int32_t*>(at);
    case DType::kI64:
      return static_cast<double>(*reinterpret_cast<const int64_t*>(at));
    default:
      return *reinterpret_cast<const float*>(at);
  }
}

void WriteElement(DType dtype, double value, uint8_t* at) {
  switch (dtype) {
    case DType::kBF16:
      *reinterpret_cast<BF16*>(at) = ToBF16(static_cast<float>(value));
      break;
    case DType::kF16:
      *reinterpret_cast<F16*>(at) = ToF16(static_cast<float>(value));
      break;
    case DType::kI32:
      *reinterpret_cast<int32_t*>(at) = static_cast<int32_t>(value);
      break;
    case DType::kI64: {
      // Addresses exceed what a double holds; Longs writes them itself.
      *reinterpret_cast<int64_t*>(at) = static_cast<int64_t>(value);
      break;
    }
    default:
      *reinterpret_cast<float*>(at) = static_cast<float>(value);
      break;
  }
}

// Byte offset of the flat row-major index.
int64_t ByteOffset(const TensorView& view, int64_t index) {
  int64_t offset = 0;
  for (int d = view.rank - 1; d >= 0; --d) {
    offset += index % view.size(d) * view.stride(d);
    index /= view.size(d);
  }
  return offset * DTypeBytes(view.dtype);
}

bool Close(double actual, double expected, const Tolerance& tolerance) {
  if (std::isnan(expected) || std::isnan(actual)) return std::isnan(expected) && std::isnan(actual);
  if (std::isinf(expected) || std::isinf(actual)) return expected == actual;
  return std::fabs(actual - expected) <= tolerance.absolute + tolerance.relative * std::fabs(expected);
}

}  // namespace

std::vector<Variant> TestedVariants() {
  std::vector<Variant> variants;
  for (const char* isa : {"portable", "avx2", "avx512", "avx512_bf16", "amx"}) {
    variants.push_back({absl::StrCat("cpu_", isa), "cpu", {.threads = 3, .isa = isa}});
  }
  variants.push_back({"cpu_one_thread", "cpu", {.threads = 1}});
  variants.push_back({"cuda", "cuda", {}});
  variants.push_back({"torch_cpu", "torch:cpu", {.threads = 1}});
  variants.push_back({"torch_cuda", "torch:cuda", {}});
  return variants;
}

void OpTest::SetUp() {
  absl::StatusOr<std::unique_ptr<Backend>> backend = CreateBackend(GetParam().backend, GetParam().options);
  if (!backend.ok()) {
    const char* required = std::getenv("HADAL_REQUIRE_GPU");
    if (GetParam().backend == "cuda" && required != nullptr && std::string(required) == "1") {
      FAIL() << "HADAL_REQUIRE_GPU=1, but: " << backend.status();
    }
    if (GetParam().backend == "torch:cpu" && std::getenv("HADAL_REQUIRE_TORCH") != nullptr) FAIL() << backend.status();
    if (GetParam().backend == "torch:cuda" && std::getenv("HADAL_REQUIRE_TORCH_CUDA") != nullptr)
      FAIL() << backend.status();
    GTEST_SKIP() << "NOT TESTED HERE: " << GetParam().name << ": " << backend.status();
  }
  backend_ = *std::move(backend);
  reference_ = *CreateBackend("reference", {});
}

TensorView Arena::Add(DType dtype, const std::vector<int64_t>& sizes, int64_t row_padding, bool written,
                      const std::function<double(int64_t)>& value) {
  Tensor& tensor = tensors_.emplace_back();
  tensor.written = written;
  TensorView& view = tensor.view;
  view.dtype = dtype;
  view.rank = static_cast<int>(sizes.size());
  int64_t stride = 1;
  for (int d = view.rank - 1; d >= 0; --d) {
    view.sizes[d] = sizes[d];
    view.strides[d] = stride;
    stride *= sizes[d];
    if (d == view.rank - 1) stride += row_padding;
  }
  const int64_t bytes = std::max<int64_t>(stride, 1) * DTypeBytes(dtype);
  tensor.initial.assign(bytes + 2 * kGuardBytes, kGuard);
  for (int64_t i = 0; !written && i < view.numel(); ++i) {
    WriteElement(dtype, value(i), tensor.initial.data() + kGuardBytes + ByteOffset(view, i));
  }
  tensor.buffer = *backend_->Allocate(static_cast<int64_t>(tensor.initial.size()));
  EXPECT_EQ(backend_->Upload(tensor.buffer.data(), tensor.initial.data(), tensor.buffer.bytes()), absl::OkStatus());
  view.data = static_cast<uint8_t*>(tensor.buffer.data()) + kGuardBytes;
  tensor.name = absl::StrCat("tensor ", tensors_.size() - 1, " ", view.DebugString());
  return view;
}

TensorView Arena::Random(DType dtype, std::vector<int64_t> sizes, float scale, int64_t row_padding) {
  const auto uniform = [this] {
    random_ = random_ * 6364136223846793005u + 1442695040888963407u;
    return static_cast<float>(random_ >> 40) * 0x1p-24f;
  };
  // The sum of four uniform numbers has variance 1/3.
  const float factor = scale * std::sqrt(3.0f);
  return Add(dtype, sizes, row_padding, false,
             [&](int64_t) { return factor * ((uniform() + uniform()) + (uniform() + uniform()) - 2.0f); });
}

TensorView Arena::Values(DType dtype, std::vector<int64_t> sizes, const std::vector<float>& values,
                         int64_t row_padding) {
  return Add(dtype, sizes, row_padding, false, [&](int64_t i) { return values[i]; });
}

TensorView Arena::Ints(std::vector<int64_t> sizes, const std::vector<int32_t>& values) {
  return Add(DType::kI32, sizes, 0, false, [&](int64_t i) { return values[i]; });
}

TensorView Arena::Longs(std::vector<int64_t> sizes, const std::vector<int64_t>& values) {
  const TensorView view = Add(DType::kI64, sizes, 0, false, [](int64_t) { return 0; });
  Tensor& tensor = tensors_.back();
  if (!values.empty()) std::memcpy(tensor.initial.data() + kGuardBytes, values.data(), values.size() * sizeof(int64_t));
  EXPECT_EQ(backend_->Upload(tensor.buffer.data(), tensor.initial.data(), tensor.buffer.bytes()), absl::OkStatus());
  return view;
}

TensorView Arena::Output(DType dtype, std::vector<int64_t> sizes, int64_t row_padding) {
  return Add(dtype, sizes, row_padding, true, nullptr);
}

void Arena::AlsoWritten(const TensorView& view) {
  for (Tensor& tensor : tensors_) {
    if (tensor.view.data == view.data) tensor.written = true;
  }
}

RaggedBatch Arena::Ragged(const std::vector<int32_t>& queries, const std::vector<int32_t>& contexts,
                          int64_t block_tokens, int64_t blocks) {
  const int64_t sequences = static_cast<int64_t>(contexts.size());
  std::vector<int32_t>& starts = host_ints_.emplace_back(1, 0);
  for (int32_t count : queries) starts.push_back(starts.back() + count);
  std::vector<int32_t>& lens = host_ints_.emplace_back(contexts);
  int64_t columns = 1;
  for (int32_t context : contexts) columns = std::max<int64_t>(columns, (context + block_tokens - 1) / block_tokens);
  std::vector<int32_t> ids(blocks), table(sequences * columns, 0);
  std::iota(ids.begin(), ids.end(), 0);
  std::shuffle(ids.begin(), ids.end(), std::mt19937(7));
  int64_t next = 0;
  for (int64_t s = 0; s < sequences; ++s) {
    for (int64_t b = 0; b * block_tokens < contexts[s]; ++b) table[s * columns + b] = ids.at(next++);
  }
  RaggedBatch batch;
  batch.query_start = Ints({sequences + 1}, starts);
  batch.context_lens = Ints({sequences}, lens);
  batch.block_tables = Ints({sequences, columns}, table);
  batch.host_query_start = starts;
  batch.host_context_lens = lens;
  return batch;
}

std::vector<uint8_t> Arena::Bytes(Tensor& tensor) {
  std::vector<uint8_t> bytes(tensor.initial.size());
  EXPECT_EQ(backend_->Download(bytes.data(), tensor.buffer.data(), tensor.buffer.bytes()), absl::OkStatus());
  return bytes;
}

std::vector<double> Arena::Read(size_t i) {
  Tensor& tensor = tensors_.at(i);
  const std::vector<uint8_t> bytes = Bytes(tensor);
  std::vector<double> values(tensor.view.numel());
  for (size_t e = 0; e < values.size(); ++e) {
    values[e] = ReadElement(tensor.view.dtype, bytes.data() + kGuardBytes + ByteOffset(tensor.view, e));
  }
  return values;
}

std::vector<double> Arena::Read(const TensorView& view) {
  for (size_t i = 0; i < tensors_.size(); ++i) {
    if (tensors_[i].view.data == view.data) return Read(i);
  }
  ADD_FAILURE() << "no such tensor";
  return {};
}

void Arena::ExpectLike(Arena& reference, const Tolerance& tolerance) {
  ASSERT_EQ(tensors_.size(), reference.tensors_.size());
  for (size_t i = 0; i < tensors_.size(); ++i) {
    Tensor& tensor = tensors_[i];
    std::vector<uint8_t> bytes = Bytes(tensor);
    if (tensor.written) {
      const std::vector<double> actual = Read(i), expected = reference.Read(i);
      int reported = 0;
      for (size_t e = 0; e < actual.size() && reported < 3; ++e) {
        if (Close(actual[e], expected[e], tolerance)) continue;
        ADD_FAILURE() << tensor.name << ", element " << e << ": expected " << expected[e] << ", found " << actual[e];
        ++reported;
      }
      // What is left must be as it was: put the initial elements back before comparing.
      const int64_t width = DTypeBytes(tensor.view.dtype);
      for (size_t e = 0; e < actual.size(); ++e) {
        const int64_t at = kGuardBytes + ByteOffset(tensor.view, e);
        std::memcpy(bytes.data() + at, tensor.initial.data() + at, width);
      }
    }
    EXPECT_TRUE(bytes == tensor.initial) << tensor.name
                                         << (tensor.written ? ": written outside its elements"
                                                            : ": an input was changed");
  }
}

}  // namespace hadal::kernels
