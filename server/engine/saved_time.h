// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>

namespace hadal::engine {

// Lets work that cannot be cut any smaller take its turn in steps of others: each step grants it a little time, and it
// runs once what was saved covers it (deficit round robin: Shreedhar and Varghese, SIGCOMM 1995). So it takes no more
// time than was granted, however long it takes at once. Not thread-safe.
class SavedTime {
 public:
  // In a step that grants `granted_s` seconds, whether work that takes `work_s` runs, which is then paid for. What is
  // saved beyond that is lost, so that a time without work leads to no burst.
  bool Take(double granted_s, double work_s) {
    saved_s_ = std::min(saved_s_, work_s) + granted_s;
    if (saved_s_ < work_s) return false;
    saved_s_ -= work_s;
    return true;
  }

 private:
  double saved_s_ = 0;
};

}  // namespace hadal::engine
