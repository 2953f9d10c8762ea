// SPDX-License-Identifier: Apache-2.0
#include "server/batches/redis_link.h"

#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "server/base/strings.h"

namespace hadal::batches {
namespace {

using redis::Reply;
using redis::Words;

// Of one exchange; a client of the routes waits for two at most before it is told.
constexpr absl::Duration kTimeout = absl::Seconds(2);
// Scripts with flags came with 7.0.
constexpr int kOldestMajor = 7;

// What stands behind "name:" in a line of INFO.
absl::string_view InfoOf(absl::string_view info, absl::string_view name) {
  for (const absl::string_view line : absl::StrSplit(info, "\r\n")) {
    const std::pair<absl::string_view, absl::string_view> field = absl::StrSplit(line, absl::MaxSplits(':', 1));
    if (field.first == name) return field.second;
  }
  return "";
}

absl::Status StatusOf(const std::string& error) {
  const std::string_view code = std::string_view(error).substr(0, error.find(' '));
  if (code == "OOM") return absl::ResourceExhaustedError(absl::StrCat("Redis: ", error));
  for (const std::string_view away : {"LOADING", "MASTERDOWN", "CLUSTERDOWN", "READONLY", "TRYAGAIN", "BUSY", "MISCONF",
                                      "NOREPLICAS", "NOAUTH", "WRONGPASS", "NOPERM"}) {
    if (code == away) return absl::UnavailableError(absl::StrCat("Redis: ", error));
  }
  return absl::InternalError(absl::StrCat("Redis: ", error));
}

}  // namespace

RedisLink::RedisLink(redis::Endpoint endpoint, const base::Clock* clock)
    : clock_(*clock),
      // Scripts use many keys: at a node that has some of them they would take the others for missing.
      client_(std::move(endpoint), kTimeout, redis::Client::MovingSlots::kUnavailable),
      breaker_({.window = absl::Seconds(2),
                .min_calls = 1,
                .bad_share = 0.5,
                .open_for = absl::Seconds(1),
                .max_open_for = absl::Seconds(1)}) {}

absl::Status RedisLink::Check() {
  // INFO has no key: in a cluster it is answered by any node, so the one that has ours is looked for first.
  const std::string_view key = base::StdView(kRedisPrefix);
  const absl::StatusOr<Reply> found = client_.Run(key, {"EXISTS", std::string(key)});
  if (!found.ok()) return found.status();
  if (found->error()) return StatusOf(found->text);
  const absl::StatusOr<Reply> reply = client_.Run(key, {"INFO"});
  if (!reply.ok()) return reply.status();
  if (reply->error()) return StatusOf(reply->text);
  const absl::string_view info = reply->text;
  const absl::string_view version = InfoOf(info, "redis_version");
  int major = 0;
  if (!absl::SimpleAtoi(version.substr(0, version.find('.')), &major) || major < kOldestMajor) {
    return absl::FailedPreconditionError(
        absl::StrCat("Redis has the version '", version, "'; batches need ", kOldestMajor, ".0 or newer"));
  }
  const absl::string_view policy = InfoOf(info, "maxmemory_policy");
  if (policy != "noeviction") {
    return absl::FailedPreconditionError(
        absl::StrCat("Redis has the maxmemory-policy '", policy,
                     "', which would drop files and batches when its memory is full; batches need 'noeviction', and so "
                     "another Redis than a cache"));
  }
  keeps_a_file_ = InfoOf(info, "aof_enabled") == "1";
  checked_ = client_.opened();
  return absl::OkStatus();
}

absl::StatusOr<std::vector<Reply>> RedisLink::Ask(const std::vector<Words>& commands) {
  const std::string_view key = base::StdView(kRedisPrefix);
  for (bool again = true;; again = false) {
    const bool stood = client_.connected(key);
    if (!stood || client_.opened() != checked_) {
      if (absl::Status status = Check(); !status.ok()) return status;
    }
    absl::StatusOr<std::vector<Reply>> replies = client_.RunAll(key, commands);
    if (replies.ok() || !again || !stood || !absl::IsUnavailable(replies.status())) return replies;
  }
}

absl::StatusOr<std::vector<Reply>> RedisLink::RunAll(const std::vector<Words>& commands) {
  if (!breaker_.MayBegin(clock_.Now())) return absl::UnavailableError("Redis is away and is asked again in a moment");
  const uint64_t call = breaker_.Begin(clock_.Now());
  absl::StatusOr<std::vector<Reply>> replies = Ask(commands);
  absl::Status status = replies.status();
  for (size_t i = 0; status.ok() && i < replies->size(); ++i) {
    if ((*replies)[i].error()) status = StatusOf((*replies)[i].text);
  }
  const bool away =
      absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status) || absl::IsFailedPrecondition(status);
  breaker_.End(call, away ? base::CircuitBreaker::Result::kBad : base::CircuitBreaker::Result::kGood, clock_.Now());
  if (!status.ok()) return status;
  return replies;
}

int RedisLink::circuit() const {
  using State = base::CircuitBreaker::State;
  const State state = breaker_.state();
  return state == State::kClosed ? 0 : state == State::kHalfOpen ? 1 : 2;
}

absl::StatusOr<Reply> RedisLink::Run(const Words& words) {
  absl::StatusOr<std::vector<Reply>> replies = RunAll({words});
  if (!replies.ok()) return replies.status();
  return std::move(replies->front());
}

absl::StatusOr<Reply> RedisLink::Eval(std::string_view script, std::vector<std::string> arguments) {
  Words words = {"EVAL", std::string(script), "1", std::string(kRedisPrefix)};
  words.insert(words.end(), std::make_move_iterator(arguments.begin()), std::make_move_iterator(arguments.end()));
  return Run(words);
}

absl::StatusOr<int64_t> RedisLink::UsedBytes() {
  const absl::StatusOr<Reply> reply = Run({"INFO", "memory"});
  if (!reply.ok()) return reply.status();
  int64_t bytes = 0;
  if (!absl::SimpleAtoi(InfoOf(reply->text, "used_memory"), &bytes))
    return absl::InternalError("INFO has no used_memory");
  return bytes;
}

std::string RedisKey(absl::string_view kind) { return absl::StrCat(kRedisPrefix, kind); }
std::string RedisKey(absl::string_view kind, absl::string_view of) { return absl::StrCat(kRedisPrefix, kind, ":", of); }
std::string RedisKey(absl::string_view kind, int64_t of) { return absl::StrCat(kRedisPrefix, kind, ":", of); }

std::string_view RedisFields::Text(std::string_view name) const {
  for (size_t i = 0; i + 1 < reply_.items.size(); i += 2) {
    if (reply_.items[i].text == name) return reply_.items[i + 1].text;
  }
  return "";
}

int64_t RedisFields::Int(std::string_view name) const {
  int64_t value = 0;
  return absl::SimpleAtoi(base::View(Text(name)), &value) ? value : 0;
}

}  // namespace hadal::batches
