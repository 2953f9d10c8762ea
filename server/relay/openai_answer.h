// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "server/service/active_call.h"

namespace simdjson::dom {
class element;
class parser;
}  // namespace simdjson::dom

namespace hadal::relay {

// UPSTREAM_FAILED: "the server that answers for this one " and `what` it did.
absl::Status AnswerFailed(std::string_view what);

// The stream of an OpenAI answer, of chat or of plain completions, as the updates of a call. Not thread-safe.
class OpenAiAnswer {
 public:
  explicit OpenAiAnswer(int32_t choices);  // as asked for with `n`
  ~OpenAiAnswer();
  OpenAiAnswer(const OpenAiAnswer&) = delete;
  OpenAiAnswer& operator=(const OpenAiAnswer&) = delete;

  // Adds what an event holds to `update`. UPSTREAM_FAILED for what is no such event, or reports an error.
  absl::Status Take(std::string_view data, service::CallUpdate* update);

  // Every choice has given its reason to end.
  bool complete() const { return finished_ == static_cast<int32_t>(choices_.size()); }
  // Sets the update's end, and that of its last choice; once the answer is complete.
  void End(service::CallUpdate* update) const;
  // As the other server names it; empty until it has.
  const std::string& model() const { return model_; }

 private:
  absl::Status TakeChoice(const simdjson::dom::element& choice, service::CallUpdate* update);
  void TakeUsage(const simdjson::dom::element& usage);

  const std::unique_ptr<simdjson::dom::parser> parser_;
  std::string model_;
  std::vector<bool> choices_;  // that have ended
  int32_t finished_ = 0;
  service::ChoiceDelta last_;  // the end of the last choice: given with that of the call, as the engine's are
  service::Usage usage_;
};

}  // namespace hadal::relay
