"""Which code a step runs, apart from the steps: workers ask for it that need no TFX."""

from __future__ import annotations

import hashlib
from importlib.util import find_spec
from pathlib import Path


def source_fingerprint(*modules: str) -> str:
    """A hash of modules' or packages' sources, so that changed code is never taken from cache."""
    digest = hashlib.sha256()
    for module in modules:
        spec = find_spec(module)
        folders = spec.submodule_search_locations
        sources = sorted(Path(folders[0]).rglob("*")) if folders else [Path(spec.origin)]
        for source in sources:
            # Beside bytecode lies, for a moment, what another process is writing of it.
            if source.is_file() and "__pycache__" not in source.parts:
                digest.update(source.name.encode())
                digest.update(source.read_bytes())
    return digest.hexdigest()[:16]
