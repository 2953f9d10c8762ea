// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace hadal::bench {

// Members of a call that not every server takes, or not under this name.
struct CallForm {
  bool exact_length = false;           // ask for ignore_eos and min_tokens
  bool usage = true;                   // ask for the token counts with stream_options
  bool max_completion_tokens = false;  // the limit's newer name in place of max_tokens
};

// What one call asks for.
struct CallSpec {
  std::string_view prompt;  // lives until Start returns
  int max_tokens = 1;
  CallForm form;
  std::string priority;                // x-hadal-priority; empty: not sent
  std::string api_key;                 // empty: not sent
  std::optional<int64_t> deadline_ms;  // told to the server
  int attempt = 0;                     // earlier attempts of the same request, told to the server; 0: not told
  std::string ticket;                  // x-hadal-ticket of the last refusal; empty: not sent
};

// How one call ended.
enum class CallEnd {
  kServed,   // a whole answer with content
  kRefused,  // turned away for capacity: 429, 503, 529, UNAVAILABLE or RESOURCE_EXHAUSTED of the server itself
  kFailed,   // everything else, also answers that are empty or cut off
};

// What the server said about returning, as it came; the client model decides what it makes of it.
struct RetryAdvice {
  std::optional<std::string> retry_after;     // header, verbatim
  std::optional<std::string> retry_after_ms;  // header, verbatim
  std::optional<std::string> should_retry;    // x-should-retry
  std::optional<int64_t> pushback_ms;         // gRPC trailer; negative: do not return
  std::string promise;                        // x-hadal-promise: "held", "none" or empty
  std::string ticket;                         // x-hadal-ticket: proves whose place is held; empty: none was given
};

struct CallResult {
  CallEnd end = CallEnd::kFailed;
  int status = 0;       // HTTP status, or 0 where none arrived
  int grpc_code = -1;   // of a gRPC call, else -1
  std::string reason;   // short and bounded in kinds: "CONNECTION_QUEUE_FULL", "http_500", "empty_answer", "connect"
  std::string message;  // what the server or the system said, for people
  RetryAdvice advice;
  int prompt_tokens = -1, completion_tokens = -1, cached_tokens = -1;  // usage; -1: not reported
  std::string finish_reason;
};

// Told of a call's progress, on the runner's thread. OnEnd is the last call, once, never from inside Start.
class CallObserver {
 public:
  virtual ~CallObserver() = default;
  // The call is about to be written to a connection.
  virtual void OnSent() {}
  // A piece of content (text, reasoning or tool call) of `bytes` > 0 arrived.
  virtual void OnContent(size_t bytes) = 0;
  virtual void OnEnd(const CallResult& result) = 0;
};

// Sends calls. All methods run on the runner's thread; Cancel must not come from inside OnContent.
class Transport {
 public:
  virtual ~Transport() = default;
  // `observer` must live until OnEnd. Returns an id for Cancel.
  virtual uint64_t Start(const CallSpec& spec, CallObserver* observer) = 0;
  // Ends a call soon with the reason given; OnEnd still comes. Unknown ids are ignored.
  virtual void Cancel(uint64_t id, std::string_view reason) = 0;
  // Calls that had to wait for a connection because all were in use.
  virtual int64_t connection_waits() const = 0;
};

}  // namespace hadal::bench
