// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/time/clock.h"
#include "client/client.h"
#include "hadal/v1/inference.grpc.pb.h"

namespace hadal::client {

// Refuses the first `refusals` calls with a pushback, then answers "hello".
class ScriptedServer final : public v1::Inference::Service {
 public:
  ScriptedServer(int refusals, std::string pushback_ms,
                 std::shared_ptr<grpc::ServerCredentials> credentials = grpc::InsecureServerCredentials(),
                 std::string host = "127.0.0.1")
      : refusals_(refusals), pushback_ms_(std::move(pushback_ms)), host_(std::move(host)) {
    grpc::ServerBuilder builder;
    builder.AddListeningPort(host_ + ":0", std::move(credentials), &port_);
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
  }
  ~ScriptedServer() override { server_->Shutdown(std::chrono::system_clock::now()); }

  grpc::Status Chat(grpc::ServerContext* context, const v1::ChatRequest* request,
                    grpc::ServerWriter<v1::GenerateResponse>* writer) override {
    last_ = *request;
    metadata_.clear();
    for (const auto& [key, value] : context->client_metadata()) {
      metadata_[std::string(key.data(), key.size())] = std::string(value.data(), value.size());
    }
    tickets_.push_back(metadata_["x-hadal-ticket"]);
    ReportLoad(context);
    if (!Stall(context)) return grpc::Status::CANCELLED;
    if (calls_++ < refusals_) {
      if (!pushback_ms_.empty()) context->AddTrailingMetadata("grpc-retry-pushback-ms", pushback_ms_);
      if (calls_ == 1 && gives_ticket_) context->AddTrailingMetadata("x-hadal-ticket", "first");
      return grpc::Status(refusal_code_, "busy");
    }
    if (!script_.empty()) {
      for (const v1::GenerateResponse& response : script_) writer->Write(response);
      for (const auto& [name, value] : trailers_) context->AddTrailingMetadata(name, value);
      return grpc::Status::OK;
    }
    v1::GenerateResponse response;
    response.set_request_id("r1");
    if (thinks_) return Think(context, writer);
    if (endless_) {
      response.set_text("on and ");
      while (!context->IsCancelled() && writer->Write(response)) ++written_;
      return grpc::Status::CANCELLED;
    }
    response.set_text("hel");
    writer->Write(response);
    response.set_text("lo");
    response.set_finish_reason(v1::FINISH_REASON_STOP);
    writer->Write(response);
    if (fail_after_text_ != grpc::StatusCode::OK) {
      if (has_id_) context->AddTrailingMetadata("x-request-id", "r1");
      return grpc::Status(fail_after_text_, "lost");
    }
    return grpc::Status::OK;
  }

  grpc::Status EndThinking(grpc::ServerContext* context, const v1::EndThinkingRequest* request,
                           v1::EndThinkingResponse*) override {
    const auto key = context->client_metadata().find("authorization");
    if (request->request_id() != "r1" || key == context->client_metadata().end()) {
      return grpc::Status(grpc::StatusCode::NOT_FOUND, "no such request");
    }
    thinks_ = false;
    return grpc::Status::OK;
  }
  grpc::Status Generate(grpc::ServerContext* context, const v1::GenerateRequest* request,
                        grpc::ServerWriter<v1::GenerateResponse>* writer) override {
    ++generations_;
    const int at_once = ++generating_;
    for (int most = most_at_once_; at_once > most && !most_at_once_.compare_exchange_weak(most, at_once);) {
    }
    v1::GenerateResponse response;
    response.set_request_id("g1");
    if (held_) {
      response.set_text("...");
      writer->Write(response);
      while (held_ && !context->IsCancelled()) absl::SleepFor(absl::Milliseconds(1));
    }
    --generating_;
    if (context->IsCancelled()) return grpc::Status::CANCELLED;
    if (breaks_-- > 0) {
      response.set_text("half an ans");
      writer->Write(response);
      if (!break_pushback_ms_.empty()) context->AddTrailingMetadata("grpc-retry-pushback-ms", break_pushback_ms_);
      return grpc::Status(grpc::StatusCode::UNAVAILABLE, "lost");
    }
    response.set_text(request->has_text() ? request->text() : std::to_string(request->token_ids().ids_size()));
    response.set_finish_reason(finish_);
    response.mutable_usage()->set_completion_tokens(1);
    writer->Write(response);
    return grpc::Status::OK;
  }
  grpc::Status Tokenize(grpc::ServerContext* context, const v1::TokenizeRequest* request,
                        v1::TokenizeResponse* response) override {
    if (!Stall(context)) return grpc::Status::CANCELLED;
    for (const char letter : request->text()) response->add_token_ids(letter);
    response->set_max_model_len(4096);
    return grpc::Status::OK;
  }
  grpc::Status Detokenize(grpc::ServerContext*, const v1::DetokenizeRequest* request,
                          v1::DetokenizeResponse* response) override {
    for (const int32_t id : request->token_ids()) response->mutable_text()->push_back(static_cast<char>(id));
    return grpc::Status::OK;
  }
  grpc::Status ListModels(grpc::ServerContext*, const v1::ListModelsRequest*,
                          v1::ListModelsResponse* response) override {
    if (listings_++ == 0) return grpc::Status(grpc::StatusCode::UNAVAILABLE, "loading");
    v1::ModelInfo* model = response->add_models();
    model->set_id("m");
    model->set_max_model_len(4096);
    return grpc::Status::OK;
  }
  grpc::Status GetLoad(grpc::ServerContext* context, const v1::GetLoadRequest*,
                       v1::GetLoadResponse* response) override {
    ++load_questions_;
    while (mute_ && !context->IsCancelled()) absl::SleepFor(absl::Milliseconds(1));
    if (reports_only_) return grpc::Status(grpc::StatusCode::UNIMPLEMENTED, "no such method");
    response->set_requests_waiting(waiting_);
    response->set_predicted_wait_seconds(0.25);
    response->set_ready(true);
    response->set_draining(draining_);
    return grpc::Status::OK;
  }

