// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <curl/curl.h>

#include "absl/status/statusor.h"

namespace hadal::upstream {

// The functions of libcurl that are used. The library is opened by those who ask for an upstream or send a batch: a
// server without an upstream neither loads it nor needs it.
struct CurlLibrary {
  decltype(&::curl_global_init) global_init;
  decltype(&::curl_easy_init) easy_init;
  decltype(&::curl_easy_setopt) setopt;
  decltype(&::curl_easy_getinfo) getinfo;
  decltype(&::curl_easy_pause) easy_pause;
  decltype(&::curl_easy_perform) easy_perform;
  decltype(&::curl_easy_cleanup) easy_cleanup;
  decltype(&::curl_easy_strerror) error_text;
  decltype(&::curl_mime_init) mime_init;
  decltype(&::curl_mime_addpart) mime_addpart;
  decltype(&::curl_mime_name) mime_name;
  decltype(&::curl_mime_data) mime_data;
  decltype(&::curl_mime_filedata) mime_filedata;
  decltype(&::curl_mime_type) mime_type;
  decltype(&::curl_mime_free) mime_free;
  decltype(&::curl_slist_append) slist_append;
  decltype(&::curl_slist_free_all) slist_free_all;
  decltype(&::curl_multi_init) multi_init;
  decltype(&::curl_multi_setopt) multi_setopt;
  decltype(&::curl_multi_add_handle) add_handle;
  decltype(&::curl_multi_remove_handle) remove_handle;
  decltype(&::curl_multi_perform) perform;
  decltype(&::curl_multi_poll) poll;
  decltype(&::curl_multi_wakeup) wakeup;
  decltype(&::curl_multi_info_read) info_read;
  decltype(&::curl_multi_cleanup) multi_cleanup;
  decltype(&::curl_getdate) getdate;
};

// Opens libcurl.so.4, once; it stays open. FailedPrecondition names the package that is missing. Thread-safe.
absl::StatusOr<const CurlLibrary*> LoadCurl();

}  // namespace hadal::upstream
