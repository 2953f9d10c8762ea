# SPDX-License-Identifier: Apache-2.0
"""Shares the tests between processes (scripts/lib/run_pytest.py): who comes first to a module runs all of it."""
import os


def pytest_addoption(parser):
    parser.addoption("--claims", help="folder in which processes that share the tests claim modules")
    parser.addoption("--worker", type=int, default=0, help="number of this process; odd ones begin with the last module")


def pytest_configure(config):
    config.claimed = {}


def pytest_collection_modifyitems(config, items):
    if config.getoption("claims") and config.getoption("worker") % 2 == 1:
        modules = list(dict.fromkeys(item.path for item in items))
        place = {path: -number for number, path in enumerate(modules)}
        items.sort(key=lambda item: place[item.path])


def pytest_runtest_protocol(item):
    """True, which says that the test was dealt with, for one of a module that another process has."""
    claims = item.config.getoption("claims")
    if not claims:
        return None
    claimed = item.config.claimed
    if item.path not in claimed:
        name = os.path.relpath(item.path, item.config.rootpath).replace(os.sep, "-")
        try:
            os.close(os.open(os.path.join(claims, name), os.O_CREAT | os.O_EXCL | os.O_WRONLY))
            claimed[item.path] = True
        except FileExistsError:
            claimed[item.path] = False
    return None if claimed[item.path] else True
