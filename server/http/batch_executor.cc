// SPDX-License-Identifier: Apache-2.0
#include "server/http/batch_executor.h"

#include <optional>
#include <string>
#include <utility>

#include "server/batches/batch_types.h"
#include "server/batches/send_window.h"
#include "server/http/codec/call_body.h"
#include "server/http/codec/json_body.h"
#include "server/http/codec/json_writer.h"
#include "server/http/codec/response.h"
#include "server/http/codec/response_encoder.h"
#include "server/http/codec/route.h"
#include "server/http/request_body.h"
#include "server/request/refusal.h"
#include "server/service/call_pipeline.h"

namespace hadal::http {
namespace {

using batches::LineOutcome;
using batches::LineRequest;
using request::MakeError;
using request::Reason;
using service::CallPipeline;

constexpr int kLineOverloadStatus = 503;

// An attempt at a line. On the runner's thread only.
class PipelineLine final : public batches::RunningLine {
 public:
  PipelineLine(service::GenerateService* service, service::CallInfo info, LineRequest line, RouteMatch match,
               std::function<void()> notify)
      : id_(info.request_id),
        arrival_(info.arrival),
        api_(ApiOf(line.endpoint)),
        route_(match.route),
        custom_id_(std::move(line.custom_id)),
        service_(*service),
        pipeline_(CallPipeline::Create(service, std::move(info), std::move(notify))) {}
  ~PipelineLine() override {
    if (!ended_) pipeline_->Finish(MakeError(Reason::kCancelled, "the attempt at the line was given up"), 499);
  }

  void Start(std::string body, std::string_view sender, int max_depth) {
    const auto bytes = static_cast<int64_t>(body.size());
    auto held = std::make_shared<RequestBody>(RequestBody{service_.bodies().OpenArrived(sender), std::move(body)});
    absl::Status status = held->lease.Resize(bytes);
    if (status.ok()) status = pipeline_->Admit(bytes);
    if (!status.ok()) {
      outcome_ = Fail(status);
      return;
    }
    pipeline_->Submit([held = std::move(held), route = route_, max_depth, plan = plan_,
                       service = &service_]() -> absl::StatusOr<service::DecodedRequest> {
      // The class is batch, whatever service_tier the body asks for.
      absl::StatusOr<CallBody> decoded =
          DecodeCallBody(held->text, route, max_depth, /*priority_from_header=*/true, *service);
      if (!decoded.ok()) return decoded.status();
      if (decoded->plan.stream)
        return InvalidField("stream", "`stream` must be false in a batch: its results are a file");
      *plan = std::move(decoded->plan);
      return std::move(decoded->request);
    });
  }

  // It does not begin.
  void Refuse(const absl::Status& status) { outcome_ = Fail(status); }

  std::optional<LineOutcome> Advance() override {
    if (outcome_.has_value()) return std::move(outcome_);
    switch (pipeline_->progress()) {
      case CallPipeline::Progress::kPreparing:
        return std::nullopt;
      case CallPipeline::Progress::kEnded:
        return Fail(pipeline_->status());
      case CallPipeline::Progress::kRunning:
        return Read();
    }
    return std::nullopt;
  }

 private:
  std::optional<LineOutcome> Read() {
    if (encoder_ == nullptr)
      encoder_ = plan_->make_encoder(HeadOf(*plan_, pipeline_->calls(), id_, arrival_), pipeline_->calls());
    bool cut_short = false;
    const CallPipeline::Progress progress =
        pipeline_->Read([&](size_t index, const service::ActiveCall&, service::CallUpdate&& update) {
          for (const service::ChoiceDelta& delta : update.deltas) {
            cut_short = cut_short || delta.finish == service::Finish::kInsufficientSystemResource;
          }
          if (update.status.ok()) encoder_->Add(index, std::move(update), &body_);
        });
    cut_short_ = cut_short_ || cut_short;
    if (progress != CallPipeline::Progress::kEnded) return std::nullopt;
    if (absl::Status status = pipeline_->status(); !status.ok()) return Fail(status);
    if (cut_short_) {  // a client would see that as the finish reason; a line can be run again
      return Fail(MakeError(Reason::kInsufficientSystemResource, "the server ended before the line did"));
    }
    encoder_->Finish(pipeline_->usage(), &body_);
    encoder_.reset();  // before the calls that it reads
    ended_ = true;
    pipeline_->Finish(absl::OkStatus(), 200);
    return LineOutcome{absl::OkStatus(), ResultLine(200, body_)};
  }

