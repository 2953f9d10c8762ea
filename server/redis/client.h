// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/redis/connection.h"
#include "server/redis/redis_url.h"
#include "server/redis/reply.h"

namespace hadal::redis {

// The address of a Redis server, and the trust for its certificate.
struct Endpoint {
  RedisUrl url;
  std::shared_ptr<const TlsTrust> trust;  // for url.tls
};

// One thread's client of a Redis server, or of a cluster of which the URL names one node: redirections (MOVED, ASK) are
// followed, and moved slots are remembered. Each node that is connected to names the cluster's others, replicas among
// them (CLUSTER SLOTS), and one of these is asked where a slot is while the node that had it is away: that is how a
// replica in its place is found. Connects on first use and again after an error; construction is free of I/O. Not
// thread-safe.
class Client {
 public:
  // What a slot on its way to another node means. Each of its keys is at one of the two, so commands of one key at a
  // time are led to it; who relies on several keys must wait until all of them have arrived.
  enum class MovingSlots : uint8_t { kFollow, kUnavailable };

  // `timeout` as in Connection::Open.
  Client(Endpoint endpoint, absl::Duration timeout, MovingSlots moving = MovingSlots::kFollow);

  // Runs the commands, one after the other, on the node that has `key`, which is that of each of them. Connection's
  // errors, with the node's name. An error that Redis answers is a reply, but for redirections, which are followed:
  // UNAVAILABLE when there are too many, or the slot is on its way and that is not followed; INTERNAL when one leads
  // nowhere.
  absl::StatusOr<std::vector<Reply>> RunAll(std::string_view key, const std::vector<Words>& commands);
  absl::StatusOr<Reply> Run(std::string_view key, const Words& words);

  // Whether the next Run of the key begins on a connection that stands already: it may have been closed meanwhile, for
  // its idleness or with the server's end.
  bool connected(std::string_view key) const { return connections_.count(NodeOf(key)) != 0; }
  // How many connections have been opened.
  int64_t opened() const { return opened_; }
  // How many nodes it may ask where a slot is.
  size_t nodes_known() const { return entries_.size(); }

 private:
  using Node = std::pair<std::string, int>;  // host and port

  Node NodeOf(std::string_view key) const;
  absl::StatusOr<std::vector<Reply>> RunOn(const Node& node, bool asking, const std::vector<Words>& commands);
  absl::StatusOr<Connection*> ConnectionTo(const Node& node);
  // Reads "HOST:PORT"; without a host it is that of `from`, which has named it.
  static bool ReadNode(std::string_view text, const Node& from, Node* node);
  static std::string HostOf(std::string_view named, const Node& from);
  void AddEntry(const Node& node);
  // The answer of `from` to CLUSTER SLOTS.
  void Learn(const Node& from, const Reply& slots);
  // The node has failed: its slots are asked for anew, and of another node if it was the one that is asked first.
  void Forget(const Node& node);

  // Nodes that may be asked first: more than a cluster needs, and a bound on what a node can make this hold.
  static constexpr size_t kMaxEntries = 64;

  const Endpoint endpoint_;
  const absl::Duration timeout_;
  const MovingSlots moving_;
  std::map<Node, std::unique_ptr<Connection>> connections_;
  std::vector<Node> entries_;                 // the URL's node, and those that others have named
  size_t entry_ = 0;                          // that is asked for slots whose node is not known
  std::unordered_map<uint16_t, Node> moved_;  // slots that redirections have named the node of
  int64_t opened_ = 0;
};

}  // namespace hadal::redis
