// SPDX-License-Identifier: Apache-2.0
#include "client/response_cache.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <google/protobuf/util/delimited_message_util.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/digest.h"
#include "client/results.h"

namespace hadal::client {
namespace {

bool Determined(const v1::SamplingParams& sampling) {
  return sampling.has_seed() || (sampling.has_temperature() && sampling.temperature() == 0);
}

// The scheduling class decides when, not what.
template <typename Request>
std::optional<std::string> KeyOf(const std::string& identity, std::string_view method, Request request) {
  if (!Determined(request.sampling())) return std::nullopt;
  request.clear_priority();
  std::string bytes;
  {
    google::protobuf::io::StringOutputStream stream(&bytes);
    google::protobuf::io::CodedOutputStream coded(&stream);
    coded.SetSerializationDeterministic(true);  // maps
    if (!request.SerializeToCodedStream(&coded)) return std::nullopt;
  }
  return Digest({identity, method, bytes});
}

// The messages of a stream that has it, each with its length.
std::string BytesOf(const GenerationResult& result) {
  std::string bytes;
  google::protobuf::io::StringOutputStream stream(&bytes);
  for (const v1::GenerateResponse& response : ResponsesOf(result)) {
    google::protobuf::util::SerializeDelimitedToZeroCopyStream(response, &stream);
  }
  return bytes;
}

std::optional<GenerationResult> ResultOf(const std::string& bytes) {
  google::protobuf::io::ArrayInputStream stream(bytes.data(), static_cast<int>(bytes.size()));
  GenerationResult result;
  bool at_end = false;
  while (true) {
    v1::GenerateResponse response;  // each anew: parsing adds to what is there
    if (!google::protobuf::util::ParseDelimitedFromZeroCopyStream(&response, &stream, &at_end)) break;
    Append(response, &result);
  }
  if (!at_end) return std::nullopt;
  result.from_cache = true;
  return result;
}

}  // namespace

std::optional<std::string> AnswerKey(const std::string& identity, const v1::ChatRequest& request) {
  if (request.reasoning_control()) return std::nullopt;
  return KeyOf(identity, "chat", request);
}

std::optional<std::string> AnswerKey(const std::string& identity, const v1::GenerateRequest& request) {
  return KeyOf(identity, "generate", request);
}

absl::StatusOr<std::unique_ptr<ResponseCache>> ResponseCache::Open(const CacheOptions& options) {
  if (options.memory_bytes < 0) {
    return absl::InvalidArgumentError(absl::StrCat("cache.memory_bytes is ", options.memory_bytes, "; 0 or more"));
  }
  if (options.ttl <= absl::ZeroDuration()) {
    return absl::InvalidArgumentError(
        absl::StrCat("cache.ttl is ", absl::FormatDuration(options.ttl), "; it must be above 0"));
  }
  std::unique_ptr<DiskCache> disk;
  if (!options.folder.empty()) {
    absl::StatusOr<std::unique_ptr<DiskCache>> opened = DiskCache::Open(options.folder, options.disk_bytes);
    if (!opened.ok()) return opened.status();
    disk = *std::move(opened);
  }
  return std::unique_ptr<ResponseCache>(new ResponseCache(options, std::move(disk)));
}

std::optional<GenerationResult> ResponseCache::Find(const std::string& key, absl::Time now) {
  if (const std::optional<std::string> bytes = memory_.Find(key, now)) return ResultOf(*bytes);
  if (disk_ == nullptr) return std::nullopt;
  const std::optional<DiskCache::Entry> entry = disk_->Find(key, now);
  if (!entry.has_value()) return std::nullopt;
  memory_.Add(key, entry->value, entry->expires);
  return ResultOf(entry->value);
}

void ResponseCache::Add(const std::string& key, const GenerationResult& result, absl::Time now) {
  const auto has_ended = [](const auto& choice) {
    return choice.finish_reason == "stop" || choice.finish_reason == "length" || choice.finish_reason == "tool_calls";
  };
  const bool all =
      has_ended(result) && std::all_of(result.other_choices.begin(), result.other_choices.end(), has_ended);
  if (!all || !result.degraded.empty()) return;
  const std::string bytes = BytesOf(result);
  memory_.Add(key, bytes, now + ttl_);
  if (disk_ != nullptr) disk_->Add(key, bytes, now + ttl_);
}

}  // namespace hadal::client
