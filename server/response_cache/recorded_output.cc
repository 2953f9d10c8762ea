// SPDX-License-Identifier: Apache-2.0
#include "server/response_cache/recorded_output.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "server/response_cache/sha256.h"

namespace hadal::response_cache {
namespace {

using request::FinishReason;

// "HRC", the version, eight bytes of checksum, then the content.
constexpr std::string_view kMagic("HRC\x01", 4);
constexpr size_t kChecksumBytes = 8;
constexpr size_t kHeaderBytes = kMagic.size() + kChecksumBytes;

std::string ChecksumOf(const CacheKey& key, std::string_view content) {
  Sha256 hash;
  hash.Add(kMagic);
  hash.Add(key);
  hash.Add(content);
  return hash.Finish().substr(0, kChecksumBytes);
}

// Integers as in protobuf: seven bits a byte, the least significant first.
void PutVarint(uint64_t value, std::string* out) {
  for (; value >= 0x80; value >>= 7) out->push_back(static_cast<char>(value | 0x80));
  out->push_back(static_cast<char>(value));
}

void PutFloat(float value, std::string* out) { out->append(reinterpret_cast<const char*>(&value), sizeof(value)); }

// Reads what Put has written; the first thing that is not there makes everything after it 0 and ok() false.
class Input {
 public:
  explicit Input(std::string_view bytes) : rest_(bytes) {}

  uint64_t Varint() {
    uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      if (rest_.empty()) break;
      const auto byte = static_cast<uint8_t>(rest_.front());
      rest_.remove_prefix(1);
      value |= uint64_t{byte & 0x7fu} << shift;
      if (byte < 0x80) return value;
    }
    ok_ = false;
    return 0;
  }
  int32_t Int32() { return static_cast<int32_t>(Varint()); }
  float Float() {
    float value = 0;
    if (rest_.size() < sizeof(value)) {
      ok_ = false;
      return 0;
    }
    std::memcpy(&value, rest_.data(), sizeof(value));
    rest_.remove_prefix(sizeof(value));
    return value;
  }
  // A number of things that take a byte or more each.
  size_t Count() {
    const uint64_t count = Varint();
    ok_ = ok_ && count <= rest_.size();
    return ok_ ? static_cast<size_t>(count) : 0;
  }
  bool ok() const { return ok_; }
  bool done() const { return ok_ && rest_.empty(); }

 private:
  std::string_view rest_;
  bool ok_ = true;
};

bool HasLogprobs(const request::TokenEvent& token) { return token.logprob != 0.0f || !token.top.empty(); }

void ReadToken(Input& input, bool logprobs, request::TokenEvent* token) {
  token->choice = input.Int32();
  token->token_id = input.Int32();
  if (!logprobs) return;
  token->logprob = input.Float();
  token->top.resize(input.Count());
  for (request::TokenLogprob& top : token->top) {
    top.token_id = input.Int32();
    top.logprob = input.Float();
  }
}

}  // namespace

bool RecordedOutput::complete() const {
  return std::all_of(ends.begin(), ends.end(), [](const request::ChoiceEnd& end) {
    return end.reason == FinishReason::kStop || end.reason == FinishReason::kLength;
  });
}

std::string EncodeOutput(const CacheKey& key, const RecordedOutput& output, absl::Time stored_at) {
  const bool logprobs = std::any_of(output.tokens.begin(), output.tokens.end(), HasLogprobs);
  std::string content;
  PutVarint(static_cast<uint64_t>(absl::ToUnixSeconds(stored_at)), &content);
  PutVarint(static_cast<uint32_t>(output.cached_tokens), &content);
  PutVarint(logprobs ? 1 : 0, &content);
  PutVarint(output.tokens.size(), &content);
  for (const request::TokenEvent& token : output.tokens) {
    PutVarint(static_cast<uint32_t>(token.choice), &content);
    PutVarint(static_cast<uint32_t>(token.token_id), &content);
    if (!logprobs) continue;
    PutFloat(token.logprob, &content);
    PutVarint(token.top.size(), &content);
    for (const request::TokenLogprob& top : token.top) {
      PutVarint(static_cast<uint32_t>(top.token_id), &content);
      PutFloat(top.logprob, &content);
    }
  }
  PutVarint(output.ends.size(), &content);
  for (const request::ChoiceEnd& end : output.ends) {
    PutVarint(static_cast<uint32_t>(end.choice), &content);
    PutVarint(end.reason == FinishReason::kStop ? 1 : 0, &content);
    PutVarint(static_cast<uint32_t>(end.stop_token), &content);
  }
  std::string bytes(kMagic);
  bytes += ChecksumOf(key, content);
  bytes += content;
  return bytes;
}

absl::StatusOr<DecodedOutput> DecodeOutput(const CacheKey& key, std::string_view bytes) {
  if (bytes.size() < kHeaderBytes || bytes.substr(0, kMagic.size()) != kMagic) {
    return absl::DataLossError("not an entry of this version");
  }
  const std::string_view content = bytes.substr(kHeaderBytes);
  if (bytes.substr(kMagic.size(), kChecksumBytes) != ChecksumOf(key, content)) {
    return absl::DataLossError("the checksum is wrong: the entry is damaged, or another key's");
  }
  Input input(content);
  DecodedOutput decoded;
  decoded.stored_at = absl::FromUnixSeconds(static_cast<int64_t>(input.Varint()));
  decoded.output.cached_tokens = input.Int32();
  const bool logprobs = input.Varint() != 0;
  decoded.output.tokens.resize(input.Count());
  for (request::TokenEvent& token : decoded.output.tokens) ReadToken(input, logprobs, &token);
  decoded.output.ends.resize(input.Count());
  for (request::ChoiceEnd& end : decoded.output.ends) {
    end.choice = input.Int32();
    end.reason = input.Varint() == 1 ? FinishReason::kStop : FinishReason::kLength;
    end.stop_token = input.Int32();
  }
  if (!input.done()) return absl::DataLossError("the entry's length does not fit what it says");
  return decoded;
}

}  // namespace hadal::response_cache
