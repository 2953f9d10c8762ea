// SPDX-License-Identifier: Apache-2.0
//
// Runs one op on the reference and on a backend under test with the same inputs, and compares everything: results
// within a tolerance, NaN with NaN, inputs unchanged, and no byte outside the outputs touched.
#pragma once

#include <cmath>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <ostream>
#include <random>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/backend.h"

namespace hadal::kernels {

inline constexpr DType kComputeDTypes[] = {DType::kF32, DType::kBF16, DType::kF16};

// A backend configuration that tests run on.
struct Variant {
  std::string name;  // for the test's name: "cpu_avx2"
  std::string backend;
  Backend::Options options;
};

inline void PrintTo(const Variant& variant, std::ostream* out) { *out << variant.name; }

// Each CPU instruction set (those the machine lacks are skipped), the CUDA backend, and libtorch on both.
std::vector<Variant> TestedVariants();

inline std::string VariantName(const ::testing::TestParamInfo<Variant>& info) { return info.param.name; }

#define HADAL_INSTANTIATE_OP_TEST(suite) \
  INSTANTIATE_TEST_SUITE_P(Backends, suite, ::testing::ValuesIn(TestedVariants()), VariantName)

struct Tolerance {
  float absolute = 0;
  float relative = 0;  // of the reference value
};

// Tensors of one run in the memory of one backend. Building the same tensors in the same order in two arenas gives the
// same contents. Each lies between guard words.
class Arena {
 public:
  explicit Arena(Backend* backend) : backend_(backend) {}

  // Bell-shaped values (mean 0, deviation `scale`, at most 3.5 deviations), rounded to the type. `row_padding` elements
  // between rows of the last dimension.
  TensorView Random(DType dtype, std::vector<int64_t> sizes, float scale = 1.0f, int64_t row_padding = 0);
  // Given values, row-major.
  TensorView Values(DType dtype, std::vector<int64_t> sizes, const std::vector<float>& values, int64_t row_padding = 0);
  TensorView Ints(std::vector<int64_t> sizes, const std::vector<int32_t>& values);
  TensorView Longs(std::vector<int64_t> sizes, const std::vector<int64_t>& values);
  // Written by the op; starts as a pattern that is not a plausible result.
  TensorView Output(DType dtype, std::vector<int64_t> sizes, int64_t row_padding = 0);
  // Marks an input as written by the op as well.
  void AlsoWritten(const TensorView& view);
  // The same tensor's address on the backend as an integer, for address lists.
  static int64_t Address(const TensorView& view) { return reinterpret_cast<int64_t>(view.data); }

  // A ragged batch over a cache of `blocks` blocks, with scattered block ids. Lives as long as the arena.
  RaggedBatch Ragged(const std::vector<int32_t>& queries, const std::vector<int32_t>& contexts, int64_t block_tokens,
                     int64_t blocks);

  // Elements of the i-th tensor that was added, as they are now.
  std::vector<double> Read(size_t i);
  std::vector<double> Read(const TensorView& view);

  // Fails the test where this arena's tensors are not those of `reference`.
  void ExpectLike(Arena& reference, const Tolerance& tolerance);

 private:
  struct Tensor {
    TensorView view;
    Buffer buffer;
    std::vector<uint8_t> initial;  // with guards and padding
    bool written = false;
    std::string name;
  };

  TensorView Add(DType dtype, const std::vector<int64_t>& sizes, int64_t row_padding, bool written,
                 const std::function<double(int64_t index)>& value);
  std::vector<uint8_t> Bytes(Tensor& tensor);

  Backend* backend_;
  std::deque<Tensor> tensors_;
  std::deque<std::vector<int32_t>> host_ints_;
  uint64_t random_ = 12345;
};

// Test fixture: `backend()` is the one under test, null when the machine lacks it (the test has been skipped then).
class OpTest : public ::testing::TestWithParam<Variant> {
 protected:
  void SetUp() override;
  Backend* backend() const { return backend_.get(); }
  Backend* reference() const { return reference_.get(); }

  // Builds the parameters in two arenas, runs the op on both backends and compares.
  template <typename Params>
  void Compare(const std::function<Params(Arena&)>& build, absl::Status (Backend::*op)(const Params&),
               const Tolerance& tolerance) {
    Arena expected(reference()), actual(backend());
    const Params expected_params = build(expected);
    const Params actual_params = build(actual);
    ASSERT_EQ((reference()->*op)(expected_params), absl::OkStatus());
    ASSERT_EQ((backend()->*op)(actual_params), absl::OkStatus());
    ASSERT_EQ(backend()->Synchronize(), absl::OkStatus());
    actual.ExpectLike(expected, tolerance);
  }

 private:
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<Backend> reference_;
};

}  // namespace hadal::kernels
