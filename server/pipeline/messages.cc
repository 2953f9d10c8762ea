// SPDX-License-Identifier: Apache-2.0
#include "server/pipeline/messages.h"

#include <string_view>
#include <utility>

#include "server/pipeline/byte_codec.h"
#include "server/pipeline/step_codec.h"

namespace hadal::pipeline {
namespace {

constexpr uint64_t kMaxText = 256;  // of names and versions
constexpr uint64_t kMaxAddress = 512;
constexpr uint64_t kMaxMessage = 8192;  // of an error
constexpr size_t kPartBytes = 20;       // an address without its text, and a range
// Beyond any configuration, and low enough that no product of them overflows.
constexpr int32_t kMaxModelLen = 1 << 30;
constexpr int32_t kMaxBatch = 1 << 24;

template <size_t kSize>
void PutFixed(const std::array<std::byte, kSize>& bytes, ByteWriter& writer) {
  for (const std::byte byte : bytes) writer.Put(static_cast<uint8_t>(byte));
}

template <size_t kSize>
void GetFixed(std::array<std::byte, kSize>& bytes, ByteReader& reader) {
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(reader.Get<uint8_t>());
}

template <typename Message>
absl::StatusOr<Message> Finish(Message message, const ByteReader& reader) {
  if (absl::Status status = reader.Finish(); !status.ok()) return status;
  return message;
}

// Both greetings begin alike. False: what follows is not for us to read.
template <typename Greeting>
bool GetVersion(Greeting& greeting, ByteReader& reader) {
  greeting.protocol = reader.Get<uint32_t>();
  greeting.version = reader.GetText("version", kMaxText);
  return reader.ok() && greeting.protocol == kProtocolVersion;
}

}  // namespace

const char* MessageName(MessageType type) {
  switch (type) {
    case MessageType::kChallenge:
      return "challenge";
    case MessageType::kHello:
      return "hello";
    case MessageType::kWelcome:
      return "welcome";
    case MessageType::kAssign:
      return "assignment";
    case MessageType::kLoaded:
      return "loaded";
    case MessageType::kFitCache:
      return "fit-cache";
    case MessageType::kCacheSize:
      return "cache-size";
    case MessageType::kAllocate:
      return "allocate";
    case MessageType::kAllocated:
      return "allocated";
    case MessageType::kStep:
      return "step";
    case MessageType::kResult:
      return "result";
    case MessageType::kError:
      return "error";
  }
  return "unknown";
}

void Encode(const Challenge& message, std::vector<std::byte>* out) {
  ByteWriter writer(out);
  writer.Put(message.protocol);
  writer.PutText(message.version);
  PutFixed(message.nonce, writer);
}

absl::StatusOr<Challenge> DecodeChallenge(absl::Span<const std::byte> bytes) {
  ByteReader reader(bytes);
  Challenge message;
  if (!GetVersion(message, reader) && reader.ok()) return message;
  GetFixed(message.nonce, reader);
  return Finish(std::move(message), reader);
}

void Encode(const Hello& message, std::vector<std::byte>* out) {
  ByteWriter writer(out);
  writer.Put(message.protocol);
  writer.PutText(message.version);
  PutFixed(message.nonce, writer);
  PutFixed(message.mac, writer);
}

absl::StatusOr<Hello> DecodeHello(absl::Span<const std::byte> bytes) {
  ByteReader reader(bytes);
  Hello message;
  if (!GetVersion(message, reader) && reader.ok()) return message;
  GetFixed(message.nonce, reader);
  GetFixed(message.mac, reader);
  return Finish(std::move(message), reader);
}

void Encode(const Welcome& message, std::vector<std::byte>* out) {
  ByteWriter writer(out);
  PutFixed(message.mac, writer);
}

absl::StatusOr<Welcome> DecodeWelcome(absl::Span<const std::byte> bytes) {
  ByteReader reader(bytes);
  Welcome message;
  GetFixed(message.mac, reader);
  return Finish(std::move(message), reader);
}

void Encode(const Assignment& message, std::vector<std::byte>* out) {
  ByteWriter writer(out);
  writer.PutText(message.fingerprint);
  writer.PutText(message.dtype);
  writer.PutBool(message.batch_invariant);
  writer.PutBool(message.dummy_weights);
  writer.Put(message.max_model_len);
  writer.Put(message.max_batch_tokens);
  writer.Put(message.max_batch_size);
  writer.Put(static_cast<uint32_t>(message.parts.size()));
  for (const PartSpec& part : message.parts) {
    writer.PutText(part.address);
    writer.Put(part.layers.begin);
    writer.Put(part.layers.end);
  }
}

absl::StatusOr<Assignment> DecodeAssignment(absl::Span<const std::byte> bytes) {
  ByteReader reader(bytes);
  Assignment message;
  message.fingerprint = reader.GetText("fingerprint", kMaxText);
  message.dtype = reader.GetText("dtype", kMaxText);
  message.batch_invariant = reader.GetBool();
  message.dummy_weights = reader.GetBool();
  message.max_model_len = reader.Get<int32_t>();
  message.max_batch_tokens = reader.Get<int32_t>();
  message.max_batch_size = reader.Get<int32_t>();
  message.parts.resize(reader.GetCount("parts", kMaxParts, kPartBytes));
  for (PartSpec& part : message.parts) {
    part.address = reader.GetText("address", kMaxAddress);
    part.layers.begin = reader.Get<int64_t>();
    part.layers.end = reader.Get<int64_t>();
  }
  if (reader.ok() && message.parts.empty()) reader.Fail("parts: 0 entries, expected the receiver's");
  const auto limit = [&](const char* name, int32_t value, int32_t most) {
    if (reader.ok() && (value < 1 || value > most)) {
      reader.Fail(absl::StrCat(name, " is ", value, ", expected 1 to ", most));
    }
  };
  limit("max_model_len", message.max_model_len, kMaxModelLen);
  limit("max_batch_tokens", message.max_batch_tokens, kMaxBatch);
  limit("max_batch_size", message.max_batch_size, kMaxBatch);
  return Finish(std::move(message), reader);
}

void Encode(const Loaded& message, std::vector<std::byte>* out) { ByteWriter(out).Put(message.weights_bytes); }

absl::StatusOr<Loaded> DecodeLoaded(absl::Span<const std::byte> bytes) {
  ByteReader reader(bytes);
  return Finish(Loaded{.weights_bytes = reader.Get<int64_t>()}, reader);
}

void Encode(const models::KvCacheSize& message, std::vector<std::byte>* out) {
  ByteWriter writer(out);
  writer.Put(message.blocks);
  writer.Put(message.block_tokens);
  writer.Put(message.window_blocks);
}

absl::StatusOr<models::KvCacheSize> DecodeCacheSize(absl::Span<const std::byte> bytes) {
  ByteReader reader(bytes);
  models::KvCacheSize message;
  message.blocks = reader.Get<int32_t>();
  message.block_tokens = reader.Get<int32_t>();
  message.window_blocks = reader.Get<int32_t>();
  if (reader.ok() && (message.blocks < 1 || message.block_tokens < 1 || message.window_blocks < 0)) {
    reader.Fail(absl::StrCat("a cache of ", message.blocks, " blocks of ", message.block_tokens, " tokens and ",
                             message.window_blocks, " window blocks"));
  }
  return Finish(message, reader);
}

void Encode(const Error& message, std::vector<std::byte>* out) {
  ByteWriter writer(out);
  const absl::string_view text = message.status.message().substr(0, kMaxMessage);
  writer.Put(static_cast<uint8_t>(message.status.code()));
  writer.PutText(std::string_view(text.data(), text.size()));
  writer.PutText(message.lost);
}

absl::StatusOr<Error> DecodeError(absl::Span<const std::byte> bytes) {
  ByteReader reader(bytes);
  const auto code = reader.Get<uint8_t>();
  const std::string text = reader.GetText("message", kMaxMessage);
  Error message;
  message.lost = reader.GetText("lost", kMaxAddress);
  if (reader.ok() && (code < 1 || code > static_cast<uint8_t>(absl::StatusCode::kUnauthenticated))) {
    reader.Fail(absl::StrCat("status code ", code, ", expected 1 to 16"));
  }
  message.status = absl::Status(static_cast<absl::StatusCode>(code), text);
  return Finish(std::move(message), reader);
}

}  // namespace hadal::pipeline
