// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdlib>
#include <memory>
#include <new>

namespace hadal::kernels::cpu {

// Memory that is kept between ops and grows to the largest use. 64-byte aligned, contents undefined. Not thread-safe:
// each worker has its own.
class Scratch {
 public:
  template <typename T>
  T* Get(size_t count) {
    const size_t bytes = (count * sizeof(T) + 63) / 64 * 64;
    if (bytes > bytes_) {
      data_.reset();
      bytes_ = 0;
      void* data = nullptr;
      if (posix_memalign(&data, 64, bytes) != 0) throw std::bad_alloc();
      data_.reset(data);
      bytes_ = bytes;
    }
    return static_cast<T*>(data_.get());
  }

 private:
  struct FreeDeleter {
    void operator()(void* data) const { free(data); }
  };
  std::unique_ptr<void, FreeDeleter> data_;
  size_t bytes_ = 0;
};

}  // namespace hadal::kernels::cpu
