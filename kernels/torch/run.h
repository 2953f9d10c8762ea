// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <c10/core/InferenceMode.h>
#include <c10/util/Exception.h>

#include <exception>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace hadal::kernels::torch {

// Calls `function` without autograd, and turns libtorch's exceptions into a status that names `what`.
template <typename Function>
absl::Status Run(const char* what, Function function) {
  try {
    const c10::InferenceMode inference;
    function();
    return absl::OkStatus();
  } catch (const c10::OutOfMemoryError& error) {
    return absl::ResourceExhaustedError(absl::StrCat("torch: ", what, ": ", error.what_without_backtrace()));
  } catch (const c10::NotImplementedError& error) {
    return absl::UnimplementedError(absl::StrCat("torch: ", what, ": ", error.what_without_backtrace()));
  } catch (const c10::Error& error) {
    return absl::InternalError(absl::StrCat("torch: ", what, ": ", error.what_without_backtrace()));
  } catch (const std::exception& error) {
    return absl::InternalError(absl::StrCat("torch: ", what, ": ", error.what()));
  }
}

}  // namespace hadal::kernels::torch
