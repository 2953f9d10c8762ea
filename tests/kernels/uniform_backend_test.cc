// SPDX-License-Identifier: Apache-2.0
#include "kernels/uniform_backend.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/host_backend.h"

namespace hadal::kernels {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

// Notes which ops ran.
class RecordingBackend final : public UniformBackend<RecordingBackend, HostBackend> {
 public:
  RecordingBackend() : UniformBackend(/*budget_bytes=*/0) {}

  absl::string_view name() const override { return "recording"; }
  std::string description() const override { return "recording"; }

  std::vector<std::string> ops;

 private:
  friend UniformBackend<RecordingBackend, HostBackend>;

  template <typename Params>
  absl::Status RunOp(const Params&) {
    ops.push_back(OpTraits<Params>::kName);
    return absl::OkStatus();
  }
};

template <typename Params>
void ExpectRefusesAbsentTensors() {
  RecordingBackend backend;
  const absl::Status status = (backend.*OpTraits<Params>::kMethod)(Params());
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << OpTraits<Params>::kName << ": " << status;
  EXPECT_THAT(backend.ops, IsEmpty());
}

TEST(UniformBackendTest, EveryOpIsCheckedBeforeItRuns) {
#define HADAL_EXPECT_CHECKED(Op) ExpectRefusesAbsentTensors<Op##Params>();
  HADAL_FOR_EACH_OP(HADAL_EXPECT_CHECKED)
#undef HADAL_EXPECT_CHECKED
}

TEST(UniformBackendTest, RunsCheckedOpsThroughOneFunction) {
  RecordingBackend backend;
  std::vector<float> values(8);
  const TensorView row(values.data(), DType::kF32, {1, 4}), other(values.data() + 4, DType::kF32, {1, 4});
  EXPECT_EQ(backend.Cast({row, other}), absl::OkStatus());
  EXPECT_EQ(backend.SiluMul({row, row, other}), absl::OkStatus());
  EXPECT_THAT(backend.ops, ElementsAre("Cast", "SiluMul"));
}

}  // namespace
}  // namespace hadal::kernels
