// SPDX-License-Identifier: Apache-2.0
#include "kernels/backend.h"

#include <algorithm>
#include <cstring>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/cpu/isa.h"

namespace hadal::kernels {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;

TEST(BackendTest, ListsAndCreatesByName) {
  EXPECT_THAT(BackendNames(), Contains("cpu"));
  EXPECT_THAT(BackendNames(), Contains("reference"));
  for (const std::string name : {"cpu", "reference"}) {
    const auto backend = CreateBackend(name, {});
    ASSERT_EQ(backend.status(), absl::OkStatus());
    EXPECT_EQ((*backend)->name(), name);
    EXPECT_TRUE((*backend)->host_accessible());
  }
  EXPECT_THAT(BackendNames(), Contains("torch"));
  const absl::Status unknown = CreateBackend("tpu", {}).status();
  EXPECT_EQ(unknown.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(unknown.message(), HasSubstr("found tpu"));
}

TEST(BackendTest, RefusesBadOptions) {
  EXPECT_THAT(CreateBackend("cpu", {.isa = "sse9"}).status().message(), HasSubstr("found sse9"));
  EXPECT_FALSE(CreateBackend("cpu", {.threads = -1}).ok());
  EXPECT_FALSE(CreateBackend("cpu", {.memory_budget_bytes = -5}).ok());
}

// The library lies beside the server, not beside this program.
TEST(BackendTest, WithoutItsLibraryTorchSaysWhereItLookedAndHowToGetIt) {
  const absl::Status status = CreateBackend("torch:cpu", {}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(status.message(), HasSubstr("/libhadal_torch.so"));
  EXPECT_THAT(status.message(), HasSubstr("-DHADAL_TORCH=ON"));
}

TEST(BackendTest, AnInstructionSetIsWhatWasAskedFor) {
  const auto portable = CreateBackend("cpu", {.threads = 1, .isa = "portable"});
  ASSERT_EQ(portable.status(), absl::OkStatus());
  EXPECT_EQ((*portable)->description(), "cpu, portable, 1 thread");
  const auto best = CreateBackend("cpu", {.threads = 2});
  EXPECT_EQ((*best)->description(), std::string("cpu, ") + cpu::IsaName(cpu::DetectIsa()) + ", 2 threads");
}

TEST(BackendTest, AllocationsAreAlignedAndCountAgainstTheBudget) {
  auto backend = *CreateBackend("cpu", {.threads = 1, .memory_budget_bytes = 1000});
  auto first = backend->Allocate(600);
  ASSERT_EQ(first.status(), absl::OkStatus());
  EXPECT_EQ(reinterpret_cast<uintptr_t>(first->data()) % 64, 0u);
  EXPECT_EQ(backend->Memory()->used_bytes, 600);
  EXPECT_EQ(backend->Memory()->total_bytes, 1000);
  const absl::Status full = backend->Allocate(401).status();
  EXPECT_EQ(full.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(full.message(), "allocate: 401 bytes asked for, 400 of 1000 left");
  Buffer moved = *std::move(first);
  EXPECT_EQ(backend->Memory()->used_bytes, 600);
  moved.Reset();
  EXPECT_EQ(backend->Memory()->used_bytes, 0);
  EXPECT_EQ(backend->Allocate(1000).status(), absl::OkStatus());
  EXPECT_EQ(backend->Allocate(0)->bytes(), 0);
  EXPECT_EQ(backend->Allocate(-1).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(BackendTest, CopiesAndZeroes) {
  auto backend = *CreateBackend("cpu", {.threads = 1});
  const char text[8] = "abcdefg";
  Buffer a = *backend->Allocate(8), b = *backend->Allocate(8);
  char back[8] = {};
  ASSERT_EQ(backend->Upload(a.data(), text, 8), absl::OkStatus());
  ASSERT_EQ(backend->Copy(b.data(), a.data(), 8), absl::OkStatus());
  ASSERT_EQ(backend->Zero(b.data(), 2), absl::OkStatus());
  ASSERT_EQ(backend->Download(back, b.data(), 8), absl::OkStatus());
  EXPECT_EQ(std::memcmp(back, "\0\0cdefg", 8), 0);
}

}  // namespace
}  // namespace hadal::kernels