  std::string target() const { return host_ + ":" + std::to_string(port_); }
  int calls() const { return calls_; }
  // Of the last call; not while one is under way.
  const v1::ChatRequest& last_request() const { return last_; }
  const std::map<std::string, std::string>& last_metadata() const { return metadata_; }
  // That each call has brought; not while one is under way.
  const std::vector<std::string>& tickets() const { return tickets_; }
  // Before the first call.
  void LeaveOutTheTicket() { gives_ticket_ = false; }
  void RefuseWith(grpc::StatusCode code) { refusal_code_ = code; }
  // `has_id`: it says so itself, as hadal does; else it is gRPC's library, of a connection that broke.
  void FailAfterText(grpc::StatusCode code = grpc::StatusCode::UNAVAILABLE, bool has_id = false) {
    fail_after_text_ = code;
    has_id_ = has_id;
  }
  void NeverEnd() { endless_ = true; }
  // Chats get these messages and trailers.
  void Script(std::vector<v1::GenerateResponse> responses, std::map<std::string, std::string> trailers = {}) {
    script_ = std::move(responses);
    trailers_ = std::move(trailers);
  }
  // Chats and questions for tokens wait, and nothing comes of them.
  void SetStall(bool stall) { stall_ = stall; }
  // Calls that wait so now, and that were cancelled while they did.
  int stalled() const { return stalled_; }
  int cancelled() const { return cancelled_; }
  // Completions say "..." and wait.
  void Hold(bool held) { held_ = held; }
  void FinishWith(v1::FinishReason reason) { finish_ = reason; }
  // The next completions break off; to be asked again after so long, if that is given.
  void BreakOff(int completions, std::string pushback_ms = "") {
    break_pushback_ms_ = std::move(pushback_ms);
    breaks_ = completions;
  }
  // Completions that were asked for, that wait, and the most at one time.
  int generations() const { return generations_; }
  int generating() const { return generating_; }
  int most_at_once() const { return most_at_once_; }
  // Reasons until it is told to stop.
  void ThinkOnAndOn() { thinks_ = true; }
  void SetWaiting(int requests) { waiting_ = requests; }
  void Drain() { draining_ = true; }
  // Says its load with its answers, and GetLoad does not exist.
  void OnlyReport() { reports_only_ = true; }
  // Does not answer to GetLoad.
  void SetMute(bool mute) { mute_ = mute; }
  int load_questions() const { return load_questions_; }
  int written() const { return written_; }

 private:
  // False: the call was cancelled.
  bool Stall(grpc::ServerContext* context) {
    ++stalled_;
    while (stall_ && !context->IsCancelled()) absl::SleepFor(absl::Milliseconds(1));
    --stalled_;
    if (context->IsCancelled()) ++cancelled_;
    return !context->IsCancelled();
  }

  void ReportLoad(grpc::ServerContext* context) {
    if (!reports_only_ || metadata_.count("endpoint-load-metrics-format") == 0) return;
    const double waiting = waiting_;
    const std::string metric = std::string("\n\x14num_requests_waiting\x11") +
                               std::string(reinterpret_cast<const char*>(&waiting), sizeof(waiting));
    context->AddTrailingMetadata(
        "endpoint-load-metrics",
        "BIN " + absl::Base64Escape("B" + std::string(1, static_cast<char>(metric.size())) + metric));
  }

  grpc::Status Think(grpc::ServerContext* context, grpc::ServerWriter<v1::GenerateResponse>* writer) {
    v1::GenerateResponse response;
    response.set_request_id("r1");
    response.set_reasoning("hmm ");
    while (thinks_ && !context->IsCancelled() && writer->Write(response)) absl::SleepFor(absl::Milliseconds(1));
    response.clear_reasoning();
    response.set_text("so");
    response.set_finish_reason(v1::FINISH_REASON_STOP);
    response.mutable_usage()->set_reasoning_tokens(7);
    writer->Write(response);
    return grpc::Status::OK;
  }

  const int refusals_;
  const std::string pushback_ms_;
  const std::string host_;
  std::string break_pushback_ms_;
  grpc::StatusCode refusal_code_ = grpc::StatusCode::UNAVAILABLE;
  grpc::StatusCode fail_after_text_ = grpc::StatusCode::OK;
  bool gives_ticket_ = true, has_id_ = false, endless_ = false;
  std::atomic<bool> thinks_{false}, held_{false}, draining_{false}, stall_{false}, reports_only_{false}, mute_{false};
  std::atomic<int> stalled_{0}, cancelled_{0}, load_questions_{0}, breaks_{0};
  std::atomic<v1::FinishReason> finish_{v1::FINISH_REASON_STOP};
  std::atomic<int> generations_{0}, generating_{0}, most_at_once_{0};
  std::atomic<int> waiting_{3};
  std::atomic<int> written_{0};
  std::vector<v1::GenerateResponse> script_;
  std::map<std::string, std::string> trailers_;
  v1::ChatRequest last_;
  std::map<std::string, std::string> metadata_;
  std::vector<std::string> tickets_;
  std::atomic<int> calls_{0}, listings_{0};
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
};

inline ChatOptions Question() {
  ChatOptions options;
  options.messages = {{"user", "hi"}};
  return options;
}

inline constexpr auto kIgnore = [](std::string_view, std::string_view) { return true; };

}  // namespace hadal::client
