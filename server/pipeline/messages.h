// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "models/kv_layout.h"
#include "models/layer_range.h"

namespace hadal::pipeline {

// The messages between one part of a model and the part after it. One of both asks, the other answers, in this order:
//   worker: kChallenge   leader: kHello   worker: kWelcome     both know the key
//   leader: kAssign      worker: kLoaded                       the worker has loaded its layers, and those after it
//   leader: kFitCache    worker: kCacheSize
//   leader: kAllocate    worker: kAllocated
//   leader: kStep        worker: kResult                       once a step; several may be in flight, in order
// A kError may take the place of every answer, and a worker that loses the one behind it sends one unasked. "Leader" is
// whoever is in front: to the third part of a model that is the second.
enum class MessageType : uint16_t {
  kChallenge = 1,
  kHello,
  kWelcome,
  kAssign,
  kLoaded,
  kFitCache,
  kCacheSize,
  kAllocate,
  kAllocated,
  kStep,
  kResult,
  kError,
};
const char* MessageName(MessageType type);

// Changes when a message changes. Both ends must have the same.
inline constexpr uint32_t kProtocolVersion = 2;

// Of all messages but steps and results.
inline constexpr int64_t kMaxControlBytes = 64 * 1024;

using Nonce = std::array<std::byte, 32>;
using Mac = std::array<std::byte, 32>;

struct Challenge {
  uint32_t protocol = kProtocolVersion;
  std::string version;  // the program's, for messages
  Nonce nonce{};
};

struct Hello {
  uint32_t protocol = kProtocolVersion;
  std::string version;
  Nonce nonce{};
  Mac mac{};
};

struct Welcome {
  Mac mac{};
};

// A worker and the layers that it is to hold.
struct PartSpec {
  std::string address;  // host:port
  models::LayerRange layers;
};

// How the model is to be loaded. The first of `parts` is the receiver, the others come after it.
struct Assignment {
  std::string fingerprint;  // of the checkpoint
  std::string dtype;        // the compute type: "bfloat16", "float16", "float32"
  bool batch_invariant = false;
  bool dummy_weights = false;
  int32_t max_model_len = 0;
  int32_t max_batch_tokens = 0;
  int32_t max_batch_size = 0;
  std::vector<PartSpec> parts;
};

struct Loaded {
  int64_t weights_bytes = 0;  // of this part
};

// What a status says, and the worker that cannot be reached any more; empty when all can.
struct Error {
  absl::Status status;
  std::string lost;
};

void Encode(const Challenge& message, std::vector<std::byte>* out);
void Encode(const Hello& message, std::vector<std::byte>* out);
void Encode(const Welcome& message, std::vector<std::byte>* out);
void Encode(const Assignment& message, std::vector<std::byte>* out);
void Encode(const Loaded& message, std::vector<std::byte>* out);
void Encode(const models::KvCacheSize& message, std::vector<std::byte>* out);
void Encode(const Error& message, std::vector<std::byte>* out);

// InvalidArgument for bytes that are no such message. Challenge and Hello are read as far as their version when that is
// another one than ours.
absl::StatusOr<Challenge> DecodeChallenge(absl::Span<const std::byte> bytes);
absl::StatusOr<Hello> DecodeHello(absl::Span<const std::byte> bytes);
absl::StatusOr<Welcome> DecodeWelcome(absl::Span<const std::byte> bytes);
absl::StatusOr<Assignment> DecodeAssignment(absl::Span<const std::byte> bytes);
absl::StatusOr<Loaded> DecodeLoaded(absl::Span<const std::byte> bytes);
absl::StatusOr<models::KvCacheSize> DecodeCacheSize(absl::Span<const std::byte> bytes);
// The status is never OK.
absl::StatusOr<Error> DecodeError(absl::Span<const std::byte> bytes);

}  // namespace hadal::pipeline
