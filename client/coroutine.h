// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <coroutine>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "client/client.h"

namespace hadal::client {

// Calls to co_await in any kind of coroutine:
//
//   const std::unique_ptr<Generation> chat = client.StartChat(question);
//   while (true) {
//     const std::optional<Piece> piece = co_await Next(*chat);
//     if (!piece.has_value()) break;
//     std::cout << piece->text;
//   }
//   const absl::StatusOr<GenerationResult> result = chat->result();
//
// The coroutine goes on, on a thread of gRPC. It must not be destroyed while it waits: Generation::Cancel makes it go
// on.

// One call; awaited at most once.
template <typename T>
class Awaitable {
 public:
  // Begins the call, which gives its value once, on whichever thread.
  using Start = std::function<void(std::function<void(T)>)>;

  explicit Awaitable(Start start) : start_(std::move(start)) {}

  bool await_ready() const { return false; }
  void await_suspend(std::coroutine_handle<> waiting) {
    // The coroutine may have gone on, and this object with it, before `start` returns.
    const Start start = std::move(start_);
    start([this, waiting](T value) {
      value_.emplace(std::move(value));
      waiting.resume();
    });
  }
  T await_resume() { return *std::move(value_); }

 private:
  Start start_;
  std::optional<T> value_;
};

// `generation` is borrowed until the coroutine goes on.
inline Awaitable<std::optional<Piece>> Next(Generation& generation) {
  return Awaitable<std::optional<Piece>>([&generation](auto then) { generation.Next(std::move(then)); });
}

// The same.
inline Awaitable<absl::Status> EndThinking(Generation& generation) {
  return Awaitable<absl::Status>([&generation](auto done) { generation.EndThinking(std::move(done)); });
}

inline Awaitable<absl::StatusOr<std::vector<int32_t>>> Tokenize(Client& client, std::string text) {
  return Awaitable<absl::StatusOr<std::vector<int32_t>>>(
      [&client, text = std::move(text)](auto done) { client.StartTokenize(text, std::move(done)); });
}

inline Awaitable<absl::StatusOr<TokenizeResult>> Tokenize(Client& client, TokenizeOptions options) {
  return Awaitable<absl::StatusOr<TokenizeResult>>(
      [&client, options = std::move(options)](auto done) { client.StartTokenize(options, std::move(done)); });
}

inline Awaitable<absl::StatusOr<std::string>> Detokenize(Client& client, DetokenizeOptions options) {
  return Awaitable<absl::StatusOr<std::string>>(
      [&client, options = std::move(options)](auto done) { client.StartDetokenize(options, std::move(done)); });
}

inline Awaitable<absl::StatusOr<std::string>> Detokenize(Client& client, std::vector<int32_t> token_ids) {
  return Awaitable<absl::StatusOr<std::string>>(
      [&client, ids = std::move(token_ids)](auto done) { client.StartDetokenize(ids, std::move(done)); });
}

inline Awaitable<absl::StatusOr<std::vector<ModelDescription>>> ListModels(Client& client) {
  return Awaitable<absl::StatusOr<std::vector<ModelDescription>>>(
      [&client](auto done) { client.StartListModels(std::move(done)); });
}

}  // namespace hadal::client
