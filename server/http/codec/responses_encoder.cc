// SPDX-License-Identifier: Apache-2.0
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/base/strings.h"
#include "server/http/codec/json_writer.h"
#include "server/http/codec/response.h"
#include "server/http/codec/response_encoder.h"
#include "server/http/codec/responses_codec.h"
#include "server/request/refusal.h"

namespace hadal::http {
namespace {

// One item of the output, as far as it has come.
struct OutputItem {
  enum class Kind : uint8_t { kReasoning, kMessage, kFunctionCall };
  Kind kind = Kind::kMessage;
  std::string id;
  std::string text;     // of the reasoning or the message; a call's arguments
  std::string call_id;  // of a call
  std::string name;     // of a call
  std::vector<service::ScoredToken> logprobs;
};

std::string_view IdPrefix(OutputItem::Kind kind) {
  switch (kind) {
    case OutputItem::Kind::kReasoning:
      return "rs_";
    case OutputItem::Kind::kMessage:
      return "msg_";
    case OutputItem::Kind::kFunctionCall:
      return "fc_";
  }
  return "";
}

// The items and the response object around them, for a whole response and for the events of a stream.
class ResponsesState {
 public:
  using Kind = OutputItem::Kind;

  ResponsesState(ResponseHead head, ResponsesOptions options, const Calls& calls)
      : head_(std::move(head)), options_(std::move(options)), calls_(calls) {}

  const std::vector<OutputItem>& items() const { return items_; }
  OutputItem& last() { return items_.back(); }
  // Whether text of that kind goes on in the last item; every call is an item of its own.
  bool Continues(Kind kind) const { return !items_.empty() && items_.back().kind == kind; }

  OutputItem& Begin(Kind kind) {
    OutputItem& item = items_.emplace_back();
    item.kind = kind;
    item.id = absl::StrCat(base::View(IdPrefix(kind)), head_.id, "_", items_.size() - 1);
    return item;
  }
  OutputItem& BeginCall(const service::ToolDelta& tool) {
    OutputItem& item = Begin(Kind::kFunctionCall);
    item.call_id = tool.id;
    item.name = tool.name;
    return item;
  }
  void End(service::Finish finish) { finish_ = finish; }

  void AppendPart(const OutputItem& item, bool empty, JsonWriter* json) const {
    const std::string_view text = empty ? std::string_view() : item.text;
    if (item.kind == Kind::kReasoning) {
      json->BeginObject().Key("type").String("reasoning_text").Key("text").String(text).EndObject();
      return;
    }
    json->BeginObject().Key("type").String("output_text").Key("text").String(text);
    json->Key("annotations").BeginArray().EndArray().Key("logprobs");
    AppendLogprobs(empty ? std::vector<service::ScoredToken>() : item.logprobs, json);
    json->EndObject();
  }

  void AppendLogprobs(const std::vector<service::ScoredToken>& tokens, JsonWriter* json) const {
    AppendScoredTokens(tokens, /*reasoning=*/false, *calls_.front()->model().tokenizer, json);
  }

  // `begun`: as it is when it is announced, without content.
  void AppendItem(const OutputItem& item, std::string_view status, bool begun, JsonWriter* json) const {
    json->BeginObject().Key("id").String(item.id);
    if (item.kind == Kind::kFunctionCall) {
      json->Key("type").String("function_call").Key("status").String(status).Key("call_id").String(item.call_id);
      json->Key("name").String(item.name).Key("arguments").String(begun ? std::string_view() : item.text).EndObject();
      return;
    }
    const bool reasoning = item.kind == Kind::kReasoning;
    json->Key("type").String(reasoning ? "reasoning" : "message").Key("status").String(status);
    if (reasoning) {
      json->Key("summary").BeginArray().EndArray();
    } else {
      json->Key("role").String("assistant");
    }
    json->Key("content").BeginArray();
    if (!begun) AppendPart(item, /*empty=*/false, json);
    json->EndArray();
    if (reasoning && options_.carries_reasoning && !begun) {
      json->Key("encrypted_content").String(CarriedReasoning(item.text));
    }
    json->EndObject();
  }

  // An item that others follow is complete.
  std::string_view ItemStatus(size_t index) const {
    return index + 1 < items_.size() || Status() == "completed" ? "completed" : "incomplete";
  }

  // How the choice ended.
  std::string_view Status() const {
    if (finish_ == service::Finish::kLength) return "incomplete";
    return finish_ == service::Finish::kInsufficientSystemResource ? "failed" : "completed";
  }

