// SPDX-License-Identifier: Apache-2.0
#include "server/response_cache/shared_output.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "server/request/refusal.h"

namespace hadal::response_cache {

using request::Reason;
using request::StreamBatch;

// One client's place in the log. Its members besides `options` and `leader` are protected by the output's lock.
class SharedOutput::Reader : public request::OutputReader {
 public:
  Reader(std::shared_ptr<SharedOutput> output, ReaderOptions reader, bool leads)
      : options(std::move(reader)), leader(leads), output_(std::move(output)) {}
  ~Reader() override { output_->Leave(this); }

  StreamBatch Read() override { return output_->ReadFor(this); }
  StreamBatch ReadBlocking(absl::Duration timeout) override;
  void Cancel() override;
  void StopChoice(int32_t choice) override { output_->StopChoice(choice); }
  request::StreamTimes times() const override { return leader ? output_->stream_->times() : request::StreamTimes(); }

  const ReaderOptions options;
  const bool leader;
  size_t next_token = 0;
  size_t next_end = 0;
  bool left = false;
  absl::Status own_end;  // not OK: it ended before the sequence

 private:
  const std::shared_ptr<SharedOutput> output_;
};

std::shared_ptr<SharedOutput> SharedOutput::Create(int32_t capacity_tokens, request::Priority priority,
                                                   std::weak_ptr<Timer> timer, OnEnd on_end) {
  std::shared_ptr<SharedOutput> output(new SharedOutput(priority, std::move(timer), std::move(on_end)));
  auto notifier = std::make_shared<request::Notifier>([weak = output->weak_from_this()] {
    if (const std::shared_ptr<SharedOutput> self = weak.lock()) self->NotifyReaders();
  });
  output->stream_ = std::make_shared<request::TokenStream>(capacity_tokens, std::move(notifier));
  return output;
}

std::shared_ptr<request::OutputReader> SharedOutput::Attach(const ReaderOptions& options, bool leader) {
  auto reader = std::make_shared<Reader>(shared_from_this(), options, leader);
  {
    base::MutexLock lock(&mutex_);
    if (abandoned_ || (closed_ && !status_.ok())) {
      reader->left = true;
    } else {
      readers_.push_back(reader.get());
    }
  }
  if (reader->left) return nullptr;
  if (const std::shared_ptr<Timer> timer = timer_.lock(); timer != nullptr && options.notifier != nullptr) {
    for (const absl::Time limit : {options.deadline, options.first_token_by}) {
      if (limit == absl::InfiniteFuture()) continue;
      timer->At(limit, [weak = std::weak_ptr(options.notifier)] {
        if (const std::shared_ptr<request::Notifier> notifier = weak.lock()) notifier->Notify();
      });
    }
  }
  return reader;
}

void SharedOutput::Fail(absl::Status status) { stream_->Close(std::move(status), {}); }

void SharedOutput::NotifyReaders() {
  std::vector<std::shared_ptr<request::Notifier>> notifiers;
  {
    base::MutexLock lock(&mutex_);
    ++news_;
    changed_.NotifyAll();
    for (const Reader* reader : readers_) {
      if (reader->options.notifier != nullptr) notifiers.push_back(reader->options.notifier);
    }
  }
  for (const auto& notifier : notifiers) notifier->Notify();
}

bool SharedOutput::Pull() {
  if (closed_) return false;
  StreamBatch batch = stream_->Read();
  std::move(batch.tokens.begin(), batch.tokens.end(), std::back_inserter(log_.tokens));
  log_.ends.insert(log_.ends.end(), batch.ends.begin(), batch.ends.end());
  started_ = started_ || batch.started;
  if (!batch.closed) return false;
  closed_ = true;
  status_ = std::move(batch.status);
  usage_ = batch.usage;
  log_.cached_tokens = usage_.cached_tokens;
  return true;
}

StreamBatch SharedOutput::ReadFor(Reader* reader) {
  StreamBatch batch;
  bool ended = false, leaves = false;
  {
    base::MutexLock lock(&mutex_);
    ended = Pull();
    const std::shared_ptr<Timer> timer = timer_.lock();
    if (reader->own_end.ok() && !closed_ && timer != nullptr) {
      const absl::Time now = timer->clock().Now();
      const bool late = log_.tokens.empty() && reader->options.first_token_by <= now;
      if (late || reader->options.deadline <= now) {
        reader->own_end = request::MakeError(Reason::kDeadlineExpired, "the request's deadline passed");
      }
    }
    batch.started = started_;
    if (!reader->own_end.ok()) {
      batch.closed = leaves = true;
      batch.status = reader->own_end;
    } else {
      batch.tokens.assign(log_.tokens.begin() + reader->next_token, log_.tokens.end());
      batch.ends.assign(log_.ends.begin() + reader->next_end, log_.ends.end());
      reader->next_token = log_.tokens.size();
      reader->next_end = log_.ends.size();
      batch.closed = closed_;
      batch.status = status_;
      batch.usage = usage_;
    }
  }
  if (ended) TellEnd();
  if (leaves) Leave(reader);
  return batch;
}

void SharedOutput::TellEnd() {
  const RecordedOutput* output = nullptr;
  {
    base::MutexLock lock(&mutex_);
    if (std::exchange(told_end_, true)) return;
    // Nothing is added to the log of a sequence that has closed.
    if (closed_ && status_.ok() && log_.complete()) output = &log_;
  }
  std::exchange(on_end_, nullptr)(output);
}

void SharedOutput::Leave(Reader* reader) {
  bool last = false;
  {
    base::MutexLock lock(&mutex_);
    if (std::exchange(reader->left, true)) return;
    readers_.erase(std::find(readers_.begin(), readers_.end(), reader));
    last = readers_.empty() && !closed_;
    abandoned_ = abandoned_ || last;
  }
  if (!last) return;
  stream_->Cancel();
  TellEnd();
}

void SharedOutput::StopChoice(int32_t choice) {
  {
    // All readers find the same stop string, at the same place.
    base::MutexLock lock(&mutex_);
    if (!stopped_choices_.insert(choice).second) return;
  }
  stream_->StopChoice(choice);
}

StreamBatch SharedOutput::Reader::ReadBlocking(absl::Duration timeout) {
  const absl::Time give_up = base::Clock::Real()->Now() + timeout;
  while (true) {
    uint64_t seen = 0;
    {
      base::MutexLock lock(&output_->mutex_);
      seen = output_->news_;
    }
    StreamBatch batch = Read();
    if (!batch.tokens.empty() || !batch.ends.empty() || batch.closed) return batch;
    base::MutexLock lock(&output_->mutex_);
    while (output_->news_ == seen) {
      if (!base::Clock::Real()->WaitUntil(&output_->changed_, &output_->mutex_, give_up)) return batch;
    }
  }
}

void SharedOutput::Reader::Cancel() {
  {
    base::MutexLock lock(&output_->mutex_);
    if (own_end.ok()) own_end = request::MakeError(Reason::kCancelled, "the caller has cancelled the request");
    ++output_->news_;
    output_->changed_.NotifyAll();
  }
  output_->Leave(this);
}

}  // namespace hadal::response_cache
