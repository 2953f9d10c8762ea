// SPDX-License-Identifier: Apache-2.0
#include <utility>

#include "server/http/codec/json_writer.h"
#include "server/http/codec/response_encoder.h"

namespace hadal::http {
namespace {

using service::CallUpdate;
using service::ChoiceDelta;
using service::ScoredToken;

bool AnyReasoning(const std::vector<ScoredToken>& tokens) {
  for (const ScoredToken& token : tokens) {
    if (token.reasoning) return true;
  }
  return false;
}

void AppendLogprobs(const std::vector<ScoredToken>& tokens, const tokenizer::Tokenizer& tokenizer, JsonWriter* json) {
  json->BeginObject().Key("content");
  AppendScoredTokens(tokens, /*reasoning=*/false, tokenizer, json);
  if (AnyReasoning(tokens)) {
    json->Key("reasoning_content");
    AppendScoredTokens(tokens, /*reasoning=*/true, tokenizer, json);
  }
  json->EndObject();
}

// The same events for every choice: head, then role, reasoning, content, tool calls, end.
class ChatStreamEncoder : public ResponseEncoder {
 public:
  ChatStreamEncoder(const ResponseHead& head, const ResponseOptions& options, const Calls& calls)
      : options_(options), calls_(calls) {
    prefix_ = "data: ";
    JsonWriter json(&prefix_);
    json.BeginObject().Key("id").String(head.id).Key("object").String("chat.completion.chunk");
    json.Key("created").Int(head.created_unix_s).Key("model").String(head.model);
    json.Key("system_fingerprint").String(head.fingerprint).Key("choices");
    suffix_ = options.include_usage ? ",\"usage\":null}\n\n" : "}\n\n";
    started_.resize(calls.empty() ? 0 : calls.front()->n());
  }

  void Add(size_t call_index, CallUpdate&& update, std::string* out) override {
    const service::ActiveCall& call = *calls_[call_index];
    for (ChoiceDelta& delta : update.deltas) {
      if (!started_[delta.choice]) {
        started_[delta.choice] = true;
        Begin(delta.choice, out);
        out->append("{\"role\":\"assistant\",\"content\":\"\"},\"logprobs\":null,\"finish_reason\":null}]");
        if (options_.return_token_ids) {
          out->append(",\"prompt_token_ids\":");
          AppendTokenIds(call.prompt_token_ids(), out);
        }
        out->append(suffix_);
      }
      Encode(delta, *call.model().tokenizer, out);
    }
  }

  void Finish(const service::Usage& usage, std::string* out) override {
    if (options_.include_usage) {
      out->append(prefix_).append("[],\"usage\":");
      AppendUsage(usage, calls_.front()->has_reasoning(), out);
      out->append("}\n\n");
    }
    out->append(kDoneEvent);
  }

 private:
  void Begin(int32_t choice, std::string* out) const {
    out->append(prefix_).append("[{\"index\":");
    AppendJsonNumber(int64_t{choice}, out);
    out->append(",\"delta\":");
  }

  // What belongs to tokens goes with the first event of a delta that has text.
  void EndEvent(ChoiceDelta& delta, const tokenizer::Tokenizer& tokenizer, std::string_view finish,
                std::string* out) const {
    if (delta.logprobs.empty()) {
      out->append(",\"logprobs\":null");
    } else {
      out->append(",\"logprobs\":");
      JsonWriter json(out);
      AppendLogprobs(delta.logprobs, tokenizer, &json);
      delta.logprobs.clear();
    }
    if (finish.empty()) {
      out->append(",\"finish_reason\":null");
    } else {
      out->append(",\"finish_reason\":\"").append(finish).push_back('"');
    }
    if (!delta.token_ids.empty()) {
      out->append(",\"token_ids\":");
      AppendTokenIds(delta.token_ids, out);
      delta.token_ids.clear();
    }
    out->append("}]").append(suffix_);
  }

