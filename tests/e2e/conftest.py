# SPDX-License-Identifier: Apache-2.0
import os
import sys

import pytest

sys.path.insert(0, os.path.dirname(__file__))
os.environ.setdefault("HADAL_SOURCE_DIR", os.path.abspath(os.path.join(os.path.dirname(__file__), "../..")))

from hadal_process import HadalProcess  # noqa: E402


@pytest.fixture(scope="session")
def stubs(tmp_path_factory):
    """Python modules generated from proto/: (messages, services)."""
    import grpc_tools
    from grpc_tools import protoc

    root = os.path.join(os.environ["HADAL_SOURCE_DIR"], "proto")
    out = str(tmp_path_factory.mktemp("stubs"))
    known_types = os.path.join(os.path.dirname(grpc_tools.__file__), "_proto")
    code = protoc.main(["protoc", f"-I{root}", f"-I{known_types}", f"--python_out={out}", f"--grpc_python_out={out}",
                        "hadal/v1/batches.proto", "hadal/v1/inference.proto", "google/rpc/status.proto", "google/rpc/error_details.proto"])
    assert code == 0
    sys.path.insert(0, out)
    from google.rpc import error_details_pb2, status_pb2
    from hadal.v1 import batches_pb2, batches_pb2_grpc, inference_pb2, inference_pb2_grpc

    class Stubs:
        pb = inference_pb2
        services = inference_pb2_grpc
        batches = batches_pb2
        batch_services = batches_pb2_grpc
        error_details = error_details_pb2
        status = status_pb2

    return Stubs


@pytest.fixture(scope="module")
def server():
    """One server with the demo model for the tests of a module."""
    with HadalProcess() as process:
        yield process


@pytest.fixture
def client(server):
    """The openai client of the module's server."""
    from http_client import client_of

    return client_of(server)


@pytest.fixture
def start_server():
    """start_server(*flags, **options): a server of its own for one test, stopped at its end."""
    running = []

    def start(*flags, **options):
        process = HadalProcess(*flags, **options)
        running.append(process)
        return process

    yield start
    for process in running:
        process.stop()


@pytest.fixture
def redis(tmp_path):
    """redis(*flags, context=None): a redis-server of its own for one test, with its files in tmp_path."""
    import shutil

    from redis_process import Redis

    if shutil.which("redis-server") is None:
        pytest.skip("needs redis-server (scripts/bootstrap --test)")
    started = []

    def start(*flags, **options):
        started.append(Redis(tmp_path, *map(str, flags), **options))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            one.resume()
        one.stop()


@pytest.fixture(params=["haproxy", "nginx", "edge", "edge-nginx"])
def gateway(request):
    """Name of each gateway that is a program of the system."""
    from gateway_process import binary

    if binary(request.param) is None:
        pytest.skip(f"{request.param} is not installed")
    return request.param
