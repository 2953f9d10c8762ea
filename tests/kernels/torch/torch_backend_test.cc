// SPDX-License-Identifier: Apache-2.0
//
// Opening libhadal_torch.so and what only this backend does. The ops are in tests/kernels/ops.
#include "kernels/torch/torch_backend.h"

#include <dlfcn.h>

#include <cstdint>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace hadal::kernels {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

TEST(TorchBackendTest, OpensTheCpuByName) {
  const auto backend = CreateBackend("torch:cpu", {.threads = 2});
  ASSERT_EQ(backend.status(), absl::OkStatus());
  EXPECT_EQ((*backend)->name(), "torch");
  EXPECT_THAT((*backend)->description(), StartsWith("torch 2."));
  EXPECT_THAT((*backend)->description(), HasSubstr("cpu, 2 threads"));
  EXPECT_TRUE((*backend)->host_accessible());
}

TEST(TorchBackendTest, AloneItIsTheBestDevice) {
  const auto best = CreateBackend("torch", {.threads = 1});
  ASSERT_EQ(best.status(), absl::OkStatus());
  const bool has_gpu = CreateBackend("torch:cuda", {}).ok();
  EXPECT_THAT((*best)->description(), HasSubstr(has_gpu ? "cuda:0" : "cpu, 1 thread"));
  EXPECT_EQ((*best)->host_accessible(), !has_gpu);
}

TEST(TorchBackendTest, RefusesWhatItCannotDo) {
  const absl::Status unknown = CreateBackend("torch:tpu", {}).status();
  EXPECT_EQ(unknown.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(unknown.message(), HasSubstr("found torch:tpu"));
  EXPECT_THAT(CreateBackend("torch:cpu", {.threads = -1}).status().message(), HasSubstr("found -1"));
  const absl::Status invariant = CreateBackend("torch:cpu", {.batch_invariant = true}).status();
  EXPECT_EQ(invariant.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(invariant.message(), HasSubstr("batch_invariant"));
  // No machine has so many.
  EXPECT_EQ(CreateBackend("torch:cuda:99", {}).status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST(TorchBackendTest, KeepsTheBudget) {
  auto backend = *CreateBackend("torch:cpu", {.threads = 1, .memory_budget_bytes = 1000});
  const absl::StatusOr<Buffer> buffer = backend->Allocate(600);
  ASSERT_EQ(buffer.status(), absl::OkStatus());
  EXPECT_EQ(backend->Allocate(600).status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(backend->Memory()->used_bytes, 600);
}

// An exception of libtorch ends as a status that names the op, and the backend stays usable.
TEST(TorchBackendTest, AFailureOfLibtorchIsAStatus) {
  auto backend = *CreateBackend("torch:cpu", {.threads = 1});
  const std::vector<float> x = {1, 2}, w = {3, 4};
  std::vector<float> sorted(4), out(2);
  std::vector<int32_t> row_of = {0, 7};  // no row 7: the caller broke the contract
  const absl::Status status = backend->MoeUnpermute({.y_sorted = TensorView(sorted.data(), DType::kF32, {2, 2}),
                                                     .row_of = TensorView(row_of.data(), DType::kI32, {1, 2}),
                                                     .weights = TensorView(x.data(), DType::kF32, {1, 2}),
                                                     .addend = {},
                                                     .out = TensorView(out.data(), DType::kF32, {1, 2})});
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_THAT(status.message(), HasSubstr("torch: MoeUnpermute: "));
  EXPECT_EQ(backend->Gemm({.x = TensorView(x.data(), DType::kF32, {1, 2}),
                           .w = WeightView::Plain(TensorView(w.data(), DType::kF32, {1, 2})),
                           .bias = {},
                           .out = TensorView(out.data(), DType::kF32, {1, 1})}),
            absl::OkStatus());
  EXPECT_EQ(out[0], 11);
}

// Partial sums in a half type would pass every tolerance of small shapes and miss those of large ones.
TEST(TorchBackendTest, SumsInFullPrecision) {
  ASSERT_EQ(CreateBackend("torch:cpu", {.threads = 1}).status(), absl::OkStatus());
  void* libtorch = dlopen("libtorch_cpu.so", RTLD_NOLOAD | RTLD_LAZY);
  ASSERT_NE(libtorch, nullptr) << dlerror();
  const auto context = reinterpret_cast<void* (*)()>(dlsym(libtorch, "_ZN2at13globalContextEv"));
  ASSERT_NE(context, nullptr);
  // at::Context's questions. 0 is "no" of a bool, and of cuBLAS's enumeration "reduced precision is allowed".
  const auto answer = [&](const char* question) {
    const auto ask = reinterpret_cast<uint8_t (*)(const void*)>(dlsym(libtorch, question));
    EXPECT_NE(ask, nullptr) << question;
    return ask != nullptr ? int{ask(context())} : -1;
  };
  EXPECT_GT(answer("_ZNK2at7Context24allowFP16ReductionCuBLASEv"), 0);
  EXPECT_GT(answer("_ZNK2at7Context24allowBF16ReductionCuBLASEv"), 0);
  EXPECT_EQ(answer("_ZNK2at7Context15allowTF32CuBLASEv"), 0);
  EXPECT_EQ(answer("_ZNK2at7Context21allowFP16ReductionCPUEv"), 0);
  EXPECT_EQ(answer("_ZNK2at7Context29allowFP16BF16ReductionMathSDPEv"), 0);
  dlclose(libtorch);
}

// How gpu_backend.cc names another library's stream is how libtorch's own CUDA part does it.
TEST(TorchBackendTest, AStreamOfAnotherLibraryHasItsHandleForANumber) {
  (void)CreateBackend("torch:cuda", {});  // loads that part, with or without a GPU
  void* library = dlopen("libc10_cuda.so", RTLD_NOLOAD | RTLD_LAZY);
  if (library == nullptr) GTEST_SKIP() << "a libtorch without CUDA";
  struct Stream {  // c10::Stream, which is all that c10::cuda::CUDAStream has
    int8_t device_type, device_index;
    int64_t number;
  };
  const auto external = reinterpret_cast<Stream (*)(void*, int8_t)>(
      dlsym(library, "_ZN3c104cuda21getStreamFromExternalEP11CUstream_sta"));
  ASSERT_NE(external, nullptr);
  int handle = 0;
  const Stream stream = external(&handle, 3);
  EXPECT_EQ(stream.device_type, 1);  // CUDA
  EXPECT_EQ(stream.device_index, 3);
  EXPECT_EQ(stream.number, reinterpret_cast<int64_t>(&handle));
  dlclose(library);
}

TEST(TorchBackendTest, AStreamIsForAGpu) {
  int stream = 0;
  EXPECT_EQ(CreateTorchBackend("torch:cpu", {}, &stream).status().code(), absl::StatusCode::kInvalidArgument);
}

// What it exports must not be found by name from here: its Protobuf is another one than ours.
TEST(TorchBackendTest, ItsSymbolsStayLocal) {
  ASSERT_EQ(CreateBackend("torch:cpu", {.threads = 1}).status(), absl::OkStatus());
  EXPECT_EQ(dlsym(RTLD_DEFAULT, "hadal_torch_create"), nullptr);
  EXPECT_EQ(dlsym(RTLD_DEFAULT, "_ZN2at13globalContextEv"), nullptr);
}

}  // namespace
}  // namespace hadal::kernels
