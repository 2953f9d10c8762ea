// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <optional>

#include "client/client.h"
#include "client/read_loop.h"
#include "hadal/v1/inference.grpc.pb.h"

namespace hadal::client {

// A chat or completion through all its attempts, read piece by piece.
class GenerationLoop final : public ReadLoop<v1::Inference, v1::GenerateResponse, Piece> {
 public:
  using ReadLoop::ReadLoop;

  // As Generation's.
  void EndThinking(std::function<void(absl::Status)> done);
  absl::StatusOr<GenerationResult> result() const;

 private:
  std::optional<CallKind> Hedged() const override { return CallKind::kGeneration; }
  AfterBreak BrokeOff() override;
  void OnTrailers(const grpc::ClientContext& context) override;
  Piece Take(const v1::GenerateResponse& response) override ABSL_EXCLUSIVE_LOCKS_REQUIRED(read_mutex_);

  int pieces_ ABSL_GUARDED_BY(read_mutex_) = 0;  // read so far
  GenerationResult result_ ABSL_GUARDED_BY(read_mutex_);
};

}  // namespace hadal::client
