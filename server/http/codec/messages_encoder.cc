// SPDX-License-Identifier: Apache-2.0
#include <optional>
#include <utility>

#include "server/http/codec/json_writer.h"
#include "server/http/codec/messages_codec.h"
#include "server/http/codec/response.h"
#include "server/http/codec/response_encoder.h"
#include "server/http/codec/thinking_signature.h"

namespace hadal::http {
namespace {

constexpr std::string_view kPing = "event: ping\ndata: {\"type\":\"ping\"}\n\n";

// How the one choice ended.
struct MessageEnd {
  service::Finish finish = service::Finish::kNone;
  std::string stop_string;

  void Take(service::ChoiceDelta* delta) {
    if (delta->finish == service::Finish::kNone) return;
    finish = delta->finish;
    stop_string = std::move(delta->stop_string);
  }

  // An answer that a shutdown ended can be sent back and continued, which is what pause_turn means.
  std::string_view Reason() const {
    switch (finish) {
      case service::Finish::kNone:
      case service::Finish::kStop:
        return stop_string.empty() ? "end_turn" : "stop_sequence";
      case service::Finish::kLength:
        return "max_tokens";
      case service::Finish::kToolCalls:
        return "tool_use";
      case service::Finish::kInsufficientSystemResource:
        return "pause_turn";
    }
    return "end_turn";
  }

  void Append(JsonWriter* json) const {
    json->Key("stop_reason").String(Reason()).Key("stop_sequence");
    if (finish == service::Finish::kStop && !stop_string.empty()) {
      json->String(stop_string);
    } else {
      json->Null();
    }
  }
};

// Tokens that the prefix cache had are not among the input tokens.
void AppendMessageUsage(const service::Usage& usage, bool reasoning, JsonWriter* json) {
  json->Key("usage").BeginObject().Key("input_tokens").Int(usage.cache_miss_tokens());
  json->Key("cache_creation_input_tokens").Int(0).Key("cache_read_input_tokens").Int(usage.cache_hit_tokens);
  json->Key("output_tokens").Int(usage.completion_tokens);
  if (reasoning) {
    json->Key("output_tokens_details").BeginObject().Key("thinking_tokens").Int(usage.reasoning_tokens).EndObject();
  }
  json->EndObject();
}

void AppendMessageHead(const ResponseHead& head, JsonWriter* json) {
  json->Key("id").String(head.id).Key("type").String("message").Key("role").String("assistant");
  json->Key("model").String(head.model);
}

// Named events: message_start, then each block's start, deltas and stop, then message_delta and message_stop.
class MessagesStreamEncoder : public ResponseEncoder {
 public:
  MessagesStreamEncoder(ResponseHead head, const MessagesOptions& options, const Calls& calls)
      : head_(std::move(head)), options_(options), calls_(calls) {}

  void Add(size_t, service::CallUpdate&& update, std::string* out) override {
    for (service::ChoiceDelta& delta : update.deltas) {
      Begin(out);
      Encode(delta, out);
      end_.Take(&delta);
    }
  }

  void Finish(const service::Usage& usage, std::string* out) override {
    Begin(out);
    EndBlock(out);
    Event("message_delta", out, [&](JsonWriter* json) {
      json->Key("delta").BeginObject();
      end_.Append(json);
      json->EndObject();
      AppendMessageUsage(usage, calls_.front()->has_reasoning(), json);
    });
    Event("message_stop", out, [](JsonWriter*) {});
  }

  void Fail(const absl::Status& status, std::string* out) override {
    out->append("event: error\ndata: ").append(ErrorObject(status, Api::kAnthropic)).append("\n\n");
  }

  // Nothing comes in front of message_start.
  std::string_view KeepAlive() const override { return begun_ ? kPing : kKeepAliveEvent; }

 private:
  enum class Block : uint8_t { kNone, kThinking, kText, kToolUse };

  template <typename Fill>
  static void Event(std::string_view type, std::string* out, Fill fill) {
    out->append("event: ").append(type).append("\ndata: ");
    JsonWriter json(out);
    json.BeginObject().Key("type").String(type);
    fill(&json);
    json.EndObject();
    out->append("\n\n");
  }

  // What the prefix cache had is known at the end only: message_delta has the final counts.
  void Begin(std::string* out) {
    if (std::exchange(begun_, true)) return;
    service::Usage usage;
    usage.prompt_tokens = static_cast<int32_t>(calls_.front()->prompt_token_ids().size());
    Event("message_start", out, [&](JsonWriter* json) {
      json->Key("message").BeginObject();
      AppendMessageHead(head_, json);
      json->Key("content").BeginArray().EndArray();
      json->Key("stop_reason").Null().Key("stop_sequence").Null();
      AppendMessageUsage(usage, /*reasoning=*/false, json);
      json->EndObject();
    });
  }

