// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "models/chat/chat_template.h"

namespace hadal::testing {

// What a model of one generation says when it reasons, answers and calls two tools, and what a client must get.
struct ToolCallScript {
  chat::ChatStyle style;
  std::string output;
  std::string reasoning = "Look it up – 北京.";
  std::string content = "One moment.";
  std::vector<std::pair<std::string, std::string>> calls;  // name, arguments
};

inline std::vector<ToolCallScript> ToolCallScripts() {
  using chat::ChatStyle;
  const std::string head = "Look it up – 北京.</think>One moment.";
  const auto dsml = [&](const std::string& block) {
    return head + "\n\n<｜DSML｜" + block +
           ">\n<｜DSML｜invoke name=\"get_weather\">\n"
           "<｜DSML｜parameter name=\"city\" string=\"true\">\"北京\"\n🦙</｜DSML｜parameter>\n"
           "<｜DSML｜parameter name=\"days\" string=\"false\">[1, {\"x\": null}]</｜DSML｜parameter>\n"
           "</｜DSML｜invoke>\n<｜DSML｜invoke name=\"now\">\n\n</｜DSML｜invoke>\n</｜DSML｜" +
           block + ">";
  };
  const std::vector<std::pair<std::string, std::string>> calls = {
      {"get_weather", R"({"city": "\"北京\"\n🦙", "days": [1, {"x": null}]})"}, {"now", "{}"}};
  return {
      {.style = ChatStyle::kDeepSeekR1,
       .output = head + "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>get_weather\n```json\n" +
                 calls[0].second +
                 "\n```<｜tool▁call▁end｜>\n<｜tool▁call▁begin｜>function<｜tool▁sep｜>now\n```json\n{}\n```<"
                 "｜tool▁call▁end｜><｜"
                 "tool▁calls▁end｜>",
       .calls = calls},
      {.style = ChatStyle::kDeepSeekV31,
       .output = head + "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>get_weather<｜tool▁sep｜>" + calls[0].second +
                 "<｜tool▁call▁end｜><｜tool▁call▁begin｜>now<｜tool▁sep｜>{}<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
       .calls = calls},
      {.style = ChatStyle::kDeepSeekV32, .output = dsml("function_calls"), .calls = calls},
      {.style = ChatStyle::kDeepSeekV4, .output = dsml("tool_calls"), .calls = calls},
  };
}

}  // namespace hadal::testing
