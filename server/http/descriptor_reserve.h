// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <vector>

namespace hadal::http {

// A few file descriptors held in reserve, to be released when none is left: a listener that cannot accept cannot even
// refuse. Not thread-safe.
class DescriptorReserve {
 public:
  explicit DescriptorReserve(size_t size) : size_(size) { Refill(); }
  ~DescriptorReserve();
  DescriptorReserve(const DescriptorReserve&) = delete;
  DescriptorReserve& operator=(const DescriptorReserve&) = delete;

  // Gives one up for the next accept; false when none is held.
  bool Release();
  // Takes back what was given up, as far as there are descriptors. Cheap when nothing is missing.
  void Refill();
  size_t held() const { return descriptors_.size(); }

 private:
  const size_t size_;
  std::vector<int> descriptors_;
};

}  // namespace hadal::http
