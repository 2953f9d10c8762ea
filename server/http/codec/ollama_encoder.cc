// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "server/http/codec/json_writer.h"
#include "server/http/codec/ollama_codec.h"
#include "server/http/codec/response.h"
#include "server/http/codec/response_encoder.h"

namespace hadal::http {
namespace {

using service::ChoiceDelta;
using service::ToolDelta;

// Tool calls end as answers do there.
std::string_view DoneReason(service::Finish finish) {
  return finish == service::Finish::kToolCalls ? service::FinishName(service::Finish::kStop)
                                               : service::FinishName(finish);
}

// Nanoseconds from one moment to another; 0 where one is not known.
int64_t Between(absl::Time from, absl::Time to) {
  if (from == absl::InfiniteFuture() || to == absl::InfiniteFuture()) return 0;
  return std::max<int64_t>(absl::ToInt64Nanoseconds(to - from), 0);
}

// Lines of JSON, or one object: both hold a piece of the answer and, at the end, what it took.
class OllamaEncoder : public ResponseEncoder {
 public:
  OllamaEncoder(ResponseHead head, const OllamaOptions& options, const Calls& calls)
      : head_(std::move(head)), options_(options), calls_(calls) {}

  void Add(size_t, service::CallUpdate&& update, std::string* out) override {
    for (ChoiceDelta& delta : update.deltas) {
      if (delta.finish != service::Finish::kNone) finish_ = delta.finish;
      if (options_.stream) {
        Stream(std::move(delta), out);
      } else {
        whole_.Append(std::move(delta));
      }
    }
  }

  void Finish(const service::Usage& usage, std::string* out) override {
    SendCall(out);
    JsonWriter json = Begin(out);
    AppendPiece(whole_, &json);
    json.Key("done").Bool(true).Key("done_reason");
    json.String(options_.generates ? DoneReason(finish_) : options_.unload ? "unload" : "load");
    if (options_.generates) AppendCounts(usage, &json);
    End(&json, out);
  }

  void Fail(const absl::Status& status, std::string* out) override {
    out->append(ErrorObject(status, Api::kOllama)).push_back('\n');
  }

  // Clients read every line as JSON.
  std::string_view KeepAlive() const override { return {}; }
  std::string_view StreamType() const override { return "application/x-ndjson"; }

 private:
  JsonWriter Begin(std::string* out) const {
    JsonWriter json(out);
    json.BeginObject().Key("model").String(head_.model).Key("created_at");
    json.String(absl::FormatTime("%Y-%m-%dT%H:%M:%E6SZ", absl::Now(), absl::UTCTimeZone()));
    return json;
  }

  void End(JsonWriter* json, std::string* out) const {
    json->EndObject();
    if (options_.stream) out->push_back('\n');
  }

  // Calls are given whole: one that is being written is kept until another begins, or the answer ends.
  void Stream(ChoiceDelta delta, std::string* out) {
    if (!delta.reasoning.empty()) {
      ChoiceDelta piece;
      piece.reasoning = std::move(delta.reasoning);
      const auto answer = std::stable_partition(delta.logprobs.begin(), delta.logprobs.end(),
                                                [](const service::ScoredToken& token) { return token.reasoning; });
      piece.logprobs.assign(std::move_iterator(delta.logprobs.begin()), std::move_iterator(answer));
      delta.logprobs.erase(delta.logprobs.begin(), answer);
      SendPiece(piece, out);
    }
    if (!delta.text.empty() || !delta.logprobs.empty()) {
      ChoiceDelta piece;
      piece.text = std::move(delta.text);
      piece.logprobs = std::move(delta.logprobs);
      SendPiece(piece, out);
    }
    for (ToolDelta& tool : delta.tool_calls) {
      if (tool.name.empty() && call_.has_value()) {
        call_->arguments += tool.arguments;
        continue;
      }
      SendCall(out);
      call_ = std::move(tool);
    }
  }

  void SendCall(std::string* out) {
    if (!call_.has_value()) return;
    ChoiceDelta piece;
    piece.tool_calls.push_back(*std::move(call_));
    call_.reset();
    SendPiece(piece, out);
  }

  void SendPiece(const ChoiceDelta& piece, std::string* out) const {
    JsonWriter json = Begin(out);
    AppendPiece(piece, &json);
    json.Key("done").Bool(false);
    End(&json, out);
  }

  void AppendPiece(const ChoiceDelta& piece, JsonWriter* json) const {
    if (options_.message) {
      json->Key("message").BeginObject().Key("role").String("assistant").Key("content").String(piece.text);
    } else {
      json->Key("response").String(piece.text);
    }
    if (!piece.reasoning.empty()) json->Key("thinking").String(piece.reasoning);
    if (options_.message) {
      if (!piece.tool_calls.empty()) AppendCalls(piece, json);
      json->EndObject();
    }
    if (piece.logprobs.empty()) return;
    json->Key("logprobs");
    AppendScoredTokens(piece.logprobs, *calls_.front()->model().tokenizer, json);
  }

  static void AppendCalls(const ChoiceDelta& piece, JsonWriter* json) {
    json->Key("tool_calls").BeginArray();
    for (const ToolDelta& tool : piece.tool_calls) {
      json->BeginObject().Key("id").String(tool.id).Key("function").BeginObject();
      json->Key("index").Int(tool.index).Key("name").String(tool.name).Key("arguments");
      AppendArguments(tool.arguments, json);
      json->EndObject().EndObject();
    }
    json->EndArray();
  }

  // A model is there before it is asked: what Ollama takes to load one is the wait for a place here.
  void AppendCounts(const service::Usage& usage, JsonWriter* json) const {
    const request::StreamTimes times = head_.relayed_times != nullptr ? *head_.relayed_times : calls_.front()->times();
    json->Key("total_duration").Int(Between(head_.arrival, times.ended));
    json->Key("load_duration").Int(Between(head_.arrival, times.started));
    json->Key("prompt_eval_count").Int(usage.prompt_tokens);
    json->Key("prompt_eval_duration").Int(Between(times.started, times.first_token));
    json->Key("eval_count").Int(usage.completion_tokens);
    json->Key("eval_duration").Int(Between(times.first_token, times.ended));
  }

  const ResponseHead head_;
  const OllamaOptions options_;
  const Calls& calls_;
  ChoiceDelta whole_;              // what is not streamed
  std::optional<ToolDelta> call_;  // is being written
  service::Finish finish_ = service::Finish::kStop;
};

}  // namespace

std::unique_ptr<ResponseEncoder> MakeOllamaEncoder(const ResponseHead& head, const OllamaOptions& options,
                                                   const Calls& calls) {
  return std::make_unique<OllamaEncoder>(head, options, calls);
}

}  // namespace hadal::http
