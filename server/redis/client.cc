// SPDX-License-Identifier: Apache-2.0
#include "server/redis/client.h"

#include <algorithm>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "server/base/strings.h"

namespace hadal::redis {
namespace {

constexpr int kMaxRedirects = 3;

bool IsAsk(const Reply& reply) { return reply.error() && reply.text.starts_with("ASK "); }
// What a node says that cannot serve the slot now, while another one of the cluster may know who does.
bool IsDown(const Reply& reply) { return reply.error() && reply.text.starts_with("CLUSTERDOWN"); }
bool IsRedirection(const Reply& reply) { return IsAsk(reply) || (reply.error() && reply.text.starts_with("MOVED ")); }

}  // namespace

Client::Client(Endpoint endpoint, absl::Duration timeout, MovingSlots moving)
    : endpoint_(std::move(endpoint)),
      timeout_(timeout),
      moving_(moving),
      entries_{{endpoint_.url.host, endpoint_.url.port}} {}

Client::Node Client::NodeOf(std::string_view key) const {
  const auto known = moved_.find(RedisSlot(key));
  return known == moved_.end() ? entries_[entry_] : known->second;
}

absl::StatusOr<Reply> Client::Run(std::string_view key, const Words& words) {
  absl::StatusOr<std::vector<Reply>> replies = RunAll(key, {words});
  if (!replies.ok()) return replies.status();
  return std::move(replies->front());
}

absl::StatusOr<std::vector<Reply>> Client::RunAll(std::string_view key, const std::vector<Words>& commands) {
  Node node = NodeOf(key);
  bool asking = false;
  for (int redirects = 0; redirects <= kMaxRedirects; ++redirects) {
    absl::StatusOr<std::vector<Reply>> replies = RunOn(node, asking, commands);
    if (!replies.ok()) {
      Forget(node);
      return replies;
    }
    if (moving_ == MovingSlots::kUnavailable && std::any_of(replies->begin(), replies->end(), IsAsk)) {
      return absl::UnavailableError("the keys are on their way to another node");
    }
    if (std::any_of(replies->begin(), replies->end(), IsDown)) Forget(node);
    // All are of one slot, so a slot that has moved away has done none of them.
    if (replies->empty() || !IsRedirection(replies->front())) return replies;
    const std::string& error = replies->front().text;
    const std::vector<std::string> parts = absl::StrSplit(error, ' ');
    const Node from = node;
    if (parts.size() != 3 || !ReadNode(parts[2], from, &node)) {
      return absl::InternalError(absl::StrCat("a redirection to nowhere: ", error));
    }
    asking = parts[0] == "ASK";
    if (asking) continue;
    moved_[RedisSlot(key)] = node;
    AddEntry(node);
  }
  return absl::UnavailableError("too many redirections");
}

absl::StatusOr<std::vector<Reply>> Client::RunOn(const Node& node, bool asking, const std::vector<Words>& commands) {
  const absl::StatusOr<Connection*> connection = ConnectionTo(node);
  if (!connection.ok()) return connection.status();
  std::vector<Words> sent;
  for (const Words& words : commands) {
    if (asking) sent.push_back({"ASKING"});  // it counts for one command
    sent.push_back(words);
  }
  absl::StatusOr<std::vector<Reply>> replies = (*connection)->Run(sent);
  if (!replies.ok()) {
    connections_.erase(node);
    return absl::Status(replies.status().code(),
                        absl::StrCat(node.first, ":", node.second, ": ", replies.status().message()));
  }
  if (!asking) return replies;
  std::vector<Reply> answers;
  for (size_t i = 1; i < replies->size(); i += 2) answers.push_back(std::move((*replies)[i]));
  return answers;
}

absl::StatusOr<Connection*> Client::ConnectionTo(const Node& node) {
  if (const auto found = connections_.find(node); found != connections_.end()) return found->second.get();
  const auto failed = [&](absl::StatusCode code, absl::string_view why) {
    return absl::Status(code, absl::StrCat(node.first, ":", node.second, ": ", why));
  };
  const TlsTrust* const trust = endpoint_.url.tls ? endpoint_.trust.get() : nullptr;
  auto opened = Connection::Open(node.first, node.second, trust, timeout_);
  if (!opened.ok()) return failed(opened.status().code(), opened.status().message());
  const RedisUrl& url = endpoint_.url;
  std::vector<Words> greetings;
  if (!url.password.empty()) {
    greetings.push_back(url.user.empty() ? Words{"AUTH", url.password} : Words{"AUTH", url.user, url.password});
  }
  if (url.db != 0) greetings.push_back({"SELECT", absl::StrCat(url.db)});
  greetings.push_back({"CLUSTER", "SLOTS"});  // an error where there is no cluster, or the user may not ask
  const auto replies = (*opened)->Run(greetings);
  if (!replies.ok()) return failed(replies.status().code(), replies.status().message());
  for (size_t i = 0; i + 1 < replies->size(); ++i) {
    if ((*replies)[i].error()) return failed(absl::StatusCode::kUnavailable, (*replies)[i].text);
  }
  Learn(node, replies->back());
  ++opened_;
  return connections_.emplace(node, *std::move(opened)).first->second.get();
}

void Client::AddEntry(const Node& node) {
  const bool known = std::find(entries_.begin(), entries_.end(), node) != entries_.end();
  if (!known && entries_.size() < kMaxEntries) entries_.push_back(node);
}

void Client::Learn(const Node& from, const Reply& slots) {
  if (slots.kind != Reply::Kind::kArray || slots.items.empty()) return;
  const Node current = entries_[entry_];
  // Nodes that have left the cluster are not asked any more, but for the URL's: it may be a name for whichever is up.
  entries_.resize(1);
  AddEntry(current);
  // Each range: its first and last slot, then its nodes, the master first: host, port, and more.
  for (const Reply& range : slots.items) {
    for (size_t i = 2; i < range.items.size(); ++i) {
      const std::vector<Reply>& fields = range.items[i].items;
      if (fields.size() < 2 || fields[1].kind != Reply::Kind::kInteger) continue;
      AddEntry({HostOf(fields[0].text, from), static_cast<int>(fields[1].integer)});
    }
  }
  entry_ = static_cast<size_t>(std::find(entries_.begin(), entries_.end(), current) - entries_.begin());
}

void Client::Forget(const Node& node) {
  std::erase_if(moved_, [&](const auto& moved) { return moved.second == node; });
  if (entries_[entry_] == node) entry_ = (entry_ + 1) % entries_.size();
}

bool Client::ReadNode(std::string_view text, const Node& from, Node* node) {
  const size_t colon = text.rfind(':');
  if (colon == std::string_view::npos || !absl::SimpleAtoi(base::View(text.substr(colon + 1)), &node->second)) {
    return false;
  }
  node->first = HostOf(text.substr(0, colon), from);
  return true;
}

std::string Client::HostOf(std::string_view named, const Node& from) {
  return named.empty() || named == "?" ? from.first : std::string(named);
}

}  // namespace hadal::redis
