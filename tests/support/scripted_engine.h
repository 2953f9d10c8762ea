// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "server/admission/admission.h"
#include "server/request/refusal.h"
#include "server/request/request.h"

namespace hadal::testing {

// What the scripted engine does with a request.
struct Script {
  std::vector<int32_t> tokens;  // delivered one by one, for every choice
  request::FinishReason finish = request::FinishReason::kStop;
  int32_t stop_token = -1;
  absl::Status status;                 // of the whole request, after the tokens
  bool finish_despite_status = false;  // a status that is not OK: choices end with `finish` all the same; else without
  bool endless = false;                // tokens are repeated until max_tokens or the cancellation
  bool hold = false;                   // no token ever: waits for the cancellation
  std::chrono::microseconds token_delay{0};
  std::shared_ptr<const std::atomic<int>> allowed;  // each choice gets at most so many tokens, and its end after more
  int32_t cached_tokens = 0;
};

// Stands where the engine stands: takes requests out of the queue of model 0 on a thread of its own and answers each by
// its script, with the engine's manners: one Close, a full stream is paused, a cancelled one ends, max_tokens holds.
class ScriptedEngine {
 public:
  using MakeScript = std::function<Script(const request::Request&)>;

  ScriptedEngine(admission::AdmissionController* admission, MakeScript script)
      : admission_(admission), script_(std::move(script)), thread_([this] { Run(); }) {}
  ~ScriptedEngine() { Stop(); }
  void Stop() {
    stop_.store(true);
    if (thread_.joinable()) thread_.join();
  }
  // Nothing is taken out of the queue while paused.
  void Pause(bool paused) { paused_.store(paused); }
  int cancelled() const { return cancelled_.load(); }
  int finished() const { return finished_.load(); }
  int running() const { return running_count_.load(); }

 private:
  struct Choice {
    size_t next = 0;
    bool ended = false;
  };
  struct Running {
    admission::QueuedRequest queued;
    Script script;
    std::vector<Choice> choices;
    request::StreamUsage usage;
    std::chrono::steady_clock::time_point next_at;
    bool started = false;
  };

  void Run() {
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
        auto queued = admission_->Pop(0, turn->priority, [](const request::Request&) { return true; });
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

  void Close(Running& one, absl::Status status) {
    one.queued.request->stream->Close(std::move(status), one.usage);
    one.queued.request.reset();
    one.queued.ticket.Release();
    ++finished_;
  }

  // One token for every choice; false when there was nothing to do.
  bool Step(Running& one) {
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
    for (const int32_t stopped : stream.TakeStoppedChoices()) End(one, stopped, request::FinishReason::kStop, -1);
    for (int32_t choice = 0; choice < request.n; ++choice) {
      Choice& state = one.choices[choice];
      if (state.ended) continue;
      const bool out_of_script = !one.script.endless && state.next >= one.script.tokens.size();
      if (static_cast<int32_t>(state.next) >= request.max_tokens) {
        End(one, choice, request::FinishReason::kLength, -1);
      } else if (out_of_script && (one.script.status.ok() || one.script.finish_despite_status)) {
        End(one, choice, one.script.finish, one.script.stop_token);
      } else if (out_of_script) {
        state.ended = true;
      } else {
        ++one.usage.completion_tokens;
        stream.PushToken(Event(request, choice, one.script.tokens[state.next++ % one.script.tokens.size()]));
      }
    }
    if (std::all_of(one.choices.begin(), one.choices.end(), [](const Choice& choice) { return choice.ended; })) {
      Close(one, one.script.status);
    }
    return true;
  }

  static void End(Running& one, int32_t choice, request::FinishReason reason, int32_t stop_token) {
    if (one.choices[choice].ended) return;
    one.choices[choice].ended = true;
    if (stop_token >= 0) ++one.usage.completion_tokens;
    one.queued.request->stream->EndChoice({choice, reason, stop_token});
  }

  // Log-probability -0.5 for the token, and one lower for each alternative.
  static request::TokenEvent Event(const request::Request& request, int32_t choice, int32_t token) {
    request::TokenEvent event;
    event.choice = choice;
    event.token_id = token;
    if (request.top_logprobs >= 0) {
      event.logprob = -0.5f;
      for (int32_t i = 0; i < request.top_logprobs; ++i)
        event.top.push_back({token + i, -0.5f - static_cast<float>(i)});
    }
    return event;
  }

  admission::AdmissionController* const admission_;
  const MakeScript script_;
  std::vector<std::unique_ptr<Running>> running_;
  std::atomic<bool> stop_{false}, paused_{false};
  std::atomic<int> cancelled_{0}, finished_{0}, running_count_{0};
  std::thread thread_;
};

}  // namespace hadal::testing
