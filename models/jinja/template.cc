// SPDX-License-Identifier: Apache-2.0
#include "models/jinja/template.h"

#include "base/utf8.h"
#include "models/concat.h"
#include "models/jinja/interpreter.h"
#include "models/jinja/parser.h"

namespace hadal::jinja {

Template::Template(std::unique_ptr<const Program> program) : program_(std::move(program)) {}
Template::~Template() = default;

absl::StatusOr<std::shared_ptr<const Template>> Template::Compile(std::string_view source, std::string_view name) {
  if (source.size() > kMaxSourceBytes) {
    return absl::InvalidArgumentError(
        models::Concat(name, ": the chat template has ", source.size(), " bytes, the limit is ", kMaxSourceBytes));
  }
  if (const size_t at = base::FindInvalidUtf8(source); at != source.npos) {
    return absl::InvalidArgumentError(models::Concat(name, ": the chat template is not UTF-8 at byte ", at));
  }
  absl::StatusOr<Program> program = Parse(source);
  if (!program.ok()) {
    return absl::InvalidArgumentError(models::Concat(name, ", ", std::string(program.status().message())));
  }
  return std::shared_ptr<const Template>(new Template(std::make_unique<const Program>(*std::move(program))));
}

absl::StatusOr<MarkedText> Template::Render(const Variables& variables, const Limits& limits) const {
  return Interpreter(*program_, limits).Run(variables);
}

bool Template::Reads(std::string_view variable) const { return program_->variables.Find(variable) >= 0; }

}  // namespace hadal::jinja
