// SPDX-License-Identifier: Apache-2.0
//
// The file that keeps cuBLASLt's algorithms from one start to the next: text, one algorithm a line, with a checksum
// behind. Whatever is odd about a file is an error, so that it is made anew.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "kernels/cuda/gemm_plan.h"

namespace hadal::kernels::cuda {

// A cublasLtMatmulAlgo_t: opaque words that mean something to one version of cuBLASLt.
struct LtAlgorithm {
  std::array<uint64_t, 8> words{};

  bool operator==(const LtAlgorithm&) const = default;
};

// What algorithms were chosen for. With another device, library or driver they are chosen anew.
struct AlgorithmScope {
  std::string device;               // "NVIDIA H200"
  int64_t driver = 0, library = 0;  // versions, as CUDA and cuBLASLt number them
  int64_t multiprocessors = 0;      // that algorithms are chosen for; 0: all of the device

  bool operator==(const AlgorithmScope&) const = default;
};

using AlgorithmTable = std::map<GemmShape, LtAlgorithm>;

inline constexpr size_t kMaxAlgorithms = 4096;              // of a file
inline constexpr int64_t kMaxAlgorithmFileBytes = 2 << 20;  // more is not read
inline constexpr absl::string_view kAlgorithmFormat = "hadal cublasLt algorithms, format 1";

// "cublaslt-NVIDIA_H200-132.txt": a file for each kind of device and number of multiprocessors ("all" for 0), so that
// another driver or library replaces it.
std::string AlgorithmFileName(const AlgorithmScope& scope);

// The file's text. Of more than kMaxAlgorithms the first ones are kept.
std::string FormatAlgorithms(const AlgorithmScope& scope, const AlgorithmTable& table);

// FailedPrecondition: it was made for another scope or by another format. InvalidArgument: it is damaged.
absl::StatusOr<AlgorithmTable> ParseAlgorithms(const AlgorithmScope& scope, absl::string_view text);

// NotFound: there is no such file. Other errors as above, and of the file system; all name the file.
absl::StatusOr<AlgorithmTable> ReadAlgorithms(const std::string& path, const AlgorithmScope& scope);

// Makes the folder where it is missing, and puts the whole file in place at once: a reader finds the old one or the new
// one. PermissionDenied or Unavailable: it could not be written, and the old one is as it was.
absl::Status WriteAlgorithms(const std::string& path, const AlgorithmScope& scope, const AlgorithmTable& table);

}  // namespace hadal::kernels::cuda
