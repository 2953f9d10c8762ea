// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "benchmarks/hadal_bench/client/attempt.h"

namespace hadal::bench {

enum class OpenAiApi { kChat, kCompletions };

// The JSON body of a streamed call. `more_members` are added as they are: members of an object without its braces.
std::string EncodeCall(const CallSpec& spec, OpenAiApi api, std::string_view model, std::string_view more_members = {});

// Reads the chunks of one streamed answer and judges it at its end. Not thread-safe.
class AnswerReader {
 public:
  AnswerReader();
  ~AnswerReader();
  // One event's data. Returns the bytes of content in it, 0 for none; broken JSON is remembered as the failure.
  size_t OnEvent(std::string_view data);
  // One event that the stream calls an error: an object with `error`, the error itself, or a bare text.
  void OnErrorEvent(std::string_view data);
  // Fills end, reason, message, usage and finish_reason for a stream that ended with status 200. `clean`: the
  // transfer itself was complete.
  void Finish(bool clean, CallResult* result) const;
  bool done() const { return done_; }

 private:
  void SetError(std::string reason, std::string message);

  struct Parser;
  std::unique_ptr<Parser> parser_;
  CallResult found_;
  std::string error_reason_;
  size_t content_bytes_ = 0;
  bool done_ = false;
};

// Fills reason, message and end from the body of an answer with another status than 200. `header_reason` is
// x-hadal-reason or empty. Names from the body are cut to 64 characters of [A-Za-z0-9_.-].
void ReadErrorBody(int status, std::string_view header_reason, std::string_view body, CallResult* result);

// The same for an answer with status 200 that is no stream but holds an error. False when it holds none.
bool ReadErrorOfSuccess(std::string_view body, CallResult* result);

// The first model of a /v1/models answer.
absl::StatusOr<std::string> FirstModel(std::string_view body);

}  // namespace hadal::bench