  void Encode(ChoiceDelta& delta, const tokenizer::Tokenizer& tokenizer, std::string* out) const {
    if (!delta.reasoning.empty()) {
      Begin(delta.choice, out);
      out->append("{\"reasoning_content\":");
      AppendJsonString(delta.reasoning, out);
      out->push_back('}');
      EndEvent(delta, tokenizer, "", out);
    }
    if (!delta.text.empty()) {
      Begin(delta.choice, out);
      out->append("{\"content\":");
      AppendJsonString(delta.text, out);
      out->push_back('}');
      EndEvent(delta, tokenizer, "", out);
    }
    if (!delta.tool_calls.empty()) {
      Begin(delta.choice, out);
      JsonWriter json(out);
      json.BeginObject().Key("tool_calls").BeginArray();
      for (const service::ToolDelta& call : delta.tool_calls) {
        json.BeginObject().Key("index").Int(call.index);
        if (!call.id.empty()) json.Key("id").String(call.id).Key("type").String("function");
        json.Key("function").BeginObject();
        if (!call.name.empty()) json.Key("name").String(call.name);
        json.Key("arguments").String(call.arguments).EndObject().EndObject();
      }
      json.EndArray().EndObject();
      EndEvent(delta, tokenizer, "", out);
    }
    const std::string_view finish = service::FinishName(delta.finish);
    if (!finish.empty() || !delta.logprobs.empty() || !delta.token_ids.empty()) {
      Begin(delta.choice, out);
      out->append("{}");
      EndEvent(delta, tokenizer, finish, out);
    }
  }

  const ResponseOptions options_;
  const Calls& calls_;
  std::string prefix_;  // up to and with "choices":
  std::string suffix_;
  std::vector<bool> started_;
};

class ChatEncoder : public ResponseEncoder {
 public:
  ChatEncoder(const ResponseHead& head, const ResponseOptions& options, const Calls& calls)
      : head_(head), options_(options), calls_(calls), choices_(calls.empty() ? 0 : calls.front()->n()) {}

  void Add(size_t call_index, CallUpdate&& update, std::string* out) override {
    for (ChoiceDelta& delta : update.deltas) choices_[delta.choice].Append(std::move(delta));
  }

  void Finish(const service::Usage& usage, std::string* out) override {
    const service::ActiveCall& call = *calls_.front();
    JsonWriter json(out);
    json.BeginObject().Key("id").String(head_.id).Key("object").String("chat.completion");
    json.Key("created").Int(head_.created_unix_s).Key("model").String(head_.model);
    json.Key("choices").BeginArray();
    for (size_t i = 0; i < choices_.size(); ++i) AppendChoice(i, call, &json);
    json.EndArray().Key("usage");
    std::string text;
    AppendUsage(usage, call.has_reasoning(), &text);
    json.Raw(text).Key("system_fingerprint").String(head_.fingerprint);
    if (options_.return_token_ids) {
      text.clear();
      AppendTokenIds(call.prompt_token_ids(), &text);
      json.Key("prompt_token_ids").Raw(text);
    }
    json.EndObject();
  }

 private:
  void AppendChoice(size_t index, const service::ActiveCall& call, JsonWriter* json) const {
    const ChoiceDelta& choice = choices_[index];
    json->BeginObject().Key("index").Int(static_cast<int64_t>(index));
    json->Key("message").BeginObject().Key("role").String("assistant").Key("content");
    if (choice.text.empty() && !choice.tool_calls.empty()) {
      json->Null();
    } else {
      json->String(choice.text);
    }
    if (!choice.reasoning.empty()) {
      json->Key("reasoning_content").String(choice.reasoning);
    } else if (call.has_reasoning()) {
      json->Key("reasoning_content").Null();
    }
    if (!choice.tool_calls.empty()) {
      json->Key("tool_calls").BeginArray();
      for (const service::ToolDelta& tool : choice.tool_calls) {
        json->BeginObject().Key("index").Int(tool.index).Key("id").String(tool.id).Key("type").String("function");
        json->Key("function").BeginObject().Key("name").String(tool.name).Key("arguments").String(tool.arguments);
        json->EndObject().EndObject();
      }
      json->EndArray();
    }
    json->EndObject().Key("logprobs");
    if (choice.logprobs.empty()) {
      json->Null();
    } else {
      AppendLogprobs(choice.logprobs, *call.model().tokenizer, json);
    }
    json->Key("finish_reason").String(service::FinishName(choice.finish));
    if (options_.return_token_ids) {
      std::string ids;
      AppendTokenIds(choice.token_ids, &ids);
      json->Key("token_ids").Raw(ids);
    }
    json->EndObject();
  }

  const ResponseHead head_;
  const ResponseOptions options_;
  const Calls& calls_;
  std::vector<ChoiceDelta> choices_;
};

}  // namespace

std::unique_ptr<ResponseEncoder> MakeChatStreamEncoder(const ResponseHead& head, const ResponseOptions& options,
                                                       const Calls& calls) {
  return std::make_unique<ChatStreamEncoder>(head, options, calls);
}

std::unique_ptr<ResponseEncoder> MakeChatEncoder(const ResponseHead& head, const ResponseOptions& options,
                                                 const Calls& calls) {
  return std::make_unique<ChatEncoder>(head, options, calls);
}

}  // namespace hadal::http
