// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <grpcpp/grpcpp.h>

#include <map>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "client/call_window.h"
#include "client/retry.h"
#include "hadal/v1/batches.grpc.pb.h"
#include "hadal/v1/inference.grpc.pb.h"

namespace hadal::client {

using Metadata = std::vector<std::pair<std::string, std::string>>;

// The servers of a client and the channels to them. Shared by the client and its calls, which may outlive it.
// Thread-safe.
class Connections : public std::enable_shared_from_this<Connections> {
 public:
  struct Server {
    std::shared_ptr<grpc::Channel> channel;
    std::unique_ptr<v1::Inference::Stub> stub;
    std::unique_ptr<v1::Batches::Stub> batches;

    // The calls of one of the services.
    template <typename Service>
    typename Service::StubInterface::async_interface* async() const {
      if constexpr (std::is_same_v<Service, v1::Batches>) {
        return batches->async();
      } else {
        return stub->async();
      }
    }
  };

  // `identity` goes with every call; `max_calls` are under way at once, 0: any number; the others as in ChannelOptions.
  Connections(const std::vector<std::string>& addresses, const RetryOptions& retry,
              const std::shared_ptr<grpc::ChannelCredentials>& credentials, Metadata identity, int max_calls,
              absl::Duration keep_alive, bool tcp_fast_open);
  ~Connections();
  Connections(const Connections&) = delete;
  Connections& operator=(const Connections&) = delete;

  Targets& targets() { return targets_; }
  CallWindow& window() { return window_; }
  const std::map<Target*, Server>& servers() const { return servers_; }
  const Metadata& identity() const { return identity_; }
  // Begins to resolve names and to connect, where there is no connection. Does not wait.
  void ConnectAhead();
  // Where there is a choice: asks the servers for their load of which no call has said it for a second. Does not wait.
  void RefreshLoads();

 private:
  Targets targets_;
  CallWindow window_;
  std::map<Target*, Server> servers_;
  const Metadata identity_;
};

// One of the trailers of a call that has ended; empty: there is none.
std::string TrailerOf(const grpc::ClientContext& context, const char* name);
// What the server said of its load at the end of a call, which is no more counted: Finish comes before this.
void NoteLoad(Target& target, const grpc::ClientContext& context);

}  // namespace hadal::client
