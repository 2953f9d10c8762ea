// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

namespace hadal::base {

// What to tell whoever cloned a repository without Git LFS. Follows "found".
inline constexpr char kLfsPointerAdvice[] =
    "a Git LFS pointer, which stands for the file that was not downloaded (run 'git lfs pull' in its folder)";

// Whether `file`, all of it or its beginning, is the short text that a clone without Git LFS has in place of a large
// file.
constexpr bool IsLfsPointer(std::string_view file) {
  return file.starts_with("version https://git-lfs.github.com/spec/");
}

}  // namespace hadal::base