  void Encode(const service::ChoiceDelta& delta, std::string* out) {
    if (!delta.reasoning.empty()) {
      EnterBlock(Block::kThinking, nullptr, out);
      if (!options_.omit_thinking) {
        signature_.Add(delta.reasoning);
        Delta("thinking_delta", "thinking", delta.reasoning, out);
      }
    }
    if (!delta.text.empty()) {
      EnterBlock(Block::kText, nullptr, out);
      Delta("text_delta", "text", delta.text, out);
    }
    for (const service::ToolDelta& tool : delta.tool_calls) {
      if (!tool.name.empty()) EnterBlock(Block::kToolUse, &tool, out);
      if (!tool.arguments.empty()) Delta("input_json_delta", "partial_json", tool.arguments, out);
    }
  }

  void Delta(std::string_view type, std::string_view key, std::string_view text, std::string* out) const {
    Event("content_block_delta", out, [&](JsonWriter* json) {
      json->Key("index").Int(index_).Key("delta").BeginObject();
      json->Key("type").String(type).Key(key).String(text).EndObject();
    });
  }

  // Goes on in the open block where that is of the kind; a tool's call always begins one.
  void EnterBlock(Block block, const service::ToolDelta* tool, std::string* out) {
    if (block_ == block && tool == nullptr) return;
    EndBlock(out);
    block_ = block;
    Event("content_block_start", out, [&](JsonWriter* json) {
      json->Key("index").Int(index_).Key("content_block").BeginObject();
      switch (block) {
        case Block::kThinking:
          json->Key("type").String("thinking").Key("thinking").String("").Key("signature").String("");
          break;
        case Block::kToolUse:
          json->Key("type").String("tool_use").Key("id").String(tool->id).Key("name").String(tool->name);
          json->Key("input").BeginObject().EndObject();
          break;
        default:
          json->Key("type").String("text").Key("text").String("");
      }
      json->EndObject();
    });
  }

  void EndBlock(std::string* out) {
    if (block_ == Block::kNone) return;
    if (block_ == Block::kThinking) {
      Delta("signature_delta", "signature", signature_.Text(), out);
      signature_ = {};
    }
    Event("content_block_stop", out, [&](JsonWriter* json) { json->Key("index").Int(index_); });
    block_ = Block::kNone;
    ++index_;
  }

  const ResponseHead head_;
  const MessagesOptions options_;
  const Calls& calls_;
  bool begun_ = false;
  Block block_ = Block::kNone;
  int64_t index_ = 0;  // of the open block, or the next
  ThinkingSignature signature_;
  MessageEnd end_;
};

class MessagesEncoder : public ResponseEncoder {
 public:
  MessagesEncoder(ResponseHead head, const MessagesOptions& options, const Calls& calls)
      : head_(std::move(head)), options_(options), calls_(calls) {}

  void Add(size_t, service::CallUpdate&& update, std::string*) override {
    for (service::ChoiceDelta& delta : update.deltas) {
      end_.Take(&delta);
      message_.Append(std::move(delta));
    }
  }

  void Finish(const service::Usage& usage, std::string* out) override {
    JsonWriter json(out);
    json.BeginObject();
    AppendMessageHead(head_, &json);
    json.Key("content").BeginArray();
    if (!message_.reasoning.empty()) AppendThinking(&json);
    if (!message_.text.empty()) {
      json.BeginObject().Key("type").String("text").Key("text").String(message_.text).EndObject();
    }
    for (const service::ToolDelta& tool : message_.tool_calls) AppendToolUse(tool, &json);
    json.EndArray();
    end_.Append(&json);
    AppendMessageUsage(usage, calls_.front()->has_reasoning(), &json);
    json.EndObject();
  }

 private:
  void AppendThinking(JsonWriter* json) const {
    const std::string_view text = options_.omit_thinking ? std::string_view() : message_.reasoning;
    ThinkingSignature signature;
    signature.Add(text);
    json->BeginObject().Key("type").String("thinking").Key("thinking").String(text);
    json->Key("signature").String(signature.Text()).EndObject();
  }

  static void AppendToolUse(const service::ToolDelta& tool, JsonWriter* json) {
    json->BeginObject().Key("type").String("tool_use").Key("id").String(tool.id).Key("name").String(tool.name);
    json->Key("input");
    AppendArguments(tool.arguments, json);
    json->EndObject();
  }

  const ResponseHead head_;
  const MessagesOptions options_;
  const Calls& calls_;
  service::ChoiceDelta message_;
  MessageEnd end_;
};

}  // namespace

std::unique_ptr<ResponseEncoder> MakeMessagesStreamEncoder(const ResponseHead& head, const MessagesOptions& options,
                                                           const Calls& calls) {
  return std::make_unique<MessagesStreamEncoder>(head, options, calls);
}

std::unique_ptr<ResponseEncoder> MakeMessagesEncoder(const ResponseHead& head, const MessagesOptions& options,
                                                     const Calls& calls) {
  return std::make_unique<MessagesEncoder>(head, options, calls);
}

}  // namespace hadal::http
