// SPDX-License-Identifier: Apache-2.0
//
// The CUDA backend's memory and copies, and kernels that no op test reaches without FlashInfer; on the emulated device.
#include <cstdlib>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/backend.h"
#include "kernels/cuda/flashinfer.h"
#include "tests/kernels/cuda/emulator/control.h"

namespace hadal::kernels {
namespace {

using cuda_emulator::TheDevice;
using ::testing::HasSubstr;

class CudaDeviceTest : public ::testing::Test {
 protected:
  ~CudaDeviceTest() override { TheDevice() = {}; }
};

TEST_F(CudaDeviceTest, SaysWhatItIs) {
  auto backend = *CreateBackend("cuda", {});
  EXPECT_EQ(backend->name(), "cuda");
  EXPECT_FALSE(backend->host_accessible());
  EXPECT_EQ(backend->device(), "cuda:0");
  EXPECT_EQ(backend->Facts().multiprocessors, 1);
  EXPECT_EQ(backend->Facts().pci_bus_id, "0000:65:00.0");
  EXPECT_FALSE(backend->Facts().mps);
  TheDevice().mps = true;
  EXPECT_TRUE((*CreateBackend("cuda", {}))->Facts().mps);
  EXPECT_EQ(backend->description(), "cuda:0, emulated GPU, compute capability 9.0");
}

TEST_F(CudaDeviceTest, SizesForTheMultiprocessorsThatMpsLeaves) {
  TheDevice().mps = true;
  TheDevice().multiprocessors = 132;
  TheDevice().context_multiprocessors = 33;
  auto share = *CreateBackend("cuda", {});
  EXPECT_EQ(share->Facts().multiprocessors, 33);
  const StepBounds bounds = {.tokens = 256,
                             .sequences = 256,
                             .context_tokens = 4096,
                             .block_tokens = 16,
                             .paged_heads = 28,
                             .paged_kv_heads = 4,
                             .paged_head_dim = 128};
  const int64_t scratch_of_share = share->ScratchBytes(bounds);
  TheDevice().context_multiprocessors = 132;
  EXPECT_LT(scratch_of_share, (*CreateBackend("cuda", {}))->ScratchBytes(bounds));
}

// A graph's memory is outside all buffers, so nothing but the plan keeps it free.
TEST_F(CudaDeviceTest, GraphsCountInWhatTheBackendNeeds) {
  const StepBounds bounds = {.tokens = 64, .sequences = 64, .vocab = 1000};
  const int64_t with_graphs = (*CreateBackend("cuda", {}))->ScratchBytes(bounds);
  setenv("HADAL_CUDA_GRAPHS", "off", 1);
  const int64_t without = (*CreateBackend("cuda", {}))->ScratchBytes(bounds);
  unsetenv("HADAL_CUDA_GRAPHS");
  EXPECT_EQ(with_graphs - without, int64_t{32} << 20);  // 32 of a MiB
}

TEST_F(CudaDeviceTest, AGpuThatIsTooOldIsRefusedByNameWithAdvice) {
  TheDevice().major = 7;
  TheDevice().minor = 5;
  const absl::Status status = CreateBackend("cuda", {}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(status.message(),
            "cuda: emulated GPU has compute capability 7.5, and these kernels need 8.0 or more; --device torch serves "
            "older GPUs");
  for (const auto& [major, minor] : {std::pair(8, 0), std::pair(8, 9), std::pair(10, 0), std::pair(12, 0)}) {
    TheDevice().major = major;
    TheDevice().minor = minor;
    EXPECT_TRUE(CreateBackend("cuda", {}).ok()) << major << "." << minor;
  }
}

TEST_F(CudaDeviceTest, ABuildWithoutCodeForTheGpuSaysWhatItWasBuiltFor) {
  TheDevice().major = 12;
  TheDevice().has_code = false;
  const absl::Status status = CreateBackend("cuda", {}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("emulated GPU has compute capability 12.0, for which this build holds no code: it was built "
                        "for 90a (CMAKE_CUDA_ARCHITECTURES); --device torch serves it"));
}

TEST_F(CudaDeviceTest, ErrorsOfMpsSayWhatHelps) {
  TheDevice().device_error = 807;  // cudaErrorMpsServerNotReady
  const absl::Status later = CreateBackend("cuda", {}).status();
  EXPECT_EQ(later.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(later.message()), HasSubstr("takes new ones when all that it served then have ended"));
  TheDevice().device_error = 808;  // cudaErrorMpsMaxClientsReached
  const absl::Status full = CreateBackend("cuda", {}).status();
  EXPECT_EQ(full.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(full.message()), HasSubstr("all the clients that a GPU can have"));
  TheDevice().device_error = 0;
  auto backend = *CreateBackend("cuda", {});
  Buffer buffer = *backend->Allocate(64);
  const TensorView rows(buffer.data(), DType::kF32, {1, 4});
  TheDevice().launch_error = 810;  // cudaErrorMpsClientTerminated
  EXPECT_THAT(std::string(backend->Cast({.in = rows, .out = rows}).message()),
              HasSubstr("the MPS server ended this process's use of the GPU"));
}

TEST_F(CudaDeviceTest, SettlingWaitsForEachDeviceThatWasOpened) {
  auto backend = *CreateBackend("cuda", {});
  const int64_t before = TheDevice().settles;
  SettleDevices();
  EXPECT_EQ(TheDevice().settles, before + 1);
}

TEST_F(CudaDeviceTest, OnlyAMachineWithoutAGpuLacksOne) {
  TheDevice().device_error = 999;  // cudaErrorUnknown
  const absl::Status broken = CreateBackend("cuda", {}).status();
  EXPECT_EQ(broken.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(broken.message()), HasSubstr("no usable GPU"));
  setenv("CUDA_VISIBLE_DEVICES", "", 1);  // also where this machine has one
  TheDevice().device_error = 100;         // cudaErrorNoDevice
  EXPECT_EQ(CreateBackend("cuda", {}).status().code(), absl::StatusCode::kNotFound);
  TheDevice().device_error = 35;  // cudaErrorInsufficientDriver: no driver at all
  EXPECT_EQ(CreateBackend("cuda", {}).status().code(), absl::StatusCode::kNotFound);
  unsetenv("CUDA_VISIBLE_DEVICES");
}

TEST_F(CudaDeviceTest, RefusesADeviceThatIsNotThere) {
  const absl::Status status = CreateBackend("cuda", {.device_index = 1}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("found 1"));
  EXPECT_EQ(CreateBackend("cuda", {.device_index = -1}).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(CudaDeviceTest, CountsBuffersAgainstTheBudget) {
  auto backend = *CreateBackend("cuda", {.memory_budget_bytes = 1000});
  Buffer first = *backend->Allocate(600);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(first.data()) % 64, 0u);
  EXPECT_EQ(backend->Memory()->total_bytes, 1000);
  EXPECT_EQ(backend->Memory()->used_bytes, 600);
  const absl::Status full = backend->Allocate(401).status();
  EXPECT_EQ(full.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(full.message(), "allocate: 401 bytes asked for, 400 of 1000 left");
  first.Reset();
  EXPECT_EQ(backend->Memory()->used_bytes, 0);
  EXPECT_EQ(backend->Allocate(0)->bytes(), 0);
  EXPECT_EQ(backend->Allocate(-1).status().code(), absl::StatusCode::kInvalidArgument);
}

// What is left for caches, asked for with weights loaded, is not more than their own backend gives.
TEST_F(CudaDeviceTest, BudgetsOfOneDeviceAddUp) {
  auto first = *CreateBackend("cuda", {});
  const int64_t all = first->Memory()->total_bytes;
  const Buffer weights = *first->Allocate(int64_t{100} << 20);
  EXPECT_EQ((*CreateBackend("cuda", {}))->Memory()->total_bytes, all - weights.bytes());
}

TEST_F(CudaDeviceTest, AStepsArraysAndRowsGoUpInOneCopy) {
  auto backend = *CreateBackend("cuda", {});
  const StepBounds bounds = {.tokens = 4, .sequences = 4, .context_tokens = 16, .block_tokens = 16, .vocab = 8};
  const std::vector<std::byte> arrays(100, std::byte{7});
  const int64_t room_bytes = 256 + backend->ListBytes(bounds);
  EXPECT_GE(backend->ScratchBytes(bounds), backend->ListBytes(bounds));
  Buffer room = *backend->Allocate(room_bytes), memory = *backend->Allocate(4096);
  const std::vector<uint32_t> mask = {1u << 5};
  const std::vector<SampleRowParams> rows = {{.temperature = 0}, {.temperature = 0, .allowed_mask = mask}};
  std::vector<float> logits(16, 0.0f);
  logits[3] = logits[8 + 3] = 1.0f;
  ASSERT_EQ(backend->Upload(memory.data(), logits.data(), 64), absl::OkStatus());
  char* out = static_cast<char*>(memory.data()) + 1024;
  const auto sample = [&](absl::Span<const SampleRowParams> given) -> std::vector<int32_t> {
    const int64_t n = static_cast<int64_t>(given.size());
    const TensorView values(static_cast<float*>(memory.data()) + (2 - n) * 8, DType::kF32, {n, 8});
    EXPECT_EQ(backend->Sample({.logits = values,
                               .rows = given,
                               .out_tokens = TensorView(out, DType::kI32, {n}),
                               .out_logprobs = TensorView(out + 256, DType::kF32, {n}),
                               .out_status = TensorView(out + 512, DType::kI32, {n})}),
              absl::OkStatus());
    std::vector<int32_t> tokens(n);
    EXPECT_EQ(backend->Download(tokens.data(), out, n * 4), absl::OkStatus());
    return tokens;
  };
  const cuda_emulator::Work before = TheDevice();
  ASSERT_EQ(backend->BeginStep({arrays, room.data(), room_bytes, {}, rows, 8}), absl::OkStatus());
  EXPECT_THAT(sample(rows), ::testing::ElementsAre(3, 5));
  EXPECT_THAT(sample(absl::MakeConstSpan(rows).subspan(1)), ::testing::ElementsAre(5));  // in parts
  EXPECT_EQ(TheDevice().uploads, before.uploads + 1);
  std::vector<std::byte> back(100);
  ASSERT_EQ(backend->Download(back.data(), room.data(), 100), absl::OkStatus());
  EXPECT_EQ(back, arrays);
  const std::vector<SampleRowParams> others = rows;  // nobody announced them
  EXPECT_THAT(sample(others), ::testing::ElementsAre(3, 5));
  EXPECT_GT(TheDevice().uploads, before.uploads + 1);
  // Without room for lists the arrays arrive all the same.
  ASSERT_EQ(backend->BeginStep({arrays, room.data(), 100, {}, rows, 8}), absl::OkStatus());
  EXPECT_THAT(sample(rows), ::testing::ElementsAre(3, 5));
}

TEST_F(CudaDeviceTest, ASequenceIsRecordedTheSecondTimeAndThenReplayed) {
  auto backend = *CreateBackend("cuda", {});
  Buffer buffer = *backend->Allocate(1024);
  const TensorView from(buffer.data(), DType::kF32, {1, 4});
  const TensorView to(static_cast<char*>(buffer.data()) + 512, DType::kF32, {1, 4});
  int issued = 0;
  const auto run = [&](int64_t key) {
    EXPECT_EQ(backend->BeginStep({.replayed = true}), absl::OkStatus());
    return backend->Replay({key}, [&] {
      ++issued;
      return backend->Cast({.in = from, .out = to});
    });
  };
  for (int i = 0; i < 5; ++i) {
    const std::vector<float> values(4, static_cast<float>(i));
    std::vector<float> found(4);
    ASSERT_EQ(backend->Upload(from.data, values.data(), 16), absl::OkStatus());
    ASSERT_EQ(run(7), absl::OkStatus());
    ASSERT_EQ(backend->Download(found.data(), to.data, 16), absl::OkStatus());
    EXPECT_EQ(found, values);  // what lies in memory now, not what lay there when it was recorded
  }
  EXPECT_EQ(issued, 2);
  EXPECT_EQ(TheDevice().replays, 4);
  for (int64_t key = 100; key < 150; ++key) {
    for (int i = 0; i < 2; ++i) ASSERT_EQ(run(key), absl::OkStatus());
  }
  EXPECT_EQ(TheDevice().graphs, 32);  // the most recently used ones
}

TEST_F(CudaDeviceTest, WhatCannotBeRecordedIsIssuedEachTime) {
  std::vector<std::string> lines;
  auto backend = *CreateBackend("cuda", {.warn = [&](absl::string_view line) { lines.emplace_back(line); }});
  Buffer buffer = *backend->Allocate(1024);
  int32_t value = 0, found = 0;
  for (int i = 1; i <= 4; ++i) {
    value = i;
    ASSERT_EQ(backend->BeginStep({.replayed = true}), absl::OkStatus());
    ASSERT_EQ(backend->Replay({}, [&] { return backend->Upload(buffer.data(), &value, 4); }), absl::OkStatus());
    ASSERT_EQ(backend->Download(&found, buffer.data(), 4), absl::OkStatus());
    EXPECT_EQ(found, i);
  }
  EXPECT_EQ(backend->Synchronize(), absl::OkStatus());  // the attempt has left no failure behind
  EXPECT_EQ(TheDevice().replays, 0);
  EXPECT_THAT(lines, ::testing::ElementsAre(HasSubstr("an upload among launches that are recorded")));
}

TEST_F(CudaDeviceTest, WaitsOnceForAStepThatEndsWithADownload) {
  auto backend = *CreateBackend("cuda", {});
  Buffer buffer = *backend->Allocate(64);
  int32_t value = 0;
  ASSERT_EQ(backend->Zero(buffer.data(), 64), absl::OkStatus());
  const int64_t syncs = TheDevice().syncs;
  ASSERT_EQ(backend->Download(&value, buffer.data(), 4), absl::OkStatus());
  EXPECT_EQ(backend->Synchronize(), absl::OkStatus());
  EXPECT_EQ(TheDevice().syncs, syncs + 1);
  ASSERT_EQ(backend->Upload(buffer.data(), &value, 4), absl::OkStatus());
  EXPECT_EQ(backend->Synchronize(), absl::OkStatus());
  EXPECT_EQ(TheDevice().syncs, syncs + 2);
}

TEST_F(CudaDeviceTest, AFailureIsReportedOnce) {
  auto backend = *CreateBackend("cuda", {});
  Buffer buffer = *backend->Allocate(64);
  const TensorView rows(buffer.data(), DType::kF32, {1, 4});
  TheDevice().launch_error = 719;  // cudaErrorLaunchFailure
  EXPECT_EQ(backend->Cast({.in = rows, .out = rows}).code(), absl::StatusCode::kInternal);
  EXPECT_EQ(backend->Cast({.in = rows, .out = rows}), absl::OkStatus());
  EXPECT_EQ(backend->Synchronize().code(), absl::StatusCode::kInternal);
  EXPECT_EQ(backend->Synchronize(), absl::OkStatus());
}

TEST_F(CudaDeviceTest, ShapesBeyondSharedMemoryAreRefusedWithTheLimit) {
  auto backend = *CreateBackend("cuda", {});
  constexpr int64_t kDim = 60000;
  Buffer memory = *backend->Allocate(kDim * 4 * 4);
  const int32_t starts[] = {0, 1}, contexts[] = {1};
  Buffer lists = *backend->Allocate(64);
  ASSERT_EQ(backend->Upload(lists.data(), starts, sizeof(starts)), absl::OkStatus());
  const TensorView heads(memory.data(), DType::kF32, {1, 1, kDim}), cache(memory.data(), DType::kF32, {1, 1, 1, kDim});
  RaggedBatch batch;
  batch.query_start = TensorView(lists.data(), DType::kI32, {2});
  batch.context_lens = TensorView(lists.data(), DType::kI32, {1});
  batch.block_tables = TensorView(lists.data(), DType::kI32, {1, 1});
  batch.host_query_start = starts;
  batch.host_context_lens = contexts;
  const absl::Status status =
      backend->PagedAttention({.q = heads, .k_cache = cache, .v_cache = cache, .out = heads, .batch = batch});
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("at most 232448 bytes of shared memory"));
  EXPECT_EQ(backend->Synchronize(), absl::OkStatus());
}

// libtorch sees no emulated device: the point is that the variable is read, and named where it fails.
TEST_F(CudaDeviceTest, NamesTheVariableWhenTorchCannotTakeItsOps) {
  ASSERT_EQ(setenv("HADAL_CUDA_TORCH_OPS", "gemm", 1), 0);
  const absl::Status status = CreateBackend("cuda", {}).status();
  ASSERT_EQ(unsetenv("HADAL_CUDA_TORCH_OPS"), 0);
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("HADAL_CUDA_TORCH_OPS: torch: "));
}

// The emulator has no cuBLASLt: what is planned for it is refused.
TEST_F(CudaDeviceTest, ProductsThatCublasRefusesAreCountedAndLoggedOnce) {
  std::vector<std::string> lines;
  auto backend = *CreateBackend("cuda", {.warn = [&](absl::string_view line) { lines.emplace_back(line); }});
  Buffer memory = *backend->Allocate(4096);
  const auto run = [&](DType x, int64_t rows, int64_t n) {
    return backend->Gemm({.x = TensorView(memory.data(), x, {rows, 8}),
                          .w = WeightView::Plain(TensorView(memory.data(), DType::kBF16, {n, 8})),
                          .out = TensorView(static_cast<char*>(memory.data()) + 2048, DType::kF32, {rows, n})});
  };
  for (const int64_t rows : {9, 10, 11}) ASSERT_EQ(run(DType::kBF16, rows, 4), absl::OkStatus());
  EXPECT_EQ(backend->Counters().refused_products, 3);
  EXPECT_THAT(lines, ::testing::ElementsAre(HasSubstr("bf16 x bf16 -> f32, 9 x 4, k 8: no cuBLASLt in the emulator")));
  ASSERT_EQ(run(DType::kBF16, 9, 5), absl::OkStatus());
  EXPECT_EQ(lines.size(), 2u);
  ASSERT_EQ(run(DType::kF32, 9, 4), absl::OkStatus());   // types that nobody plans for it
  ASSERT_EQ(run(DType::kBF16, 8, 4), absl::OkStatus());  // few rows have a kernel of their own
  EXPECT_EQ(backend->Counters().refused_products, 4);
}

// One product a head with transposed weights, as absorbed latent attention asks for.
TEST_F(CudaDeviceTest, TransposedProductsOfFewRowsHaveAKernelOfTheirOwn) {
  auto backend = *CreateBackend("cuda", {});
  Buffer memory = *backend->Allocate(1 << 16);
  char* at = static_cast<char*>(memory.data());
  for (const int64_t tokens : {1, 8, 9}) {
    ASSERT_EQ(backend->BatchedGemm({.x = TensorView(at, DType::kBF16, {tokens, 2, 16}),
                                    .w = WeightView::Plain(TensorView(at + 4096, DType::kBF16, {2, 16, 64})),
                                    .out = TensorView(at + 16384, DType::kBF16, {tokens, 2, 64}),
                                    .transpose_w = true}),
              absl::OkStatus());
    EXPECT_EQ(backend->Counters().refused_products, tokens == 9 ? 1 : 0) << tokens;
  }
}

TEST_F(CudaDeviceTest, ProductsOfFewRowsGoToCublasWhereTheirKernelMayNotRun) {
  const auto refused = [&](const Backend::Options& options) {
    auto backend = *CreateBackend("cuda", options);
    Buffer memory = *backend->Allocate(4096);
    EXPECT_EQ(backend->Gemm({.x = TensorView(memory.data(), DType::kBF16, {1, 8}),
                             .w = WeightView::Plain(TensorView(memory.data(), DType::kBF16, {4, 8})),
                             .out = TensorView(static_cast<char*>(memory.data()) + 2048, DType::kF32, {1, 4})}),
              absl::OkStatus());
    return backend->Counters().refused_products;
  };
  EXPECT_EQ(refused({}), 0);
  EXPECT_EQ(refused({.batch_invariant = true}), 1);
  ASSERT_EQ(setenv("HADAL_CUDA_GEMV", "off", 1), 0);
  EXPECT_EQ(refused({}), 1);
  ASSERT_EQ(unsetenv("HADAL_CUDA_GEMV"), 0);
}

TEST(BuildPageIndicesTest, FlattensTheTablesOfSequencesWithPages) {
  const int32_t table[] = {7, 8, 9, 1, 2, 3, 4, 5, 6};  // three sequences, three columns
  const int32_t first_page[] = {0, 2, 2, 5};            // the second has none
  int32_t pages[6] = {-1, -1, -1, -1, -1, -1};
  ASSERT_EQ(cuda::LaunchBuildPageIndices(nullptr, table, 3, first_page, 3, 5, pages), 0);
  EXPECT_THAT(pages, ::testing::ElementsAre(7, 8, 4, 5, 6, -1));
}

}  // namespace
}  // namespace hadal::kernels