  // `usage` null: the response is under way. `error` Ok: none but what the end says.
  void AppendResponse(std::string_view status, const service::Usage* usage, const absl::Status& error,
                      JsonWriter* json) const {
    json->BeginObject().Key("id").String(head_.id).Key("object").String("response");
    json->Key("created_at").Int(head_.created_unix_s).Key("status").String(status);
    json->Key("background").Bool(false).Key("error");
    AppendError(status, error, json);
    json->Key("incomplete_details");
    if (status == "incomplete") {
      json->BeginObject().Key("reason").String("max_output_tokens").EndObject();
    } else {
      json->Null();
    }
    json->Key("model").String(head_.model).Key("output").BeginArray();
    if (usage != nullptr) {
      for (size_t i = 0; i < items_.size(); ++i) AppendItem(items_[i], ItemStatus(i), /*begun=*/false, json);
    }
    json->EndArray().Key("previous_response_id").Null().Key("store").Bool(false);
    json->Key("truncation").String("disabled").Key("usage");
    AppendResponsesUsage(usage, json);
    json->Members(options_.echo).EndObject();
  }

 private:
  static void AppendError(std::string_view status, const absl::Status& error, JsonWriter* json) {
    if (status != "failed") {
      json->Null();
      return;
    }
    const bool quota = request::GetErrorDetail(error).reason == request::Reason::kTenantQuota;
    json->BeginObject().Key("code").String(quota ? "rate_limit_exceeded" : "server_error").Key("message");
    json->String(error.ok() ? "the server is shutting down; the answer is what had come until then"
                            : base::StdView(error.message()));
    json->EndObject();
  }

  static void AppendResponsesUsage(const service::Usage* usage, JsonWriter* json) {
    if (usage == nullptr) {
      json->Null();
      return;
    }
    json->BeginObject().Key("input_tokens").Int(usage->prompt_tokens).Key("input_tokens_details").BeginObject();
    json->Key("cached_tokens").Int(usage->cache_hit_tokens).Key("cache_write_tokens").Int(0).EndObject();
    json->Key("output_tokens").Int(usage->completion_tokens).Key("output_tokens_details").BeginObject();
    json->Key("reasoning_tokens").Int(usage->reasoning_tokens).EndObject();
    json->Key("total_tokens").Int(int64_t{usage->prompt_tokens} + usage->completion_tokens).EndObject();
  }

  const ResponseHead head_;
  const ResponsesOptions options_;
  const Calls& calls_;
  std::vector<OutputItem> items_;
  service::Finish finish_ = service::Finish::kNone;
};

// Named and numbered events: response.created, response.in_progress, for each item that it is added, its text and that
// it is done, then one of response.completed, response.incomplete and response.failed.
class ResponsesStreamEncoder : public ResponseEncoder {
 public:
  using Kind = OutputItem::Kind;

  ResponsesStreamEncoder(const ResponseHead& head, const ResponsesOptions& options, const Calls& calls)
      : state_(head, options, calls) {}

  void Add(size_t, service::CallUpdate&& update, std::string* out) override {
    for (service::ChoiceDelta& delta : update.deltas) {
      Begin(out);
      Encode(std::move(delta), out);
    }
  }

  void Finish(const service::Usage& usage, std::string* out) override {
    Begin(out);
    EndItem(state_.items().empty() ? "completed" : state_.ItemStatus(state_.items().size() - 1), out);
    const std::string_view status = state_.Status();
    ResponseEvent(absl::StrCat("response.", base::View(status)), status, &usage, absl::OkStatus(), out);
  }

  void Fail(const absl::Status& common, std::string* out) override {
    const absl::Status status = InWordsOf(Api::kResponses, common);
    Begin(out);
    EndItem("incomplete", out);
    state_.End(service::Finish::kInsufficientSystemResource);
    const service::Usage unknown;
    ResponseEvent("response.failed", "failed", &unknown, status, out);
  }

 private:
  template <typename Fill>
  void Event(std::string_view type, std::string* out, Fill fill) {
    out->append("event: ").append(type).append("\ndata: ");
    JsonWriter json(out);
    json.BeginObject().Key("type").String(type).Key("sequence_number").Int(sequence_++);
    fill(&json);
    json.EndObject();
    out->append("\n\n");
  }

  void ResponseEvent(std::string_view type, std::string_view status, const service::Usage* usage,
                     const absl::Status& error, std::string* out) {
    Event(type, out, [&](JsonWriter* json) { state_.AppendResponse(status, usage, error, &json->Key("response")); });
  }

  void Begin(std::string* out) {
    if (std::exchange(begun_, true)) return;
    ResponseEvent("response.created", "in_progress", nullptr, absl::OkStatus(), out);
    ResponseEvent("response.in_progress", "in_progress", nullptr, absl::OkStatus(), out);
  }

  void Encode(service::ChoiceDelta&& delta, std::string* out) {
    if (!delta.reasoning.empty()) Text(Kind::kReasoning, delta.reasoning, {}, out);
    if (!delta.text.empty()) Text(Kind::kMessage, delta.text, std::move(delta.logprobs), out);
    for (const service::ToolDelta& tool : delta.tool_calls) {
      if (!tool.name.empty()) {
        EndItem("completed", out);
        BeginItem(state_.BeginCall(tool), out);
      }
      if (tool.arguments.empty()) continue;
      state_.last().text += tool.arguments;
      PartEvent("response.function_call_arguments.delta", out,
                [&](JsonWriter* json) { json->Key("delta").String(tool.arguments); });
    }
    if (delta.finish != service::Finish::kNone) state_.End(delta.finish);
  }

