// SPDX-License-Identifier: Apache-2.0
#include "benchmarks/hadal_bench/client/grpc_transport.h"

#include <grpcpp/grpcpp.h>
#include <grpcpp/security/tls_credentials_options.h>

#include <boost/asio/post.hpp>
#include <chrono>
#include <unordered_map>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/read_file.h"
#include "benchmarks/hadal_bench/client/grpc_result.h"
#include "hadal/v1/inference.grpc.pb.h"
#include "server/base/strings.h"

namespace hadal::bench {
namespace {

using Response = hadal::v1::GenerateResponse;

template <typename Request>
void FillCommon(const CallSpec& spec, const std::string& model, Request* request) {
  request->set_model(model);
  hadal::v1::StopConditions* const stopping = request->mutable_stopping();
  stopping->set_max_tokens(spec.max_tokens);
  if (spec.form.exact_length) {
    stopping->set_ignore_eos(true);
    stopping->set_min_tokens(spec.max_tokens);
  }
}

void FillContext(const CallSpec& spec, const std::vector<HeaderField>& headers, grpc::ClientContext* context) {
  for (const HeaderField& field : headers) context->AddMetadata(field.name, field.value);
  if (!spec.api_key.empty()) context->AddMetadata("authorization", absl::StrCat("Bearer ", spec.api_key));
  if (!spec.priority.empty()) context->AddMetadata("x-hadal-priority", spec.priority);
  if (spec.attempt > 0) context->AddMetadata("x-stainless-retry-count", absl::StrCat(spec.attempt));
  if (!spec.ticket.empty()) context->AddMetadata("x-hadal-ticket", spec.ticket);
  if (spec.deadline_ms) {
    context->set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(*spec.deadline_ms));
  }
}

// The text of the target's ca_file; empty where the system's authorities are meant.
absl::StatusOr<std::string> ReadAuthorities(const Target& target) {
  constexpr int64_t kMaxBytes = 1 << 20;
  if (target.ca_file.empty()) return std::string();
  absl::StatusOr<std::string> text = base::ReadFile(target.ca_file, kMaxBytes);
  if (!text.ok()) return absl::FailedPreconditionError(absl::StrCat("cannot read --tls-ca ", text.status().message()));
  return text;
}

std::shared_ptr<grpc::ChannelCredentials> CredentialsFor(const Target& target, const std::string& authorities) {
  if (!target.tls()) return grpc::InsecureChannelCredentials();
  if (!target.insecure) return grpc::SslCredentials({.pem_root_certs = authorities});
  grpc::experimental::TlsChannelCredentialsOptions options;
  options.set_verify_server_certs(false);
  options.set_check_call_host(false);
  options.set_certificate_verifier(std::make_shared<grpc::experimental::NoOpCertificateVerifier>());
  return grpc::experimental::TlsCredentials(options);
}

// One call. gRPC's threads run the reactor's methods, one at a time; what they find is posted to the io thread.
class GrpcCall final : public grpc::ClientReadReactor<Response> {
 public:
  using Ended = std::function<void(GrpcCall*, const CallResult&)>;
  GrpcCall(boost::asio::io_context* io, uint64_t id, CallObserver* observer, Ended ended)
      : id(id), observer(observer), io_(io), ended_(std::move(ended)) {}

  void StartChat(hadal::v1::Inference::Stub* stub, const CallSpec& spec, const std::string& model,
                 const std::vector<HeaderField>& headers) {
    FillCommon(spec, model, &chat_);
    hadal::v1::ChatMessage* const message = chat_.add_messages();
    message->set_role("user");
    message->set_content(spec.prompt.data(), spec.prompt.size());
    FillContext(spec, headers, &context_);
    stub->async()->Chat(&context_, &chat_, this);
    Begin();
  }
  void StartGenerate(hadal::v1::Inference::Stub* stub, const CallSpec& spec, const std::string& model,
                     const std::vector<HeaderField>& headers) {
    FillCommon(spec, model, &generate_);
    generate_.set_text(spec.prompt.data(), spec.prompt.size());
    FillContext(spec, headers, &context_);
    stub->async()->Generate(&context_, &generate_, this);
    Begin();
  }

  // On the io thread.
  void Cancel(std::string_view reason) {
    cancel_reason_ = std::string(reason);
    context_.TryCancel();
  }

