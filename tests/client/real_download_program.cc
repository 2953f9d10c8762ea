// SPDX-License-Identifier: Apache-2.0
// test_cpp_download.py compiles this against the public headers and runs it with the address of a real server, a file
// to upload, and one to write. Behind the first piece it waits for a line, while the server is killed and started
// again.
#include <fstream>
#include <iostream>
#include <string>

#include "client/batch_client.h"

int main(int, char** arguments) {
  hadal::client::ChannelOptions options = {.targets = {arguments[1]}};
  options.retry.max_attempts = 60;
  options.retry.max_backoff = absl::Seconds(1);
  const auto client = hadal::client::BatchClient::Connect(options);
  if (!client.ok()) return 1;
  const auto file = (*client)->UploadFile({.path = arguments[2]});
  if (!file.ok()) std::cerr << file.status() << "\n";
  if (!file.ok()) return 1;
  std::ofstream out(arguments[3], std::ios::binary);
  hadal::client::DownloadProgress last;
  const absl::Status status =
      (*client)->ReadFile(file->id, [&](std::string_view bytes, const hadal::client::DownloadProgress& progress) {
        out.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
        if (last.received == 0) {
          std::cout << "begun" << std::endl;
          std::string line;
          std::getline(std::cin, line);
        }
        last = progress;
        return true;
      });
  if (!status.ok()) std::cerr << status << "\n";
  std::cout << last.received << " of " << last.total << ", resumed " << last.resumed << std::endl;
  return status.ok() ? 0 : 1;
}