  void Text(Kind kind, std::string_view text, std::vector<service::ScoredToken> logprobs, std::string* out) {
    if (!open_ || !state_.Continues(kind)) {
      EndItem("completed", out);
      BeginItem(state_.Begin(kind), out);
    }
    OutputItem& item = state_.last();
    item.text += text;
    PartEvent(kind == Kind::kReasoning ? "response.reasoning_text.delta" : "response.output_text.delta", out,
              [&](JsonWriter* json) {
                json->Key("delta").String(text);
                if (kind == Kind::kMessage) state_.AppendLogprobs(logprobs, &json->Key("logprobs"));
              });
    for (service::ScoredToken& token : logprobs) item.logprobs.push_back(std::move(token));
  }

  // An event about the last item's text: a part of its content, or the arguments of a call.
  template <typename Fill>
  void PartEvent(std::string_view type, std::string* out, Fill fill) {
    Event(type, out, [&](JsonWriter* json) {
      json->Key("item_id").String(state_.last().id).Key("output_index").Int(OutputIndex());
      if (state_.last().kind != Kind::kFunctionCall) json->Key("content_index").Int(0);
      fill(json);
    });
  }

  void BeginItem(const OutputItem& item, std::string* out) {
    open_ = true;
    Event("response.output_item.added", out, [&](JsonWriter* json) {
      state_.AppendItem(item, "in_progress", /*begun=*/true, &json->Key("output_index").Int(OutputIndex()).Key("item"));
    });
    if (item.kind == Kind::kFunctionCall) return;
    PartEvent("response.content_part.added", out,
              [&](JsonWriter* json) { state_.AppendPart(item, /*empty=*/true, &json->Key("part")); });
  }

  void EndItem(std::string_view status, std::string* out) {
    if (!std::exchange(open_, false)) return;
    const OutputItem& item = state_.last();
    if (item.kind == Kind::kFunctionCall) {
      PartEvent("response.function_call_arguments.done", out,
                [&](JsonWriter* json) { json->Key("name").String(item.name).Key("arguments").String(item.text); });
    } else {
      const bool reasoning = item.kind == Kind::kReasoning;
      PartEvent(reasoning ? "response.reasoning_text.done" : "response.output_text.done", out, [&](JsonWriter* json) {
        json->Key("text").String(item.text);
        if (!reasoning) state_.AppendLogprobs(item.logprobs, &json->Key("logprobs"));
      });
      PartEvent("response.content_part.done", out,
                [&](JsonWriter* json) { state_.AppendPart(item, /*empty=*/false, &json->Key("part")); });
    }
    Event("response.output_item.done", out, [&](JsonWriter* json) {
      state_.AppendItem(item, status, /*begun=*/false, &json->Key("output_index").Int(OutputIndex()).Key("item"));
    });
  }

  int64_t OutputIndex() const { return static_cast<int64_t>(state_.items().size()) - 1; }

  ResponsesState state_;
  int64_t sequence_ = 0;
  bool begun_ = false;
  bool open_ = false;  // the last item is not done
};

class ResponsesEncoder : public ResponseEncoder {
 public:
  ResponsesEncoder(const ResponseHead& head, const ResponsesOptions& options, const Calls& calls)
      : state_(head, options, calls) {}

  void Add(size_t, service::CallUpdate&& update, std::string*) override {
    for (service::ChoiceDelta& delta : update.deltas) answer_.Append(std::move(delta));
  }

  void Finish(const service::Usage& usage, std::string* out) override {
    using Kind = OutputItem::Kind;
    if (!answer_.reasoning.empty()) state_.Begin(Kind::kReasoning).text = std::move(answer_.reasoning);
    if (!answer_.text.empty()) {
      OutputItem& message = state_.Begin(Kind::kMessage);
      message.text = std::move(answer_.text);
      message.logprobs = std::move(answer_.logprobs);
    }
    for (service::ToolDelta& tool : answer_.tool_calls) state_.BeginCall(tool).text = std::move(tool.arguments);
    state_.End(answer_.finish);
    JsonWriter json(out);
    state_.AppendResponse(state_.Status(), &usage, absl::OkStatus(), &json);
  }

 private:
  ResponsesState state_;
  service::ChoiceDelta answer_;
};

}  // namespace

std::unique_ptr<ResponseEncoder> MakeResponsesStreamEncoder(const ResponseHead& head, const ResponsesOptions& options,
                                                            const Calls& calls) {
  return std::make_unique<ResponsesStreamEncoder>(head, options, calls);
}

std::unique_ptr<ResponseEncoder> MakeResponsesEncoder(const ResponseHead& head, const ResponsesOptions& options,
                                                      const Calls& calls) {
  return std::make_unique<ResponsesEncoder>(head, options, calls);
}

}  // namespace hadal::http
