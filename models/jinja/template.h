// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "models/jinja/limits.h"
#include "models/jinja/marked_text.h"
#include "models/jinja/value.h"

namespace hadal::jinja {

struct Program;

// A chat template in Jinja, with the meaning that transformers gives it: ImmutableSandboxedEnvironment, trim_blocks,
// lstrip_blocks, loopcontrols, generation blocks, its tojson, raise_exception, strftime_now, dict and namespace.
// Compiled once; immutable and thread-safe.
class Template {
 public:
  using Variables = std::vector<std::pair<std::string, Value>>;

  // `name` stands in front of errors: "chat_template.jinja, line 3: ...". InvalidArgument for what Jinja would refuse,
  // for filters and tests that are not known, for tags that need other templates, for a source that is no UTF-8 or
  // larger than kMaxSourceBytes.
  static absl::StatusOr<std::shared_ptr<const Template>> Compile(std::string_view source, std::string_view name);
  ~Template();

  // The text, each byte marked as the template's or as input. InvalidArgument with the template's own message when it
  // calls raise_exception, else "chat template, line N: ..." for what Python would raise and for a bound of `limits`.
  absl::StatusOr<MarkedText> Render(const Variables& variables, const Limits& limits = {}) const;

  // Whether the template reads this variable.
  bool Reads(std::string_view variable) const;

  static constexpr size_t kMaxSourceBytes = size_t{1} << 20;

 private:
  explicit Template(std::unique_ptr<const Program> program);
  std::unique_ptr<const Program> program_;
};

}  // namespace hadal::jinja
