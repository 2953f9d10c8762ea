// SPDX-License-Identifier: Apache-2.0
#include "client/call_window.h"

#include <algorithm>

namespace hadal::client {

bool CallWindow::Enter(const void* call, std::function<void()> turn) {
  if (max_calls_ == 0) return true;
  base::MutexLock lock(&mutex_);
  if (calls_ == max_calls_) {
    waiting_.emplace_back(call, std::move(turn));
    return false;
  }
  ++calls_;
  return true;
}

bool CallWindow::Withdraw(const void* call) {
  base::MutexLock lock(&mutex_);
  const auto found = std::find_if(waiting_.begin(), waiting_.end(), [&](const auto& one) { return one.first == call; });
  if (found == waiting_.end()) return false;
  waiting_.erase(found);
  return true;
}

void CallWindow::Leave() {
  if (max_calls_ == 0) return;
  std::function<void()> turn;
  {
    base::MutexLock lock(&mutex_);
    if (waiting_.empty()) {
      --calls_;
      return;
    }
    turn = std::move(waiting_.front().second);  // its call takes the place
    waiting_.pop_front();
  }
  turn();
}

}  // namespace hadal::client
