# SPDX-License-Identifier: Apache-2.0
"""Unpacks the header folders of the FlashInfer wheel: unpack_headers.py WHEEL DESTINATION.

The layout of the wheel's data/ folder is kept: include, csrc, cutlass/{include,tools/util/include},
cccl/{libcudacxx/include,thrust/thrust,cub/cub}. Licence texts travel along.
"""
import pathlib
import sys
import zipfile

DATA = "flashinfer/data/"
FOLDERS = (
    "include/",
    "csrc/nv_internal/",
    "cutlass/include/",
    "cutlass/tools/util/include/",
    "cccl/libcudacxx/include/",
    "cccl/thrust/thrust/",
    "cccl/cub/cub/",
)


def main() -> None:
    wheel, destination = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]).resolve()
    count = 0
    with zipfile.ZipFile(wheel) as archive:
        for info in archive.infolist():
            name = info.filename
            if "licenses/" in name.lower() or name.rsplit("/", 1)[-1].startswith(("LICENSE", "NOTICE")):
                target = destination / "licenses" / name.removeprefix(DATA).replace("/", "_")
            elif name.startswith(DATA) and name.removeprefix(DATA).startswith(FOLDERS):
                target = destination / name.removeprefix(DATA)
            else:
                continue
            if info.is_dir():
                continue
            target = target.resolve()
            if not target.is_relative_to(destination):
                raise SystemExit(f"{wheel.name}: '{name}' points outside the folder")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(archive.read(info))
            count += 1
    if count == 0:
        raise SystemExit(f"{wheel.name}: no headers found")


if __name__ == "__main__":
    main()
