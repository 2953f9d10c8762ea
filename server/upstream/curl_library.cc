// SPDX-License-Identifier: Apache-2.0
#include "server/upstream/curl_library.h"

#include <dlfcn.h>

#include <string>
#include <type_traits>

#include "absl/strings/str_cat.h"

namespace hadal::upstream {
namespace {

constexpr char kName[] = "libcurl.so.4";

absl::StatusOr<CurlLibrary> OpenCurl() {
  void* const handle = dlopen(kName, RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) {
    return absl::FailedPreconditionError(absl::StrCat(kName, " (Debian's package libcurl4) is needed: ", dlerror()));
  }
  CurlLibrary library;
  std::string missing;
  const auto find = [&](const char* name, auto* function) {
    *function = reinterpret_cast<std::remove_pointer_t<decltype(function)>>(dlsym(handle, name));
    if (*function == nullptr) missing = name;
  };
  find("curl_global_init", &library.global_init);
  find("curl_easy_init", &library.easy_init);
  find("curl_easy_setopt", &library.setopt);
  find("curl_easy_getinfo", &library.getinfo);
  find("curl_easy_pause", &library.easy_pause);
  find("curl_easy_perform", &library.easy_perform);
  find("curl_easy_cleanup", &library.easy_cleanup);
  find("curl_easy_strerror", &library.error_text);
  find("curl_mime_init", &library.mime_init);
  find("curl_mime_addpart", &library.mime_addpart);
  find("curl_mime_name", &library.mime_name);
  find("curl_mime_data", &library.mime_data);
  find("curl_mime_filedata", &library.mime_filedata);
  find("curl_mime_type", &library.mime_type);
  find("curl_mime_free", &library.mime_free);
  find("curl_slist_append", &library.slist_append);
  find("curl_slist_free_all", &library.slist_free_all);
  find("curl_multi_init", &library.multi_init);
  find("curl_multi_setopt", &library.multi_setopt);
  find("curl_multi_add_handle", &library.add_handle);
  find("curl_multi_remove_handle", &library.remove_handle);
  find("curl_multi_perform", &library.perform);
  find("curl_multi_poll", &library.poll);
  find("curl_multi_wakeup", &library.wakeup);
  find("curl_multi_info_read", &library.info_read);
  find("curl_multi_cleanup", &library.multi_cleanup);
  find("curl_getdate", &library.getdate);
  if (!missing.empty()) {
    return absl::FailedPreconditionError(absl::StrCat(kName, " has no ", missing));
  }
  if (library.global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
    return absl::InternalError(absl::StrCat(kName, " cannot be initialised"));
  }
  return library;
}

}  // namespace

absl::StatusOr<const CurlLibrary*> LoadCurl() {
  static const absl::StatusOr<CurlLibrary> library = OpenCurl();
  if (!library.ok()) return library.status();
  return &*library;
}

}  // namespace hadal::upstream
