// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "server/admission/admission.h"
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

  ScriptedEngine(admission::AdmissionController* admission, MakeScript script);
  ~ScriptedEngine();
  void Stop();
  // Nothing is taken out of the queue while paused.
  void Pause(bool paused) { paused_.store(paused); }
  int cancelled() const { return cancelled_.load(); }
  int finished() const { return finished_.load(); }
  int running() const { return running_count_.load(); }

 private:
  struct Running;

  void Run();
  void Close(Running& one, absl::Status status);
  // One token for every choice; false when there was nothing to do.
  bool Step(Running& one);

  admission::AdmissionController* const admission_;
  const MakeScript script_;
  std::vector<std::unique_ptr<Running>> running_;
  std::atomic<bool> stop_{false}, paused_{false};
  std::atomic<int> cancelled_{0}, finished_{0}, running_count_{0};
  std::thread thread_;
};

}  // namespace hadal::testing
