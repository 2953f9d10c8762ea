// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "client/cache_options.h"
#include "client/generation_options.h"
#include "client/generation_result.h"
#include "client/message.h"
#include "client/retry.h"
#include "client/tokenize_options.h"

namespace hadal::client {

struct ChannelOptions {
  // host:port each, or a URL: http://host:port, with `tls` https://host:port. A call goes to the least loaded.
  std::vector<std::string> targets = {"127.0.0.1:8000"};
  std::string api_key;                   // sent as a bearer key when not empty
  bool tls = false;                      // the texts below are in PEM form
  std::string tls_authorities;           // who may sign the server's certificate; empty: who the system trusts
  std::string tls_certificate, tls_key;  // the client's own, for servers that want one
  RetryOptions retry;
  absl::Duration deadline = absl::Minutes(60);  // of a whole call, all attempts together
  int max_calls = 0;      // under way at once; the others wait in order, within their deadlines. 0: any number
  bool coalesce = false;  // equal calls whose answer is determined (CacheOptions) run once while the first is under way
  CacheOptions cache;     // off
  // During a call: a server that is silent for so long is asked for a sign of life, and given up when it gives none
  // within as long again, 20 s at most. From 1 s on; hadal cuts off those who ask more often than every 10 s
  // (--grpc-min-ping-interval).
  absl::Duration keep_alive = absl::Minutes(1);
  // Connect begins to resolve the names and to connect, and does not wait for it (WarmUp does). False: the first call
  // to a server does.
  bool connect_ahead = true;
  // TCP Fast Open: connections that are made again save a round trip where this kernel and the server have it. Connect
  // says Unimplemented with another gRPC than 1.51.
  bool tcp_fast_open = false;
};

// The gRPC service config that implements the options as far as gRPC can: no tickets, and at most 5 attempts. For
// programs that open their own channel.
std::string ServiceConfigJson(const RetryOptions& options);

struct ModelDescription {
  std::string id;
  std::string family;
  int max_model_len = 0;   // tokens
  int64_t parameters = 0;  // how many
  std::string dtype = "";  // of its weights
};

// What a server has to do at this moment.
struct Load {
  std::string target;
  int requests_running = 0;
  int requests_waiting = 0;
  double kv_cache_usage_ratio = 0;
  absl::Duration predicted_wait;  // for a normal request that arrives now
  bool ready = false;
  bool draining = false;
  int queue_limit_requests = 0;
  int64_t queue_tokens = 0;  // of the requests that wait
  int64_t memory_budget_bytes = 0;
  int64_t memory_committed_bytes = 0;
};

// A response that is on its way. It is read piece by piece, and nothing is read ahead: while its reader is busy, the
// server pauses this response alone. Destroying it cancels what still runs. It may outlive the client. Next is for one
// thread at a time, Cancel for any.
class Generation {
 public:
  // Gets the next piece, or nullopt: that was the end, and result() is there.
  using Then = std::function<void(std::optional<Piece>)>;

  virtual ~Generation() = default;
  // Calls `then` once, on a thread of gRPC: it should not block there. It may call Next. The first Next makes the call;
  // the attempts and the waits between them are part of it. Not before the last `then` has been called.
  virtual void Next(Then then) = 0;
  // Wants no more: the piece that is waited for is the end, CANCELLED.
  virtual void Cancel() = 0;
  // Ends the reasoning of a chat with `reasoning_control`: the answer goes on behind it. Any thread; `done` is called
  // once, on a thread of gRPC. FailedPrecondition before the first piece, when it is not in its reasoning, or at its
  // end; NotFound when the chat has no `reasoning_control`.
  virtual void EndThinking(std::function<void(absl::Status)> done) = 0;
  // How it ended; FailedPrecondition before that. A response that broke off is never asked for again, since what was
  // read would come twice: the error says how much that was. Aborted when its server was lost; for the caller to retry.
  // With `whole` it is asked for again, and Unavailable says that this did not help either.
  virtual absl::StatusOr<GenerationResult> result() const = 0;
};

// Gets each piece of the first choice: reasoning, then text; both are empty, ten times a second, while nothing comes.
// Tool calls and other choices are in the result; who wants their pieces reads a Generation. False cancels the call.
using OnDelta = std::function<bool(std::string_view reasoning, std::string_view text)>;

// Calls one or several hadal servers. A connection to each, begun by Connect and made again when it is lost. Errors
// carry the server's message. Thread-safe; calls are independent.
//
// Every call exists in three forms. The one with a `done` or a Generation returns at once and has no thread of its own;
// coroutine.h makes it something to co_await; the plain one waits on the calling thread.
class Client {
 public:
  template <typename T>
  using Done = std::function<void(absl::StatusOr<T>)>;  // called once, on a thread of gRPC: it should not block

  // InvalidArgument without targets, and for other options that cannot be; FailedPrecondition for a cache folder that
  // cannot be used.
  static absl::StatusOr<std::unique_ptr<Client>> Connect(const ChannelOptions& options);
  virtual ~Client() = default;

  virtual std::unique_ptr<Generation> StartChat(const ChatOptions& options) = 0;
  virtual std::unique_ptr<Generation> StartCompletion(const CompletionOptions& options) = 0;
  virtual void StartTokenize(const TokenizeOptions& options, Done<TokenizeResult> done) = 0;
  virtual void StartDetokenize(const DetokenizeOptions& options, Done<std::string> done) = 0;
  virtual void StartListModels(Done<std::vector<ModelDescription>> done) = 0;

  // The same for the server's first model, without further options.
  void StartTokenize(const std::string& text, Done<std::vector<int32_t>> done);
  void StartDetokenize(absl::Span<const int32_t> token_ids, Done<std::string> done);

  // Streams a response to `on_delta` on the calling thread; Cancelled when that said so.
  absl::StatusOr<GenerationResult> Chat(const ChatOptions& options, const OnDelta& on_delta);
  absl::StatusOr<GenerationResult> Complete(const CompletionOptions& options, const OnDelta& on_delta);
  absl::StatusOr<std::vector<int32_t>> Tokenize(const std::string& text);
  absl::StatusOr<TokenizeResult> Tokenize(const TokenizeOptions& options);
  absl::StatusOr<std::string> Detokenize(const DetokenizeOptions& options);
  absl::StatusOr<std::string> Detokenize(absl::Span<const int32_t> token_ids);
  absl::StatusOr<std::vector<ModelDescription>> ListModels();

  // Of each server that answers within `timeout`; Unavailable when none does. Never retried.
  virtual absl::StatusOr<std::vector<Load>> GetLoad(absl::Duration timeout) = 0;

  // Of this client since Connect, without GetLoad and EndThinking.
  virtual CallCounts counts() const = 0;

  // Waits until names are resolved and connections are open, ahead of the first call. Unavailable names the servers
  // that could not be reached within `timeout`.
  virtual absl::Status WarmUp(absl::Duration timeout) = 0;
};

}  // namespace hadal::client
