# SPDX-License-Identifier: Apache-2.0
# cmake -DOUTPUT=x.cc -DHEADER=a/b.h -DFOLDER=dir "-DFILES=a,b" -P embed_files.cmake: the script of hadal_embed.
string(REPLACE "," ";" FILES "${FILES}")
set(entries "")
foreach(name IN LISTS FILES)
  file(READ "${FOLDER}/${name}" hex HEX)
  file(SIZE "${FOLDER}/${name}" size)
  file(SHA256 "${FOLDER}/${name}" sha256)
  string(REGEX REPLACE "(..)" "\\\\x\\1" bytes "${hex}")
  string(APPEND entries "    {\"${name}\", {\"${bytes}\", ${size}}, \"${sha256}\"},\n")
endforeach()
file(WRITE "${OUTPUT}" "// Made by cmake/embed_files.cmake.
#include \"${HEADER}\"

namespace hadal::http {

absl::Span<const PageFile> PageFiles() {
  static constexpr PageFile kFiles[] = {
${entries}  };
  return kFiles;
}

}  // namespace hadal::http
")
