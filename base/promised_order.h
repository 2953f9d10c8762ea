// SPDX-License-Identifier: Apache-2.0
#pragma once

#ifdef HADAL_TSAN
extern "C" {
void __tsan_acquire(void* address);
void __tsan_release(void* address);
}
#endif

namespace hadal::base {

// An order between threads that a library's documentation promises and ThreadSanitizer cannot see, because the library
// is not instrumented: what a thread did before Release comes before what another does after Acquire. It makes no
// order, it tells of one, and does nothing in other builds. One object for each promise.
class PromisedOrder {
 public:
  void Release() {
#ifdef HADAL_TSAN
    __tsan_release(this);
#endif
  }
  void Acquire() {
#ifdef HADAL_TSAN
    __tsan_acquire(this);
#endif
  }
};

}  // namespace hadal::base
