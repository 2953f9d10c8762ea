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

  bool SupportsWeights(WeightScheme scheme) const override {
    return has_kernels && UniformBackend::SupportsWeights(scheme);
  }

  std::vector<std::string> ops;
  bool has_kernels = true;

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

TEST(UniformBackendTest, AFusedOpRunsItsParts) {
  RecordingBackend backend;
  EXPECT_EQ(backend.RopeKvAppend({}).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(backend.ops, IsEmpty());
  std::vector<float> values(64);
  const TensorView head(values.data(), DType::kF32, {1, 1, 4}), table(values.data() + 8, DType::kF32, {2, 2});
  RopeKvAppendParams params;
  params.k_norm = {.x = head, .residual = {}, .weight = {}, .out = head};
  params.rope = {
      .q = {}, .k = head, .positions = TensorView(values.data() + 16, DType::kI32, {1}), .cos = table, .sin = table};
  params.append = {.k = head,
                   .v = {},
                   .k_cache = TensorView(values.data() + 32, DType::kF32, {1, 1, 1, 4}),
                   .v_cache = {},
                   .slot_mapping = TensorView(values.data() + 24, DType::kI32, {1})};
  EXPECT_EQ(backend.RopeKvAppend(params), absl::OkStatus());
  EXPECT_THAT(backend.ops, ElementsAre("RmsNorm", "Rope", "KvAppend"));
}

TEST(UniformBackendTest, AWeightWhoseSchemeHasNoKernelIsRefusedByName) {
  RecordingBackend backend;
  const std::vector<float> values(64);
  const std::vector<int64_t> addresses(2);
  const TensorView rows(values.data(), DType::kF32, {3, 4}), heads(values.data(), DType::kF32, {3, 2, 4});
  const WeightView matrix = WeightView::Plain(TensorView(values.data(), DType::kF32, {4, 4}));
  const GemmParams gemm{.x = rows, .w = matrix, .bias = {}, .out = rows};
  const BatchedGemmParams batched{
      .x = heads, .w = WeightView::Plain(TensorView(values.data(), DType::kF32, {2, 4, 4})), .out = heads};
  const GroupedGemmParams grouped{
      .x = rows,
      .expert_start = TensorView(values.data(), DType::kI32, {3}),
      .w = {.values = TensorView(addresses.data(), DType::kI64, {2}), .scales = {}, .each = matrix},
      .out = rows};
  for (const bool has_kernels : {true, false}) {
    backend.has_kernels = has_kernels;
    const auto expected = [&](const char* op) {
      return has_kernels ? absl::OkStatus()
                         : absl::UnimplementedError(std::string("backend recording: ") + op +
                                                    " has no kernel for weights of scheme plain");
    };
    EXPECT_EQ(backend.Gemm(gemm), expected("Gemm"));
    EXPECT_EQ(backend.BatchedGemm(batched), expected("BatchedGemm"));
    EXPECT_EQ(backend.GroupedGemm(grouped), expected("GroupedGemm"));
    EXPECT_EQ(backend.Cast({rows, rows}), absl::OkStatus());
  }
  EXPECT_THAT(backend.ops, ElementsAre("Gemm", "BatchedGemm", "GroupedGemm", "Cast", "Cast"));
}

}  // namespace
}  // namespace hadal::kernels
