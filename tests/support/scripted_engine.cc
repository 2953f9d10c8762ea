// SPDX-License-Identifier: Apache-2.0
#include "tests/support/scripted_engine.h"

#include <algorithm>
#include <utility>

#include "absl/time/time.h"
#include "server/request/refusal.h"

namespace hadal::testing {
namespace {

// Log-probability -0.5 for the token, and one lower for each alternative.
request::TokenEvent Event(const request::Request& request, int32_t choice, int32_t token) {
  request::TokenEvent event;
  event.choice = choice;
  event.token_id = token;
  if (request.top_logprobs >= 0) {
    event.logprob = -0.5f;
    for (int32_t i = 0; i < request.top_logprobs; ++i) event.top.push_back({token + i, -0.5f - static_cast<float>(i)});
  }
  return event;
}

}  // namespace

struct ScriptedEngine::Running {
  struct Choice {
    size_t next = 0;
    bool ended = false;
  };

  admission::QueuedRequest queued;
  Script script;
  std::vector<Choice> choices;
  request::StreamUsage usage;
  std::chrono::steady_clock::time_point next_at;
  bool started = false;

  void End(int32_t choice, request::FinishReason reason, int32_t stop_token) {
    if (choices[choice].ended) return;
    choices[choice].ended = true;
    if (stop_token >= 0) ++usage.completion_tokens;
    queued.request->stream->EndChoice({choice, reason, stop_token});
  }
};

ScriptedEngine::ScriptedEngine(admission::AdmissionController* admission, MakeScript script)
    : admission_(admission), script_(std::move(script)), thread_([this] { Run(); }) {}

ScriptedEngine::~ScriptedEngine() { Stop(); }

void ScriptedEngine::Stop() {
  stop_.store(true);
  if (thread_.joinable()) thread_.join();
}

void ScriptedEngine::Run() {
  while (!stop_.load()) {
    bool busy = false;
    for (admission::QueuedRequest& expired : admission_->RemoveExpired(0, absl::InfinitePast(), true)) {
      if (!expired.refusal.ok()) {
        expired.ticket.Release();
        expired.request->stream->Close(expired.refusal, {});
        continue;
      }
      ++cancelled_;
      expired.request->stream->Close(request::MakeError(request::Reason::kCancelled, "cancelled in the queue"), {});
    }
    while (!paused_.load()) {
      const auto turn = admission_->NextTurn(0);
      if (!turn.has_value()) break;
      auto queued =
          admission_->Pop(0, turn->priority, [](const request::Request&, admission::Ticket&) { return true; });
      if (!queued.has_value()) break;
      queued->ticket.ReleaseSlot();
      Running one;
      one.script = script_(*queued->request);
      one.choices.resize(queued->request->n);
      one.usage.prompt_tokens = static_cast<int32_t>(queued->request->prompt.size());
      one.usage.cached_tokens = one.script.cached_tokens;
      one.queued = *std::move(queued);
      running_.push_back(std::make_unique<Running>(std::move(one)));
    }
    for (auto& one : running_) busy = Step(*one) || busy;
    std::erase_if(running_, [](const auto& one) { return one == nullptr || one->queued.request == nullptr; });
    running_count_.store(static_cast<int>(running_.size()));
    if (!busy) std::this_thread::sleep_for(std::chrono::microseconds(100));
  }
  for (auto& one : running_) Close(*one, request::MakeError(request::Reason::kDraining, "stopped"));
  for (admission::QueuedRequest& left : admission_->DrainQueue(0)) {
    left.request->stream->Close(request::MakeError(request::Reason::kDraining, "stopped"), {});
  }
}

void ScriptedEngine::Close(Running& one, absl::Status status) {
  ++finished_;  // before the end can be read: a test that has read it counts this one
  one.queued.request->stream->Close(std::move(status), one.usage);
  one.queued.request.reset();
  one.queued.ticket.Release();
}

bool ScriptedEngine::Step(Running& one) {
  request::Request& request = *one.queued.request;
  request::TokenStream& stream = *request.stream;
  if (stream.cancelled()) {
    ++cancelled_;
    Close(one, request::MakeError(request::Reason::kCancelled, "cancelled"));
    return true;
  }
  if (one.script.hold) return false;
  if (!one.started) {
    one.started = true;
    stream.MarkStarted();
    if (request.prompt_logprobs) {
      std::vector<request::TokenEvent> scores;
      for (size_t i = 1; i < request.prompt.size(); ++i) scores.push_back(Event(request, 0, request.prompt[i]));
      stream.PushPromptScores(std::move(scores));
    }
  }
  const auto now = std::chrono::steady_clock::now();
  if (now < one.next_at || !stream.Writable()) return false;
  if (one.script.allowed != nullptr && static_cast<int>(one.choices[0].next) >= one.script.allowed->load())
    return false;
  one.next_at = now + one.script.token_delay;
  for (const int32_t stopped : stream.TakeStoppedChoices()) one.End(stopped, request::FinishReason::kStop, -1);
  for (int32_t choice = 0; choice < request.n; ++choice) {
    Running::Choice& state = one.choices[choice];
    if (state.ended) continue;
    const bool out_of_script = !one.script.endless && state.next >= one.script.tokens.size();
    if (static_cast<int32_t>(state.next) >= request.max_tokens) {
      one.End(choice, request::FinishReason::kLength, -1);
    } else if (out_of_script && (one.script.status.ok() || one.script.finish_despite_status)) {
      one.End(choice, one.script.finish, one.script.stop_token);
    } else if (out_of_script) {
      state.ended = true;
    } else {
      ++one.usage.completion_tokens;
      stream.PushToken(Event(request, choice, one.script.tokens[state.next++ % one.script.tokens.size()]));
    }
  }
  if (std::all_of(one.choices.begin(), one.choices.end(), [](const Running::Choice& choice) { return choice.ended; })) {
    Close(one, one.script.status);
  }
  return true;
}

}  // namespace hadal::testing
