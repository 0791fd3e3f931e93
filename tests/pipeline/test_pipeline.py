"""What the wiring hands to every step."""

from tfx.utils import dependency_utils

from pipeline.beam_runner import LOCAL


def test_no_step_packs_tfx_up_for_a_container(monkeypatch, tmp_path):
    """It would leave 46 MB in the temporary folder a step, at every run."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    assert dependency_utils.make_beam_dependency_flags(LOCAL) == LOCAL
    assert list(tmp_path.iterdir()) == []
