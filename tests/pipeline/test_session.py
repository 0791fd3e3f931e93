"""A run as a person sees it."""

import subprocess
import sys
from pathlib import Path

from pipeline.session import shown


def test_what_is_said_before_a_run_needs_no_tensorflow():
    script = (
        "import sys, pipeline.cli, pipeline.session, serving.client\n"
        "sys.exit(', '.join({'tensorflow', 'tfx', 'apache_beam'} & set(sys.modules)))"
    )
    process = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert process.stderr.strip() == ""


def test_paths_are_shown_as_they_would_be_typed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert shown(tmp_path / "workspace" / "shop") == Path("workspace/shop")
    assert shown(tmp_path.parent) == tmp_path.parent
