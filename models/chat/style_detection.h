// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string_view>

#include "models/chat/chat_template.h"

// Which generation a checkpoint's prompts belong to, and what of its template's text varies inside one generation.
namespace hadal::chat {

struct DetectedStyle {
  ChatStyle style;
  std::string_view origin;  // ChatTemplate::origin()
};

std::optional<DetectedStyle> DetectStyle(const tokenizer::Tokenizer& tokenizer, std::string_view family);

// Traits of a template's text.
bool OpensThink(std::string_view text);            // writes <think> without closing it at once
bool AnswersOpenAfterUser(std::string_view text);  // writes <｜Assistant｜> in one expression with the user's text
// R1: writes the results of tools one after the other, without the line break of V3 and the distills.
bool JoinsResults(std::string_view text);
// How the template writes tool calls; kNone for what no parser here reads.
ToolSyntax ToolSyntaxOfTemplate(std::string_view text);
std::string_view DefaultSystem(std::string_view text);  // Qwen: what the template says when the client gives no system

}  // namespace hadal::chat
