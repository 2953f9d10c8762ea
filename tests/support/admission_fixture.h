// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "server/admission/admission.h"
#include "server/request/request.h"
#include "tests/support/fake_clock.h"
#include "tests/support/status_matchers.h"

namespace hadal::testing {

// A controller with one model over a pool of `blocks` blocks of 4 tokens and 1000 bytes each, ready, on a fake clock.
class AdmissionFixture {
 public:
  static constexpr int32_t kBlockTokens = 4;
  static constexpr int64_t kBlockBytes = 1000;

  explicit AdmissionFixture(int64_t blocks = 1000, int64_t max_queue_requests = 512, int64_t max_queue_tokens = 0,
                            int32_t max_model_len = 100000, int32_t block_tokens = kBlockTokens,
                            admission::SurplusRetry surplus_retry = admission::SurplusRetry::kOnce,
                            absl::Duration wait_limit = absl::InfiniteDuration())
      : pool(blocks * kBlockBytes) {
    admission::AdmissionController::Options options;
    options.clock = &clock;
    options.metrics = &metrics;
    options.max_queue_requests = max_queue_requests;
    options.max_queue_tokens = max_queue_tokens;
    options.surplus_retry = surplus_retry;
    options.ghost_share = 0.1;
    options.wait_limits.fill(wait_limit);
    options.log = [this](admission::LogSeverity, std::string_view component, std::string_view message,
                         const admission::LogFields& log_fields) {
      lines.push_back(std::string(component) + " " + std::string(message));
      fields = log_fields;
    };
    controller = *admission::AdmissionController::Create(std::move(options));
    controller->AddModel({"test", max_model_len, block_tokens, kBlockBytes, &pool}).value();
    controller->SetReady();
  }

  static std::unique_ptr<request::Request> MakeRequest(int32_t prompt_tokens, int32_t max_tokens,
                                                       request::Priority priority = request::Priority::kNormal) {
    auto request = std::make_unique<request::Request>();
    static std::atomic<int> next_id{0};
    request->id = "r" + std::to_string(next_id++);
    request->priority = priority;
    request->prompt.assign(prompt_tokens, 1);
    request->max_tokens = max_tokens;
    request->stream = std::make_shared<request::TokenStream>(1024);
    return request;
  }

  absl::StatusOr<admission::Ticket> Admit(int64_t body_bytes = 0,
                                          request::Priority priority = request::Priority::kNormal) {
    return controller->TryAdmit({priority, "", "req", body_bytes});
  }
  // Whose turn it is, when `may_start` lets it.
  std::optional<admission::QueuedRequest> Pop(const admission::AdmissionController::MayStart& may_start =
                                                  [](const request::Request&, admission::Ticket&) { return true; }) {
    const auto turn = controller->NextTurn(0);
    return turn.has_value() ? controller->Pop(0, turn->priority, may_start) : std::nullopt;
  }

  // A full batch of steps of 0.1 s, of which a sequence ends every half second and gives back `blocks`; `more_places`
  // are free.
  void PublishRunning(int sequences, int32_t blocks = 0, int32_t more_places = 0, bool fixed_length = false) {
    admission::EngineLoad& load = controller->engine_load(0);
    load.SetStep({sequences + more_places, 64, {.step_s = 0.1}});
    load.BeginSequences();
    for (int i = 1; i <= sequences; ++i) {
      admission::RunningSequence sequence;
      sequence.blocks = blocks;
      sequence.max_tokens = 10 * i;  // half of it is what is expected while no answer has been seen
      sequence.fixed_length = fixed_length;
      load.AddSequence(sequence);
    }
    load.EndSequences();
    controller->UpdateForecast(clock.Now());
  }

  // The whole way into the queue; the status of the step that failed, if one did. `request` is consumed on OK.
  absl::Status Submit(std::unique_ptr<request::Request>& request) {
    request->arrival = clock.Now();
    auto ticket = controller->TryAdmit({request->priority, request->tenant, request->id, 0});
    if (!ticket.ok()) return ticket.status();
    if (absl::Status status = ticket->Finalize(*request, 0); !status.ok()) return status;
    return controller->Enqueue(0, std::move(request), *std::move(ticket));
  }

  FakeClock clock;
  base::MetricRegistry metrics;
  admission::KvPoolLedger pool;
  std::vector<std::string> lines;  // written by tests with one thread only
  admission::LogFields fields;     // of the last line
  std::unique_ptr<admission::AdmissionController> controller;
};

}  // namespace hadal::testing
