# SPDX-License-Identifier: Apache-2.0
"""Tiny random checkpoints of every family, written to disk as published ones are: old-style config.json, one tensor an
expert, FP8 with ragged blocks, layers for multi-token prediction that must be ignored.

A family is one module in `families/` that defines FAMILY; it is found by being there."""

import importlib
import pkgutil

from . import families
from .case import VOCAB, Case
from .family import Family
from .write import write

__all__ = ["CASES", "FAMILIES", "VOCAB", "Case", "Family", "case_named", "write"]

FAMILIES = [importlib.import_module(f"{families.__name__}.{module.name}").FAMILY
            for module in sorted(pkgutil.iter_modules(families.__path__), key=lambda module: module.name)]
CASES = [case for family in FAMILIES for case in family.cases]


def case_named(name):
    return next(case for case in CASES if case.name == name)
