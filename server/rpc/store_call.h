// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/batches/tables.h"
#include "server/rpc/server_call.h"

namespace hadal::rpc {

inline constexpr std::string_view kBatchesService = "hadal.v1.Batches";

// A call of hadal.v1.Batches: it asks the store of files and batches, on the store's thread. UNSUPPORTED where the
// server has none.
class StoreCall : public ServerCall {
 protected:
  StoreCall(const CallEnvironment* environment, grpc::GenericCallbackServerContext* context, std::string_view route)
      : ServerCall(environment, context, route, Access::kKey) {
    SetService(kBatchesService);
  }

  absl::Status OnOpened() override;

  using Job = std::function<absl::Status(batches::Tables&)>;
  using Then = std::function<void(absl::Status)>;
  // Has `job` run on the store's thread, and then `then` with its status as clients are told of it; at once when too
  // much waits there. One at a time; both may use the call.
  void OnStore(Job job, Then then);
  // For a job that gives back what an earlier one took: however much waits there (BatchService::PostOwed).
  void OweToStore(Job job);
};

// One with one response.
class UnaryStoreCall final : public StoreCall {
 public:
  // Gives the bytes of the response.
  using Answer = std::function<absl::StatusOr<grpc::ByteBuffer>(batches::Tables& tables)>;
  // Reads the call's message, on a thread of gRPC; what it gives runs on the store's.
  using Decode = absl::StatusOr<Answer> (*)(const grpc::ByteBuffer& message, const std::string& owner);

  // `wakes`: the runner of batches has to look at what was done.
  UnaryStoreCall(const CallEnvironment* environment, grpc::GenericCallbackServerContext* context,
                 std::string_view route, bool wakes, Decode decode)
      : StoreCall(environment, context, route), wakes_(wakes), decode_(decode) {}

 private:
  void OnMessage(CallMessage message) override;

  const bool wakes_;
  const Decode decode_;
  grpc::ByteBuffer response_;  // the job's, then the call's
};

}  // namespace hadal::rpc
