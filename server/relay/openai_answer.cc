// SPDX-License-Identifier: Apache-2.0
#include "server/relay/openai_answer.h"

#include <simdjson.h>

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/base/strings.h"
#include "server/request/refusal.h"

namespace hadal::relay {
namespace {

using service::ChoiceDelta;
using service::Finish;
using simdjson::dom::element;

// Of another server's words that an error repeats.
constexpr size_t kShownBytes = 200;

// The text under `key`; empty where there is none.
std::string_view TextOf(const element& object, std::string_view key) {
  std::string_view text;
  return object[key].get_string().get(text) == simdjson::SUCCESS ? text : std::string_view();
}

// A count under `key`; `otherwise` where there is none.
int32_t CountOf(const element& object, std::string_view key, int32_t otherwise = 0) {
  int64_t count = 0;
  if (object[key].get_int64().get(count) != simdjson::SUCCESS) return otherwise;
  return static_cast<int32_t>(std::clamp<int64_t>(count, 0, std::numeric_limits<int32_t>::max()));
}

// What ends an answer there and has no name here (content_filter, ...) is its end all the same.
Finish FinishOf(std::string_view name) {
  if (name.empty()) return Finish::kNone;
  for (const Finish finish : {Finish::kLength, Finish::kToolCalls, Finish::kInsufficientSystemResource}) {
    if (name == service::FinishName(finish)) return finish;
  }
  return name == "function_call" ? Finish::kToolCalls : Finish::kStop;
}

void TakeToolCalls(const element& value, ChoiceDelta* delta) {
  simdjson::dom::array calls;
  if (value["tool_calls"].get_array().get(calls) != simdjson::SUCCESS) return;
  for (const element call : calls) {
    service::ToolDelta tool;
    tool.index = CountOf(call, "index");
    tool.id = TextOf(call, "id");
    element function;
    if (call["function"].get(function) == simdjson::SUCCESS) {
      tool.name = TextOf(function, "name");
      tool.arguments = TextOf(function, "arguments");
    }
    delta->tool_calls.push_back(std::move(tool));
  }
}

// Adds to what the update has of the choice already; deltas stay in the order of the choices.
void AddDelta(ChoiceDelta delta, service::CallUpdate* update) {
  auto at = std::lower_bound(update->deltas.begin(), update->deltas.end(), delta.choice,
                             [](const ChoiceDelta& one, int32_t choice) { return one.choice < choice; });
  if (at != update->deltas.end() && at->choice == delta.choice) {
    at->Append(std::move(delta));
  } else {
    update->deltas.insert(at, std::move(delta));
  }
}

}  // namespace

absl::Status AnswerFailed(std::string_view what) {
  return request::MakeError(request::Reason::kUpstreamFailed,
                            absl::StrCat("the server that answers for this one ", base::View(what)));
}

OpenAiAnswer::OpenAiAnswer(int32_t choices)
    : parser_(std::make_unique<simdjson::dom::parser>()), choices_(static_cast<size_t>(choices), false) {}

OpenAiAnswer::~OpenAiAnswer() = default;

absl::Status OpenAiAnswer::Take(std::string_view data, service::CallUpdate* update) {
  if (data == "[DONE]") return absl::OkStatus();
  element event;
  if (parser_->parse(data.data(), data.size()).get(event) != simdjson::SUCCESS || !event.is_object()) {
    return AnswerFailed("sent what is no event of OpenAI's API");
  }
  if (element error; event["error"].get(error) == simdjson::SUCCESS && !error.is_null()) {
    return AnswerFailed(absl::StrCat("reports: ", std::string(simdjson::minify(error)).substr(0, kShownBytes)));
  }
  if (model_.empty()) model_ = TextOf(event, "model");
  if (element usage; event["usage"].get(usage) == simdjson::SUCCESS && usage.is_object()) TakeUsage(usage);
  simdjson::dom::array choices;
  if (event["choices"].get_array().get(choices) != simdjson::SUCCESS) return absl::OkStatus();
  for (const element choice : choices) {
    if (absl::Status status = TakeChoice(choice, update); !status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status OpenAiAnswer::TakeChoice(const element& choice, service::CallUpdate* update) {
  ChoiceDelta delta;
  delta.choice = CountOf(choice, "index");
  if (delta.choice >= static_cast<int32_t>(choices_.size()))
    return AnswerFailed("sent more choices than were asked for");
  delta.text = TextOf(choice, "text");
  if (element piece; choice["delta"].get(piece) == simdjson::SUCCESS && piece.is_object()) {
    delta.text += TextOf(piece, "content");
    delta.reasoning = TextOf(piece, "reasoning_content");
    if (delta.reasoning.empty()) delta.reasoning = TextOf(piece, "reasoning");
    TakeToolCalls(piece, &delta);
  }
  delta.finish = FinishOf(TextOf(choice, "finish_reason"));
  if (delta.empty()) return absl::OkStatus();
  if (choices_[delta.choice]) return AnswerFailed("sent more behind the end of its answer");
  if (delta.finish != Finish::kNone) {
    choices_[delta.choice] = true;
    ++finished_;
    if (complete()) last_ = {.choice = delta.choice, .finish = std::exchange(delta.finish, Finish::kNone)};
  }
  if (!delta.empty()) AddDelta(std::move(delta), update);
  return absl::OkStatus();
}

void OpenAiAnswer::TakeUsage(const element& usage) {
  usage_.prompt_tokens = CountOf(usage, "prompt_tokens");
  usage_.completion_tokens = CountOf(usage, "completion_tokens");
  usage_.cache_hit_tokens = CountOf(usage, "prompt_cache_hit_tokens");
  element details;
  if (usage["prompt_tokens_details"].get(details) == simdjson::SUCCESS && details.is_object()) {
    usage_.cache_hit_tokens = CountOf(details, "cached_tokens", usage_.cache_hit_tokens);
  }
  if (usage["completion_tokens_details"].get(details) == simdjson::SUCCESS && details.is_object()) {
    usage_.reasoning_tokens = CountOf(details, "reasoning_tokens");
  }
}

void OpenAiAnswer::End(service::CallUpdate* update) const {
  AddDelta(last_, update);
  update->done = true;
  update->every_choice_finished = true;
  update->usage = usage_;
}

}  // namespace hadal::relay
