// SPDX-License-Identifier: Apache-2.0
#include "client/batch_lines.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"

namespace hadal::client {
namespace {

std::string Quoted(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out.push_back('\\');
      out.push_back(c);
    } else if (static_cast<unsigned char>(c) < 0x20) {
      absl::StrAppendFormat(&out, "\\u%04x", c);
    } else {
      out.push_back(c);
    }
  }
  out.push_back('"');
  return out;
}

// Members of a JSON object; values are complete.
class Members {
 public:
  void Add(const char* name, const std::string& value) {
    absl::StrAppend(&text_, text_.empty() ? "" : ",", "\"", name, "\":", value);
  }
  std::string Object() const { return absl::StrCat("{", text_, "}"); }

 private:
  std::string text_;
};

// Line ends between the parts of a JSON text mean nothing, and within texts they are escaped.
std::string OnOneLine(std::string json) {
  for (char& c : json) {
    if (c == '\n' || c == '\r') c = ' ';
  }
  return json;
}

std::string Number(double value) { return absl::StrFormat("%.17g", value); }

template <typename Items, typename Text>
std::string List(const Items& items, Text text) {
  return absl::StrCat("[", absl::StrJoin(items, ",", [&](std::string* out, const auto& item) { *out += text(item); }),
                      "]");
}

void AddShared(const GenerationOptions& options, Members* body) {
  if (!options.model.empty()) body->Add("model", Quoted(options.model));
  if (options.temperature >= 0) body->Add("temperature", Number(options.temperature));
  if (options.top_p >= 0) body->Add("top_p", Number(options.top_p));
  if (options.seed.has_value()) body->Add("seed", absl::StrCat(*options.seed));
  if (options.max_tokens > 0) body->Add("max_tokens", absl::StrCat(options.max_tokens));
  if (!options.stop.empty()) body->Add("stop", List(options.stop, &Quoted));
}

}  // namespace

std::string BatchLine(std::string_view custom_id, std::string_view endpoint, std::string_view body) {
  Members line;
  line.Add("custom_id", Quoted(custom_id));
  line.Add("method", "\"POST\"");
  line.Add("url", Quoted(endpoint));
  line.Add("body", OnOneLine(std::string(body)));
  return line.Object() + "\n";
}

std::string BatchLine(std::string_view custom_id, const ChatOptions& options) {
  Members body;
  AddShared(options, &body);
  body.Add("messages", List(options.messages, [](const Message& message) {
             Members one;
             one.Add("role", Quoted(message.role));
             one.Add("content", Quoted(message.content));
             return one.Object();
           }));
  if (options.thinking >= 0) {
    body.Add("thinking", options.thinking == 1 ? R"({"type":"enabled"})" : R"({"type":"disabled"})");
  }
  if (options.max_thinking_tokens >= 0) body.Add("max_thinking_tokens", absl::StrCat(options.max_thinking_tokens));
  if (!options.chat_template_kwargs.empty()) body.Add("chat_template_kwargs", options.chat_template_kwargs);
  if (!options.documents.empty()) {
    body.Add("documents", List(options.documents, [](const std::string& document) { return document; }));
  }
  return BatchLine(custom_id, "/v1/chat/completions", body.Object());
}

std::string BatchLine(std::string_view custom_id, const CompletionOptions& options) {
  Members body;
  AddShared(options, &body);
  if (options.token_ids.empty()) {
    body.Add("prompt", Quoted(options.prompt));
  } else {
    body.Add("prompt", List(options.token_ids, [](int32_t id) { return absl::StrCat(id); }));
  }
  return BatchLine(custom_id, "/v1/completions", body.Object());
}

}  // namespace hadal::client
