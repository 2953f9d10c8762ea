// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "server/admission/admission.h"
#include "server/base/clock.h"
#include "server/base/metrics.h"
#include "server/request/notifier.h"
#include "server/request/refusal.h"
#include "server/request/request.h"
#include "server/response_cache/response_cache.h"
#include "server/service/access_log.h"
#include "server/service/active_call.h"
#include "server/service/body_budget.h"
#include "server/service/call_grammar.h"
#include "server/service/call_metrics.h"
#include "server/service/call_rate.h"
#include "server/service/call_record.h"
#include "server/service/calls.h"
#include "server/service/grammar_service.h"
#include "server/service/load.h"
#include "server/service/load_report.h"
#include "server/service/prepared_call.h"
#include "server/service/rendered_call.h"
#include "server/service/served_model.h"
#include "server/service/thinking_control.h"
#include "server/service/trace_context.h"
#include "server/service/tracer.h"
#include "server/service/worker_pool.h"

namespace hadal::service {

struct TokenizeCall {
  std::string model;
  std::string text;  // used when `messages` is empty
  std::vector<chat::ChatMessage> messages;
  std::vector<chat::ChatTool> tools;
  bool add_special_tokens = true;
  bool add_generation_prompt = true;
  std::optional<bool> thinking;
  std::string template_arguments_json;       // as ChatCall's
  std::string documents_json;                // as ChatCall's
  std::optional<bool> parse_special_tokens;  // as GenerateCall's
};

struct TokenizeResult {
  std::vector<int32_t> token_ids;
  std::shared_ptr<const ServedModel> model;
};

// The refusal of a full worker queue.
absl::Status WorkersBusy();

// The steps of a call; CallPipeline executes them in order for both front ends. Short calls are made directly.
// Thread-safe; borrows the objects in Options.
class GenerateService {
 public:
  struct Options {
    admission::AdmissionController* admission = nullptr;
    const ModelTable* models = nullptr;
    base::Clock* clock = nullptr;
    bool parse_special_tokens = true;  // control tokens written in plain prompts, where the call does not say
    int worker_threads = 2;
    size_t max_worker_jobs = 4096;
    int32_t stream_capacity_tokens = 1024;  // unread tokens of one call before the engine pauses it
    std::function<Load()> load;             // cheap; from published counters
    // Called with the salt of each new request and its caller's cache_salt; thread-safe; may be null.
    std::function<void(uint64_t salt, const std::string& cache_salt)> on_cache_salt;
    const Tracer* tracer = nullptr;                           // outlives the service; nullptr: no traces
    AccessLog* access_log = nullptr;                          // outlives the service; nullptr: none
    base::MetricRegistry* metrics = nullptr;                  // outlives the service; nullptr: not exported
    GrammarService::Options grammars;                         // its metrics are those above
    BodyBudget::Options bodies;                               // the same
    DegradationOptions degradation;                           // the same
    response_cache::ResponseCache* response_cache = nullptr;  // outlives the service; nullptr: none
  };

  explicit GenerateService(Options options);
  ~GenerateService();

  // AdmissionController::OpenTicket.
  uint64_t OpenTicket(std::string_view ticket, uint64_t owner) { return options_.admission->OpenTicket(ticket, owner); }
  // AdmissionController::Withdraw.
  void Withdraw(const absl::Status& refusal) { options_.admission->Withdraw(refusal); }
  // Since a request of a class above batch was let in.
  absl::Duration SinceUrgent() const {
    return clock().Now() - absl::FromUnixMicros(urgent_at_us_.load(std::memory_order_relaxed));
  }
  // Whether Admit would succeed now; the same refusals. Takes nothing.
  absl::Status CheckRoom(const admission::AdmissionRequest& arrival);
  // Its refusal while the server serves nobody (loading, draining, device fault), else OK.
  absl::Status CheckState(const admission::AdmissionRequest& arrival);
  // What a call is told that a drain or a device fault ends before its answer has begun.
  absl::Status EndedBy(request::Reason reason);
  // Reserves a queue slot before anything is parsed. O(1), for I/O threads. Errors are refusals with a retry hint.
  absl::StatusOr<admission::Ticket> Admit(const admission::AdmissionRequest& arrival);

  // Validates, renders, tokenises, and has the call's grammar compiled; for worker threads.
  absl::StatusOr<std::unique_ptr<PreparedCall>> Prepare(ChatCall call);
  absl::StatusOr<std::unique_ptr<PreparedCall>> Prepare(GenerateCall call);
  // Finalizes the ticket and enqueues; for worker threads. Waits for a grammar that is not ready. A call that the
  // response cache answers needs neither and returns its ticket. If admission has refused the call, or refuses it now,
  // the degradation ladder answers if it can. On error the ticket is returned. NOT_CACHED if the call may only be
  // answered from the cache and is not in it. `notifier` is notified when the call may have something new to read,
  // possibly before Start returns; may be null.
  absl::StatusOr<std::unique_ptr<ActiveCall>> Start(std::unique_ptr<PreparedCall> call, admission::Ticket ticket,
                                                    std::shared_ptr<request::Notifier> notifier = nullptr);
  // Both in one, for callers that may wait.
  absl::StatusOr<std::unique_ptr<ActiveCall>> StartChat(ChatCall call, admission::Ticket ticket);
  absl::StatusOr<std::unique_ptr<ActiveCall>> StartGenerate(GenerateCall call, admission::Ticket ticket);

