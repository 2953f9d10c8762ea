// SPDX-License-Identifier: Apache-2.0
#include "client/shared_generation.h"

#include <algorithm>
#include <utility>

#include "client/results.h"
#include "client/run_soon.h"

namespace hadal::client {

class SharedGeneration::Reader final : public Generation {
 public:
  explicit Reader(std::shared_ptr<SharedGeneration> shared) : shared_(std::move(shared)) {}
  ~Reader() override { shared_->Cancel(this); }

  void Next(Then then) override { shared_->Next(this, std::move(then)); }
  void Cancel() override { shared_->Cancel(this); }
  void EndThinking(std::function<void(absl::Status)> done) override {
    RunSoon([done = std::move(done)] { done(absl::NotFoundError("the chat has no reasoning_control")); });
  }
  absl::StatusOr<GenerationResult> result() const override { return shared_->ResultOf(*this); }

 private:
  friend class SharedGeneration;

  const std::shared_ptr<SharedGeneration> shared_;
  // Under the lock of `shared_`:
  size_t at_ = 0;
  Then then_;
  bool cancelled_ = false;
};

std::unique_ptr<Generation> SharedGeneration::AddReader() {
  base::MutexLock lock(&mutex_);
  if (cancelled_ || ending_) return nullptr;
  ++readers_;
  return std::make_unique<Reader>(shared_from_this());
}

Piece SharedGeneration::TakeLocked(Reader* reader) {
  Piece all = pieces_[reader->at_++];
  while (reader->at_ < pieces_.size() && pieces_[reader->at_].choice == all.choice) {
    Append(pieces_[reader->at_++], &all);
  }
  return all;
}

void SharedGeneration::Next(Reader* reader, Generation::Then then) {
  bool read = false;
  {
    base::MutexLock lock(&mutex_);
    if (!reader->cancelled_ && reader->at_ < pieces_.size()) {
      return RunSoon([then = std::move(then), piece = TakeLocked(reader)] { then(piece); });
    }
    if (reader->cancelled_ || result_.has_value()) return RunSoon([then = std::move(then)] { then(std::nullopt); });
    reader->then_ = std::move(then);
    waiting_.push_back(reader);
    read = !std::exchange(reading_, true);
  }
  if (read) inner_->Next([self = shared_from_this()](std::optional<Piece> piece) { self->OnPiece(std::move(piece)); });
}

void SharedGeneration::OnPiece(std::optional<Piece> piece) {
  if (!piece.has_value()) {
    const absl::StatusOr<GenerationResult> result = inner_->result();
    bool wanted = false;
    {
      base::MutexLock lock(&mutex_);
      ending_ = wanted = !cancelled_;
    }
    if (wanted) on_end_(result);
    base::MutexLock lock(&mutex_);
    result_ = result;
  }
  std::vector<std::pair<Generation::Then, std::optional<Piece>>> told;
  {
    base::MutexLock lock(&mutex_);
    reading_ = false;
    if (piece.has_value()) pieces_.push_back(*std::move(piece));
    for (Reader* const reader : std::exchange(waiting_, {})) {
      const bool more = reader->at_ < pieces_.size();
      told.emplace_back(std::exchange(reader->then_, nullptr), more ? std::optional(TakeLocked(reader)) : std::nullopt);
    }
  }
  for (auto& [then, next] : told) then(std::move(next));
}

void SharedGeneration::Cancel(Reader* reader) {
  Generation::Then then;
  bool last = false;
  {
    base::MutexLock lock(&mutex_);
    if (result_.has_value() || std::exchange(reader->cancelled_, true)) return;
    waiting_.erase(std::remove(waiting_.begin(), waiting_.end(), reader), waiting_.end());
    then = std::exchange(reader->then_, nullptr);
    last = --readers_ == 0 && !ending_;
    cancelled_ = last;
  }
  if (then != nullptr) RunSoon([then = std::move(then)] { then(std::nullopt); });
  if (!last) return;
  inner_->Cancel();
  on_end_(absl::CancelledError("cancelled"));
}

absl::StatusOr<GenerationResult> SharedGeneration::ResultOf(const Reader& reader) const {
  base::MutexLock lock(&mutex_);
  if (reader.cancelled_) return absl::CancelledError("cancelled");
  if (result_.has_value()) return *result_;
  return absl::FailedPreconditionError("the response has not ended");
}

}  // namespace hadal::client
