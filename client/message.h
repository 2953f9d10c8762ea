// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

namespace hadal::client {

// A model's call of a function that its caller has offered.
struct ToolCall {
  std::string id;         // a tool's message answers it by this
  std::string name;       // of the function
  std::string arguments;  // JSON text
};

struct Message {
  std::string role;  // system, developer, user, assistant, tool
  std::string content;
  std::string reasoning = "";             // of an assistant
  bool prefix = false;                    // the last message, an assistant's: the response goes on behind it
  std::vector<ToolCall> tool_calls = {};  // of an assistant
  std::string tool_call_id = "";          // of a tool: the call that it answers
};

// A function that the model may call.
struct ToolDefinition {
  std::string name;
  std::string description = "";
  std::string parameters_json_schema = "";  // JSON text; empty: no parameters
  bool strict = false;                      // calls of it follow the schema: all properties required, no others allowed
};

// Whether the answer must be a tool call.
enum class ToolChoice {
  kAuto,      // the model decides
  kNone,      // the tools are not shown to it
  kRequired,  // one call or several, and nothing else
  kNamed,     // one call of ChatOptions::tool_name
};

}  // namespace hadal::client
