// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "base/sync.h"
#include "client/client.h"

namespace hadal::client {

// One response for several readers. It goes at the pace of the fastest of them; the others find what has come in the
// meantime, several pieces of a choice as one. It is cancelled when the last one lets go of it. Thread-safe.
class SharedGeneration : public std::enable_shared_from_this<SharedGeneration> {
 public:
  using OnEnd = std::function<void(const absl::StatusOr<GenerationResult>&)>;

  // `on_end` is called once: before any reader hears of the end, or, CANCELLED, when the last one has let go before.
  SharedGeneration(std::unique_ptr<Generation> inner, OnEnd on_end)
      : inner_(std::move(inner)), on_end_(std::move(on_end)) {}

  // Null when it has been cancelled, or has ended.
  std::unique_ptr<Generation> AddReader();

 private:
  class Reader;

  void Next(Reader* reader, Generation::Then then);
  void Cancel(Reader* reader);
  absl::StatusOr<GenerationResult> ResultOf(const Reader& reader) const;
  void OnPiece(std::optional<Piece> piece);
  // What has come since the reader's last piece, up to a piece of another choice. There must be something.
  Piece TakeLocked(Reader* reader) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const std::unique_ptr<Generation> inner_;
  const OnEnd on_end_;
  mutable base::Mutex mutex_;
  std::vector<Piece> pieces_ ABSL_GUARDED_BY(mutex_);
  std::vector<Reader*> waiting_ ABSL_GUARDED_BY(mutex_);  // for the next piece
  int readers_ ABSL_GUARDED_BY(mutex_) = 0;               // that have not cancelled
  bool reading_ ABSL_GUARDED_BY(mutex_) = false;
  bool cancelled_ ABSL_GUARDED_BY(mutex_) = false;
  bool ending_ ABSL_GUARDED_BY(mutex_) = false;  // the end has come, and its readers will hear of it
  std::optional<absl::StatusOr<GenerationResult>> result_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace hadal::client
