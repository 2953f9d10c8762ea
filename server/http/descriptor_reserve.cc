// SPDX-License-Identifier: Apache-2.0
#include "server/http/descriptor_reserve.h"

#include <fcntl.h>
#include <unistd.h>

namespace hadal::http {

DescriptorReserve::~DescriptorReserve() {
  while (Release()) {
  }
}

bool DescriptorReserve::Release() {
  if (descriptors_.empty()) return false;
  ::close(descriptors_.back());
  descriptors_.pop_back();
  return true;
}

void DescriptorReserve::Refill() {
  while (descriptors_.size() < size_) {
    const int descriptor = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) return;
    descriptors_.push_back(descriptor);
  }
}

}  // namespace hadal::http
