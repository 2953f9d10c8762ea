// SPDX-License-Identifier: Apache-2.0
#include "server/service/active_call.h"

#include <algorithm>
#include <string>
#include <utility>

namespace hadal::service {
namespace {

Finish FinishOf(request::FinishReason reason) {
  switch (reason) {
    case request::FinishReason::kStop:
      return Finish::kStop;
    case request::FinishReason::kLength:
      return Finish::kLength;
    default:
      return Finish::kInsufficientSystemResource;
  }
}

}  // namespace

Usage& Usage::operator+=(const Usage& other) {
  prompt_tokens += other.prompt_tokens;
  completion_tokens += other.completion_tokens;
  reasoning_tokens += other.reasoning_tokens;
  cache_hit_tokens += other.cache_hit_tokens;
  tool_calls += other.tool_calls;
  broken_tool_blocks += other.broken_tool_blocks;
  thinking_cuts += other.thinking_cuts;
  return *this;
}

ActiveCall::ActiveCall(Options options) : options_(std::move(options)) {
  choices_.reserve(options_.n);
  for (int32_t choice = 0; choice < options_.n; ++choice) {
    TextStream::Options text = options_.text;
    text.choice = choice;
    if (choice > 0) text.tool_call_id_prefix += std::to_string(choice) + "_";
    choices_.push_back(std::make_unique<TextStream>(*options_.model->tokenizer, options_.stop, std::move(text)));
  }
  TellSwitch();
}

ActiveCall::~ActiveCall() {
  if (!done_) options_.stream->Cancel();
}

CallUpdate ActiveCall::Read() { return Process(options_.stream->Read()); }

CallUpdate ActiveCall::ReadBlocking(absl::Duration timeout) { return Process(options_.stream->ReadBlocking(timeout)); }

void ActiveCall::Cancel() { options_.stream->Cancel(); }

Usage ActiveCall::usage() const {
  Usage usage;
  usage.prompt_tokens = static_cast<int32_t>(options_.prompt_token_ids.size());
  usage.cache_hit_tokens = cache_hit_tokens_;
  for (const auto& choice : choices_) {
    usage.completion_tokens += choice->tokens();
    usage.reasoning_tokens += choice->reasoning_tokens();
    usage.tool_calls += choice->tool_calls();
    usage.broken_tool_blocks += choice->broken_tool_blocks();
  }
  if (options_.thinking_cuts != nullptr) usage.thinking_cuts = options_.thinking_cuts->load();
  return usage;
}

void ActiveCall::TellSwitch() const {
  if (options_.thinking_switch == nullptr) return;
  const bool thinking = std::any_of(choices_.begin(), choices_.end(),
                                    [](const auto& choice) { return !choice->finished() && choice->in_reasoning(); });
  options_.thinking_switch->thinking.store(thinking, std::memory_order_relaxed);
}

CallUpdate ActiveCall::Process(request::StreamBatch batch) {
  CallUpdate update;
  started_ = started_ || batch.started || !batch.tokens.empty();
  update.started = started_;
  if (done_) return update;

  for (request::TokenEvent& event : batch.prompt_scores) {
    ScoredToken& score = update.prompt_scores.emplace_back();
    score.token_id = event.token_id;
    score.logprob = event.logprob;
    score.top = std::move(event.top);
  }

  std::vector<ChoiceDelta> deltas(choices_.size());
  for (request::TokenEvent& event : batch.tokens) {
    const int32_t choice = event.choice;
    if (choice < 0 || choice >= options_.n || choices_[choice]->finished()) continue;
    if (choices_[choice]->Push(std::move(event), &deltas[choice])) {
      choices_[choice]->End(Finish::kStop, /*stop_token=*/-1, &deltas[choice]);
      options_.stream->StopChoice(choice);
    }
  }
  for (const request::ChoiceEnd& end : batch.ends) {
    if (end.choice < 0 || end.choice >= options_.n) continue;
    // A failed or cancelled request is told by its status, not by a finish reason.
    if (end.reason == request::FinishReason::kCancelled || end.reason == request::FinishReason::kError) continue;
    choices_[end.choice]->End(FinishOf(end.reason), end.stop_token, &deltas[end.choice]);
  }
  if (batch.closed) {
    done_ = true;
    update.done = true;
    update.status = batch.status;
    cache_hit_tokens_ = batch.usage.cached_tokens;
    update.every_choice_finished = true;
    for (size_t choice = 0; choice < choices_.size(); ++choice) {
      if (batch.status.ok()) choices_[choice]->End(Finish::kInsufficientSystemResource, -1, &deltas[choice]);
      update.every_choice_finished = update.every_choice_finished && choices_[choice]->finished();
    }
    update.usage = usage();
  }
  TellSwitch();
  for (size_t choice = 0; choice < choices_.size(); ++choice) {
    if (deltas[choice].empty()) continue;
    deltas[choice].choice = static_cast<int32_t>(choice);
    update.deltas.push_back(std::move(deltas[choice]));
  }
  return update;
}

}  // namespace hadal::service