  // The engine request that Prepare and Start would create, without starting it; the same errors except those of
  // grammars. For worker threads.
  absl::StatusOr<RenderedCall> Render(ChatCall call);
  absl::StatusOr<RenderedCall> Render(GenerateCall call);

  // For worker threads.
  absl::StatusOr<TokenizeResult> Tokenize(const TokenizeCall& call) const;
  // The prompt that the call would have; false for `add_generation_prompt` ends it behind the last message. May be
  // longer than the context, within limits.h.
  absl::StatusOr<TokenizeResult> TokenizeChat(const ChatCall& call, bool add_generation_prompt = true) const;
  absl::StatusOr<std::string> Detokenize(std::string_view model, absl::Span<const int32_t> token_ids,
                                         bool skip_special_tokens) const;

  // Cheap; any thread.
  absl::StatusOr<ModelTable::Entry> FindModel(std::string_view name) const { return options_.models->Find(name); }
  std::vector<std::shared_ptr<const ServedModel>> ListModels() const { return options_.models->List(); }
  Load GetLoad() const;
  // The load as balancers read it, with the rates of the last ten seconds.
  LoadReport GetLoadReport() const;
  // Calls sent with `reasoning_control`, while they run.
  ThinkingControls& thinking_controls() { return thinking_controls_; }
  // The trace that a request belongs to, by its headers or metadata; decides whether it is traced.
  TraceContext OpenTrace(std::string_view traceparent, std::string_view tracestate) const;
  // Records a request of either front, once, after its response; sets the outcome's duration.
  void Record(const CallInfo& info, CallOutcome outcome);
  // A response that was recorded as delivered was not read by its client.
  void CountSlowReader() { metrics_.slow_readers.Get().Increment(); }
  base::Clock& clock() const { return *options_.clock; }
  WorkerPool& workers() { return workers_; }
  // Whether a call with this refusal should be prepared anyway, because a rung of the ladder may answer it.
  bool MayDegrade(const absl::Status& refusal, bool upstream_first) const {
    return degradation_.MayAnswer(refusal, upstream_first);
  }
  // The same of the response cache, for a call that asks it.
  bool MayFindCached(const absl::Status& refusal) const;
  // A front answered a call with that rung.
  void CountDegraded(Rung rung) { degradation_.Count(rung); }
  // Every body that a front holds in memory is leased here.
  BodyBudget& bodies() { return bodies_; }

 private:
  template <typename Call>
  absl::StatusOr<std::unique_ptr<PreparedCall>> PrepareWithOriginal(Call call);
  enum class Grammars : uint8_t { kCompile, kLeaveOut };
  absl::StatusOr<std::unique_ptr<PreparedCall>> PrepareChat(ChatCall call, Grammars grammars = Grammars::kCompile);
  absl::StatusOr<std::unique_ptr<PreparedCall>> PrepareGenerate(GenerateCall call,
                                                                Grammars grammars = Grammars::kCompile);
  // The rungs for which memory must be short and the ticket there: a lower effort, a shorter output, the other model.
  // Replaces `call` and `request` by what was admitted. kNone: the refusal stands.
  Rung Climb(const absl::Status& refusal, admission::Ticket& ticket, std::unique_ptr<PreparedCall>* call,
             std::unique_ptr<request::Request>* request);
  // The same for one call in the place of `call`, which keeps what the response cache has said of it.
  bool Replace(absl::StatusOr<std::unique_ptr<PreparedCall>> other, admission::Ticket& ticket,
               std::unique_ptr<PreparedCall>* call, std::unique_ptr<request::Request>* request);
  // Asks the response cache, where the call wants that.
  void OpenLookup(PreparedCall* call) const;
  using Started = absl::StatusOr<std::unique_ptr<ActiveCall>>;
  // The answer is stored, or an identical call is running.
  static Started Answered(PreparedCall&& call, response_cache::ResponseCache::Answer answer);
  // Of a refused call; the refusal where no rung answers.
  Started StartDegraded(PreparedCall&& call, const request::Request& request, absl::Status refusal);
  // Behind admission: into the queue.
  Started Enqueue(PreparedCall&& call, std::unique_ptr<request::Request> request, admission::Ticket ticket, Rung rung,
                  std::shared_ptr<request::Notifier> notifier);
  // Begins to compile what the call needs.
  absl::Status Compile(absl::StatusOr<std::optional<CallGrammar>> wanted, PreparedCall* call, const ServedModel& model);

  Options options_;
  std::atomic<int64_t> urgent_at_us_{0};  // Unix time
  CallMetrics metrics_;
  CallRate served_, failed_;
  Degradation degradation_;
  ThinkingControls thinking_controls_;
  BodyBudget bodies_;  // outlives the workers, whose jobs hold leases
  WorkerPool workers_;
  GrammarService grammars_;  // ends first: what waits for a grammar is told on the workers
};

}  // namespace hadal::service
