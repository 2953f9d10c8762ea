// SPDX-License-Identifier: Apache-2.0
#include "server/storage/store_thread.h"

#include <utility>

namespace hadal::storage {

StoreThread::StoreThread(std::unique_ptr<Database> database, size_t max_queued)
    : max_queued_(max_queued), database_(std::move(database)), thread_([this] { Loop(); }) {}

bool StoreThread::TryPost(Job job) {
  base::MutexLock lock(&mutex_);
  if (stopping_ || jobs_.size() >= max_queued_) return false;
  jobs_.push_back(std::move(job));
  changed_.NotifyAll();
  return true;
}

bool StoreThread::Run(absl::FunctionRef<void(Database&)> job) {
  bool done = false;
  base::MutexLock lock(&mutex_);
  while (!stopping_ && jobs_.size() >= max_queued_) changed_.Wait(&mutex_);
  if (stopping_) return false;
  jobs_.push_back([this, &job, &done](Database& database) {
    job(database);
    base::MutexLock done_lock(&mutex_);
    done = true;
  });
  changed_.NotifyAll();
  while (!done) changed_.Wait(&mutex_);
  return true;
}

void StoreThread::Stop() {
  {
    base::MutexLock lock(&mutex_);
    stopping_ = true;
    changed_.NotifyAll();
  }
  if (thread_.joinable()) thread_.join();
}

size_t StoreThread::queued() const {
  base::MutexLock lock(&mutex_);
  return jobs_.size();
}

void StoreThread::Loop() {
  while (true) {
    Job job;
    {
      base::MutexLock lock(&mutex_);
      while (jobs_.empty() && !stopping_) changed_.Wait(&mutex_);
      if (jobs_.empty()) break;
      job = std::move(jobs_.front());
      jobs_.pop_front();
    }
    job(*database_);
    job = nullptr;  // what it holds is freed before somebody is told
    base::MutexLock lock(&mutex_);
    changed_.NotifyAll();
  }
  database_.reset();
}

}  // namespace hadal::storage
