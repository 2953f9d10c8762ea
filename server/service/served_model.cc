// SPDX-License-Identifier: Apache-2.0
#include "server/service/served_model.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/utf8.h"
#include "server/base/strings.h"
#include "server/request/refusal.h"

namespace hadal::service {

absl::Status ModelTable::Add(std::shared_ptr<const ServedModel> model) {
  base::MutexLock lock(&mutex_);
  for (const auto& other : models_) {
    if (other->name == model->name) {
      return absl::AlreadyExistsError(
          absl::StrCat("two models are called \"", model->name, "\": give one another NAME="));
    }
  }
  models_.push_back(std::move(model));
  return absl::OkStatus();
}

void ModelTable::AddAlias(std::string alias, std::string target, std::optional<bool> thinking) {
  base::MutexLock lock(&mutex_);
  aliases_.insert_or_assign(std::move(alias), Alias{std::move(target), thinking});
}

void ModelTable::MarkComplete() {
  base::MutexLock lock(&mutex_);
  complete_ = true;
}

bool ModelTable::complete() const {
  base::MutexLock lock(&mutex_);
  return complete_;
}

absl::StatusOr<ModelTable::Entry> ModelTable::Find(std::string_view name) const {
  base::MutexLock lock(&mutex_);
  Entry entry;
  std::string_view wanted = name;
  // At most one step of alias, so that aliases cannot form a circle.
  for (int step = 0; step < 2; ++step) {
    if (wanted.empty() && !models_.empty()) {
      entry.model = models_.front();
      return entry;
    }
    for (const auto& model : models_) {
      if (model->name == wanted) {
        entry.model = model;
        return entry;
      }
    }
    const auto alias = aliases_.find(wanted);
    if (alias == aliases_.end()) break;
    entry.thinking = alias->second.thinking;
    wanted = alias->second.target;
  }
  if (!complete_) {
    return request::MakeRefusal(request::Reason::kModelLoading, "the model is still loading", absl::Seconds(1));
  }
  std::string message = absl::StrCat("The model `", base::View(base::Utf8Prefix(name, 128)), "` does not exist.");
  if (!models_.empty()) {
    absl::StrAppend(&message, " Served:");
    for (size_t i = 0; i < models_.size() && i < 16; ++i)
      absl::StrAppend(&message, i == 0 ? " " : ", ", models_[i]->name);
  }
  return request::MakeError(request::Reason::kModelNotFound, message, "model");
}

std::vector<std::shared_ptr<const ServedModel>> ModelTable::List() const {
  base::MutexLock lock(&mutex_);
  return models_;
}

}  // namespace hadal::service
