// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <initializer_list>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/backend.h"

namespace hadal::models {

// Bytes that Arena::Take uses for `elements` elements: rounded up so that every view is aligned.
int64_t ArenaBytes(kernels::DType dtype, int64_t elements);

// A stack of short-lived tensors in one device buffer: the activations of a step. Nothing is allocated while a step
// runs. Thread-compatible; the backend must outlive it.
class Arena {
 public:
  explicit Arena(kernels::Backend* backend) : backend_(backend) {}

  // Makes room for at least `bytes`, dropping what was in it. Work that uses the old memory must be finished.
  absl::Status Reserve(int64_t bytes);

  // An uninitialised contiguous tensor, valid until the scope that was open at the time ends. ResourceExhausted when
  // the reserved bytes do not suffice (then the StepPlanner's worst steps lack one).
  absl::StatusOr<kernels::TensorView> Take(kernels::DType dtype, std::initializer_list<int64_t> shape);

  int64_t capacity_bytes() const { return buffer_.bytes(); }
  int64_t used_bytes() const { return used_bytes_; }
  int64_t peak_bytes() const { return peak_bytes_; }  // since construction

  // Gives back on destruction what was taken during its life.
  class Scope {
   public:
    explicit Scope(Arena& arena) : arena_(arena), mark_(arena.used_bytes_) {}
    ~Scope() { arena_.used_bytes_ = mark_; }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    Arena& arena_;
    int64_t mark_;
  };

 private:
  kernels::Backend* backend_;
  kernels::Buffer buffer_;
  int64_t used_bytes_ = 0;
  int64_t peak_bytes_ = 0;
};

}  // namespace hadal::models