  LineOutcome Fail(const absl::Status& status) {
    encoder_.reset();
    ended_ = true;
    const int code = HttpStatusOf(status, kLineOverloadStatus, api_);
    pipeline_->Finish(status, code);
    return LineOutcome{status, ResultLine(code, ErrorObject(status, api_))};
  }

  std::string ResultLine(int code, std::string_view body) const {
    std::string out;
    JsonWriter json(&out);
    json.BeginObject().Key("id").String(id_).Key("custom_id").String(custom_id_);
    json.Key("response").BeginObject().Key("status_code").Int(code).Key("request_id").String(id_);
    json.Key("body").Raw(body).EndObject().Key("error").Null().EndObject();
    out.push_back('\n');
    return out;
  }

  const std::string id_;
  const absl::Time arrival_;
  const Api api_;
  const Route route_;
  const std::string custom_id_;
  service::GenerateService& service_;
  const std::shared_ptr<CallPipeline> pipeline_;
  // Written by the worker that decodes, read once the calls run.
  const std::shared_ptr<ResponsePlan> plan_ = std::make_shared<ResponsePlan>();
  std::unique_ptr<ResponseEncoder> encoder_;
  std::string body_;
  bool cut_short_ = false;
  bool ended_ = false;
  std::optional<LineOutcome> outcome_;  // of an attempt that did not begin
};

class BatchExecutor final : public batches::LineExecutor {
 public:
  BatchExecutor(service::GenerateService* service, service::ApiKeys keys, const HttpOptions& options)
      : service_(*service), keys_(std::move(keys)), max_depth_(options.max_json_depth) {}

  std::unique_ptr<batches::RunningLine> Start(LineRequest line, std::function<void()> notify) override {
    std::string allow;
    const RouteMatch match = FindRoute("POST", line.endpoint, &allow).value_or(RouteMatch{.route = Route::kChat});
    service::CallInfo info;
    info.protocol = service::Protocol::kHttp;
    info.route = match.name;
    info.request_id = batches::NewId("batch_req_");
    info.network = "batches";
    info.trace = service_.OpenTrace("", "");
    info.arrival = service_.clock().Now();
    info.allow_degraded = false;  // there is time for the real answer
    info.attempts = line.attempts;
    info.ticket = line.ticket;
    info.idempotency_hash = line.return_key;
    absl::StatusOr<service::Caller> caller = keys_.CallerOf(line.owner);
    std::string body = std::move(line.body);
    if (caller.ok()) info.caller = *std::move(caller);
    const std::string sender = service::SenderOf(info);
    auto running =
        std::make_unique<PipelineLine>(&service_, std::move(info), std::move(line), match, std::move(notify));
    if (caller.ok()) {
      running->Start(std::move(body), sender, max_depth_);
    } else {
      running->Refuse(caller.status());
    }
    return running;
  }
  bool OthersCome() const override { return service_.SinceUrgent() < batches::SendWindow::kLately; }

 private:
  service::GenerateService& service_;
  const service::ApiKeys keys_;
  const int max_depth_;
};

}  // namespace

std::unique_ptr<batches::LineExecutor> MakeBatchExecutor(service::GenerateService* service, service::ApiKeys keys,
                                                         const HttpOptions& options) {
  return std::make_unique<BatchExecutor>(service, std::move(keys), options);
}

}  // namespace hadal::http
