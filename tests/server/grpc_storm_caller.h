// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <memory>
#include <random>

#include "hadal/v1/inference.grpc.pb.h"

namespace hadal::testing {

// What the callers of a storm saw, by kind. Thread-safe.
struct StormTally {
  std::atomic<int> answered{0}, refused{0}, left{0}, unread{0}, half_sent{0}, cancelled{0}, expired{0}, wrong{0};
};

// A gRPC client with a connection of its own that reads, cancels, reads nothing or sets a deadline that is too short.
// For one thread.
class GrpcStormCaller {
 public:
  GrpcStormCaller(int port, unsigned seed, StormTally* tally);
  // One call, of a random kind, from its start to its end.
  void Call();

 private:
  void AskForState();
  void Count(grpc::StatusCode code);

  std::minstd_rand random_;
  StormTally& tally_;
  std::unique_ptr<v1::Inference::Stub> stub_;
};

}  // namespace hadal::testing