  void OnReadDone(bool ok) override {
    if (!ok) return;
    if (const size_t bytes = answer_.Add(response_); bytes > 0) {
      boost::asio::post(*io_, [this, bytes] { observer->OnContent(bytes); });
    }
    StartRead(&response_);
  }
  void OnDone(const grpc::Status& status) override {
    boost::asio::post(*io_, [this, status] {
      const Ended ended = std::move(ended_);
      ended(this, JudgeGrpcCall(status, context_.GetServerTrailingMetadata(), answer_, cancel_reason_));
    });
  }

  const uint64_t id;
  CallObserver* const observer;

 private:
  void Begin() {
    StartRead(&response_);
    StartCall();
  }

  boost::asio::io_context* const io_;
  Ended ended_;
  grpc::ClientContext context_;
  hadal::v1::ChatRequest chat_;
  hadal::v1::GenerateRequest generate_;
  Response response_;
  GrpcAnswer answer_;          // of gRPC's threads until OnDone
  std::string cancel_reason_;  // of the io thread
};

class GrpcTransport final : public Transport {
 public:
  GrpcTransport(boost::asio::io_context* io, GrpcTransportOptions options, const std::string& authorities)
      : io_(io), options_(std::move(options)) {
    const auto credentials = CredentialsFor(options_.target, authorities);
    for (int i = 0; i < options_.channels; ++i) {
      grpc::ChannelArguments arguments;
      arguments.SetInt("hadal.channel", i);  // channels with different arguments do not share a connection
      arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
      arguments.SetMaxReceiveMessageSize(-1);
      stubs_.push_back(hadal::v1::Inference::NewStub(
          grpc::CreateCustomChannel(options_.target.Authority(), credentials, arguments)));
    }
  }

  uint64_t Start(const CallSpec& spec, CallObserver* observer) override {
    const uint64_t id = ++last_id_;
    auto call = std::make_unique<GrpcCall>(io_, id, observer, [this](GrpcCall* ended, const CallResult& result) {
      CallObserver* const told = ended->observer;
      calls_.erase(ended->id);
      told->OnEnd(result);
    });
    hadal::v1::Inference::Stub* const stub = stubs_[id % stubs_.size()].get();
    GrpcCall* const started = call.get();
    calls_[id] = std::move(call);
    observer->OnSent();
    if (options_.api == OpenAiApi::kChat) {
      started->StartChat(stub, spec, options_.model, options_.headers);
    } else {
      started->StartGenerate(stub, spec, options_.model, options_.headers);
    }
    return id;
  }

  void Cancel(uint64_t id, std::string_view reason) override {
    if (const auto it = calls_.find(id); it != calls_.end()) it->second->Cancel(reason);
  }

  int64_t connection_waits() const override { return 0; }

 private:
  boost::asio::io_context* const io_;
  const GrpcTransportOptions options_;
  std::vector<std::unique_ptr<hadal::v1::Inference::Stub>> stubs_;
  std::unordered_map<uint64_t, std::unique_ptr<GrpcCall>> calls_;
  uint64_t last_id_ = 0;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Transport>> MakeGrpcTransport(boost::asio::io_context* io,
                                                             GrpcTransportOptions options) {
  const absl::StatusOr<std::string> authorities = ReadAuthorities(options.target);
  if (!authorities.ok()) return authorities.status();
  return std::make_unique<GrpcTransport>(io, std::move(options), *authorities);
}

absl::StatusOr<std::string> GrpcFirstModel(const Target& target, const std::string& api_key,
                                           const std::vector<HeaderField>& headers, double timeout_s) {
  const absl::StatusOr<std::string> authorities = ReadAuthorities(target);
  if (!authorities.ok()) return authorities.status();
  const auto stub =
      hadal::v1::Inference::NewStub(grpc::CreateChannel(target.Authority(), CredentialsFor(target, *authorities)));
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() +
                       std::chrono::milliseconds(static_cast<int64_t>(timeout_s * 1000)));
  if (!api_key.empty()) context.AddMetadata("authorization", absl::StrCat("Bearer ", api_key));
  for (const HeaderField& field : headers) context.AddMetadata(field.name, field.value);
  hadal::v1::ListModelsResponse models;
  const grpc::Status status = stub->ListModels(&context, {}, &models);
  if (!status.ok()) {
    const std::string said = absl::StrCat(target.Authority(), ": ", status.error_message());
    if (status.error_code() == grpc::StatusCode::UNAUTHENTICATED) return absl::UnauthenticatedError(said);
    return absl::UnavailableError(said);
  }
  if (models.models().empty())
    return absl::FailedPreconditionError(absl::StrCat(target.Authority(), ": lists no models"));
  return models.models(0).id();
}

}  // namespace hadal::bench
