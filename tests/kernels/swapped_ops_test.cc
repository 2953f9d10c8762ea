// SPDX-License-Identifier: Apache-2.0
#include "kernels/swapped_ops.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/host_backend.h"
#include "kernels/uniform_backend.h"

namespace hadal::kernels {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Writes what it does into a log that several share.
class LoggingBackend final : public UniformBackend<LoggingBackend, HostBackend> {
 public:
  LoggingBackend(std::string name, std::vector<std::string>* log)
      : UniformBackend(/*budget_bytes=*/1000), name_(std::move(name)), log_(log) {}

  absl::string_view name() const override { return name_; }
  std::string description() const override { return name_; }
  absl::Status Synchronize() override {
    log_->push_back(name_ + " waits");
    return absl::OkStatus();
  }

 private:
  friend UniformBackend<LoggingBackend, HostBackend>;

  template <typename Params>
  absl::Status RunOp(const Params&) {
    log_->push_back(name_ + " " + OpTraits<Params>::kName);
    return absl::OkStatus();
  }

  const std::string name_;
  std::vector<std::string>* const log_;
};

TEST(SwappedOpsTest, OnlyTheNamedOpsGoToTheOtherBackendInOrderAndNobodyWaits) {
  std::vector<std::string> log;
  const auto enter = [&] {
    log.push_back("entered");
    return absl::OkStatus();
  };
  auto swapped = SwapOps(std::make_unique<LoggingBackend>("base", &log),
                         std::make_unique<LoggingBackend>("other", &log), "silu_mul, gemm", enter);
  ASSERT_EQ(swapped.status(), absl::OkStatus());
  EXPECT_EQ((*swapped)->name(), "base");
  EXPECT_EQ((*swapped)->description(), "base; other: gemm, silu_mul");
  std::vector<float> values(8);
  const TensorView row(values.data(), DType::kF32, {1, 4}), result(values.data() + 4, DType::kF32, {1, 4});
  EXPECT_EQ((*swapped)->Cast({row, result}), absl::OkStatus());
  EXPECT_EQ((*swapped)->SiluMul({row, row, result}), absl::OkStatus());
  EXPECT_EQ((*swapped)->Cast({row, result}), absl::OkStatus());
  EXPECT_THAT(log, ElementsAre("base Cast", "entered", "other SiluMul", "base Cast"));
}

TEST(SwappedOpsTest, AQueueThatCannotBeEnteredFailsTheOp) {
  std::vector<std::string> log;
  auto swapped =
      *SwapOps(std::make_unique<LoggingBackend>("base", &log), std::make_unique<LoggingBackend>("other", &log),
               "silu_mul", [] { return absl::InternalError("no device"); });
  std::vector<float> values(8);
  const TensorView row(values.data(), DType::kF32, {1, 4}), result(values.data() + 4, DType::kF32, {1, 4});
  EXPECT_EQ(swapped->SiluMul({row, row, result}), absl::InternalError("no device"));
  EXPECT_EQ(swapped->Cast({row, result}), absl::OkStatus());
  EXPECT_THAT(log, ElementsAre("base Cast"));
}

TEST(SwappedOpsTest, MemoryIsTheBase) {
  std::vector<std::string> log;
  auto swapped =
      *SwapOps(std::make_unique<LoggingBackend>("base", &log), std::make_unique<LoggingBackend>("other", &log), "gemm");
  {
    const absl::StatusOr<Buffer> buffer = swapped->Allocate(600);
    ASSERT_EQ(buffer.status(), absl::OkStatus());
    EXPECT_EQ(swapped->Memory()->used_bytes, 600);
  }
  EXPECT_EQ(swapped->Memory()->used_bytes, 0);
}

TEST(SwappedOpsTest, ANameThatIsNoneIsRefusedWithTheKnownOnes) {
  std::vector<std::string> log;
  for (const std::string ops : {"gemm,matmul", "", "gemm,,silu_mul", "Gemm"}) {
    const absl::Status status =
        SwapOps(std::make_unique<LoggingBackend>("base", &log), std::make_unique<LoggingBackend>("other", &log), ops)
            .status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << ops;
    EXPECT_THAT(status.message(), HasSubstr("paged_attention, mla_attention"));
  }
}

}  // namespace
}  // namespace hadal::kernels
