// SPDX-License-Identifier: Apache-2.0
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/impl/codegen/proto_utils.h>

#include <chrono>
#include <utility>
#include <variant>

#include "absl/base/thread_annotations.h"
#include "absl/strings/escaping.h"
#include "base/sync.h"
#include "opentelemetry/proto/collector/trace/v1/trace_service.pb.h"
#include "server/base/notification.h"
#include "server/base/strings.h"
#include "server/trace/span_client.h"

namespace hadal::trace {
namespace {

namespace otlp = opentelemetry::proto;
using Request = otlp::collector::trace::v1::ExportTraceServiceRequest;
using Response = otlp::collector::trace::v1::ExportTraceServiceResponse;

constexpr char kMethod[] = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

// Of Span.flags.
constexpr uint32_t kSampled = 0x001;
constexpr uint32_t kKnowsWhetherRemote = 0x100;
constexpr uint32_t kRemoteParent = 0x200;

void Set(std::string_view key, const base::Span::Value& value, otlp::common::v1::KeyValue* out) {
  out->set_key(std::string(key));
  otlp::common::v1::AnyValue* const any = out->mutable_value();
  if (const auto* number = std::get_if<int64_t>(&value)) any->set_int_value(*number);
  if (const auto* number = std::get_if<double>(&value)) any->set_double_value(*number);
  if (const auto* text = std::get_if<std::string>(&value)) any->set_string_value(*text);
  if (const auto* texts = std::get_if<std::vector<std::string>>(&value)) {
    for (const std::string& text : *texts) any->mutable_array_value()->add_values()->set_string_value(text);
  }
}

void Set(const base::Span& span, otlp::trace::v1::Span* out) {
  out->set_trace_id(absl::HexStringToBytes(span.trace_id));
  out->set_span_id(absl::HexStringToBytes(span.span_id));
  out->set_parent_span_id(absl::HexStringToBytes(span.parent_id));
  out->set_trace_state(span.state);
  out->set_flags(kSampled | kKnowsWhetherRemote | (span.remote_parent ? kRemoteParent : 0));
  out->set_name(span.name);
  out->set_kind(span.kind == base::Span::Kind::kServer ? otlp::trace::v1::Span::SPAN_KIND_SERVER
                                                       : otlp::trace::v1::Span::SPAN_KIND_INTERNAL);
  out->set_start_time_unix_nano(static_cast<uint64_t>(absl::ToUnixNanos(span.start)));
  out->set_end_time_unix_nano(static_cast<uint64_t>(absl::ToUnixNanos(span.end)));
  for (const auto& [key, value] : span.attributes) Set(key, value, out->add_attributes());
  if (!span.error) return;
  out->mutable_status()->set_code(otlp::trace::v1::Status::STATUS_CODE_ERROR);
  out->mutable_status()->set_message(span.error_message);
}

std::shared_ptr<grpc::ChannelCredentials> CredentialsFor(const Collector& collector) {
  if (!collector.tls) return grpc::InsecureChannelCredentials();
  return grpc::SslCredentials({.pem_root_certs = collector.authorities});
}

class OtlpClient final : public SpanClient {
 public:
  OtlpClient(const Collector& collector, ServiceIdentity identity)
      : name_("the collector at " + collector.endpoint),
        identity_(std::move(identity)),
        stub_(grpc::CreateChannel(collector.endpoint, CredentialsFor(collector))) {}

  const std::string& name() const override { return name_; }

  void Cancel() override {
    base::MutexLock lock(&mutex_);
    cancelled_ = true;
    if (under_way_ != nullptr) under_way_->TryCancel();
  }

  absl::StatusOr<int64_t> Send(const std::vector<base::Span>& spans, absl::Duration timeout) override {
    const Request request = RequestOf(spans);
    Response response;
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + absl::ToChronoMicroseconds(timeout));
    if (!Begin(&context)) return absl::CancelledError("the server ends");
    grpc::Status status;
    base::Notification done;
    stub_.UnaryCall(&context, kMethod, grpc::StubOptions(), &request, &response, [&](grpc::Status ended) {
      status = std::move(ended);
      done.Notify();
    });
    done.WaitFor(absl::InfiniteDuration());
    End();
    if (!status.ok()) return absl::Status(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
    return response.partial_success().rejected_spans();
  }

 private:
  // False after Cancel.
  bool Begin(grpc::ClientContext* context) {
    base::MutexLock lock(&mutex_);
    if (!cancelled_) under_way_ = context;
    return !cancelled_;
  }
  void End() {
    base::MutexLock lock(&mutex_);
    under_way_ = nullptr;
  }

  Request RequestOf(const std::vector<base::Span>& spans) const {
    Request request;
    otlp::trace::v1::ResourceSpans* const resource = request.add_resource_spans();
    Set("service.name", identity_.name, resource->mutable_resource()->add_attributes());
    Set("service.version", identity_.version, resource->mutable_resource()->add_attributes());
    Set("service.instance.id", identity_.instance_id, resource->mutable_resource()->add_attributes());
    otlp::trace::v1::ScopeSpans* const scope = resource->add_scope_spans();
    scope->mutable_scope()->set_name("hadal");
    scope->mutable_scope()->set_version(identity_.version);
    for (const base::Span& span : spans) Set(span, scope->add_spans());
    return request;
  }

  const std::string name_;
  const ServiceIdentity identity_;
  grpc::TemplatedGenericStub<Request, Response> stub_;

  base::Mutex mutex_;
  grpc::ClientContext* under_way_ ABSL_GUARDED_BY(mutex_) = nullptr;
  bool cancelled_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace

std::unique_ptr<SpanClient> MakeOtlpClient(const Collector& collector, ServiceIdentity identity) {
  return std::make_unique<OtlpClient>(collector, std::move(identity));
}

}  // namespace hadal::trace
