"""The card for programs: a CycloneDX 1.6 ML-BOM (https://cyclonedx.org/docs/1.6/json/)."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

from components.judge.judgement import sentence
from components.model_card.contents import IMAGENET, Contents
from components.model_card.packages import Package
from schema import features

_MODEL, _DATA = "model", "catalog"
"""References within the document."""

_EXCLUDED = "excluded"
"""Scope of what is not reached when the model answers, for it is a graph and nothing else."""


def bom(contents: Contents) -> dict[str, Any]:
    """The whole document, fit for `json.dumps`; the same for the same contents."""
    told: dict[str, Any] = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            **({"timestamp": contents.trained} if contents.trained else {}),
            "tools": {
                "components": [
                    {"type": "application", "name": "seamline", "version": contents.seamline}
                ]
            },
            "component": _model(contents),
        },
        "components": [_data(contents), *map(_library, contents.packages)],
        "dependencies": [{"ref": _MODEL, "dependsOn": [_DATA]}],
    }
    digest = json.dumps(told, sort_keys=True, ensure_ascii=True)
    return told | {"serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, digest)}"}


def _model(contents: Contents) -> dict[str, Any]:
    told: dict[str, Any] = {
        "type": "machine-learning-model",
        "bom-ref": _MODEL,
        "name": contents.name,
        "version": contents.fingerprint,
        "description": "Names a product's category, sub-category and attributes from its picture.",
        **_licenses(contents.license),
        "components": [
            {
                "type": "file",
                "name": path,
                "hashes": [{"alg": "SHA-256", "content": mark.sha256}],
            }
            for path, mark in contents.files.items()
        ],
        "modelCard": _card(contents),
        "properties": _properties(
            {"artifact": contents.model, "examples_sha256": contents.examples_sha256}
        ),
    }
    if contents.contact:
        told["supplier"] = {"contact": [{"name": contents.contact}]}
    if of := contents.pretrained:
        ancestor: dict[str, Any] = {"type": "machine-learning-model", "name": of.name}
        if of.package:
            ancestor |= {"version": of.package.version, "purl": of.package.purl}
        if contents.options["model.weights"] == IMAGENET:
            ancestor["description"] = "Trained on ImageNet."
        if of.notice:
            text = {"contentType": "text/plain", "content": of.notice}
            ancestor["licenses"] = [{"license": {"name": "NOTICE of Seamline", "text": text}}]
        told["pedigree"] = {"ancestors": [ancestor]}
    return told


def _card(contents: Contents) -> dict[str, Any]:
    options = contents.options
    size = f"{options['model.image_height']} x {options['model.image_width']}"
    limits = [
        "It names products of the kinds in its vocabularies, and always one of them.",
        "Labels that are rare in the catalog are learned badly.",
    ]
    limits += [
        f"{one.metric} of {one.column}={one.value} is {one.told['value']:.3f}, {one.below:.3f} "
        "below all products."
        for one in contents.worst_slices()
    ]
    ethics = [
        {
            "name": "Pictures of products may show persons.",
            "mitigationStrategy": "It has learned the products' labels alone and is not to be "
            "asked about people; pictures that show them are personal data wherever they are kept.",
        }
    ]
    if contents.is_of_people:
        ethics.append(
            {
                "name": "`gender` may be taken for a person's.",
                "mitigationStrategy": "It is the group that a garment is made for, as the catalog "
                "says.",
            }
        )
    return {
        "modelParameters": {
            "approach": {"type": "supervised"},
            "task": "image-classification",
            "architectureFamily": options["model.backbone"],
            "modelArchitecture": f"{options['model.backbone']} with heads {options['model.heads']}",
            "datasets": [{"ref": _DATA}],
            "inputs": [{"format": "JPEG, PNG, GIF, BMP or WebP"}],
            "outputs": [{"format": f"probabilities of {level}"} for level in contents.labels]
            + [{"format": f"vector of {options['model.embedding_size']} numbers"}],
        },
        "quantitativeAnalysis": {"performanceMetrics": list(_metrics(contents))},
        "considerations": {
            "users": ["catalog teams", "developers of catalog systems"],
            "useCases": [
                "filling in labels that are missing",
                "finding labels that are wrong",
                "search by picture",
            ],
            "technicalLimitations": limits,
            "ethicalConsiderations": ethics,
        },
        "properties": _properties(
            {
                "parameters": contents.history["parameters"],
                "picture": size,
                "blessed": str(contents.judgement.blessed).lower(),
                "verdict": contents.judgement.summary,
                "canary": contents.canary_summary,
                "seconds_of_epochs": round(
                    sum(epoch.get("seconds", 0) for epoch in contents.history["epochs"]), 1
                ),
                **{
                    f"gate:{number}": f"{line.verdict}: {sentence(line)}"
                    for number, line in enumerate(contents.judgement.lines)
                    if not line.is_guard
                },
                **{f"option:{name}": value for name, value in contents.options.items()},
            }
        ),
    }


def _metrics(contents: Contents) -> Iterator[dict[str, Any]]:
    """Every figure of all products, then each level's in every slice."""
    for name, told in contents.judgement.figures.items():
        yield from _metric(name, told, "")
    for column, values in contents.judgement.slices.items():
        for value, metrics in values.items():
            for name, told in metrics.items():
                yield from _metric(name, told, f"{column}={value}")


def _metric(name: str, told: Mapping[str, Any], where: str) -> Iterator[dict[str, Any]]:
    if told["value"] is None:
        return
    metric: dict[str, Any] = {"type": name, "value": repr(told["value"])}
    if where:
        metric["slice"] = where
    if told["interval"]:
        low, high = map(repr, told["interval"])
        metric["confidenceInterval"] = {"lowerBound": low, "upperBound": high}
    yield metric


def _data(contents: Contents) -> dict[str, Any]:
    ingest = contents.ingest
    counts = {name: ingest[name] for name in ("rows", "accepted", "rejected", "products", "groups")}
    counts |= {f"part:{split}": ingest["products_by_split"][split] for split in features.SPLITS}
    counts |= {f"rejected:{code}": of for code, of in ingest["rejected_by_reason"].items()}
    counts |= {f"contradiction:{kind}": of for kind, of in contents.conflicts.items() if of}
    return {
        "type": "data",
        "bom-ref": _DATA,
        "name": contents.name,
        "version": contents.examples_sha256,
        "description": "The Examples that the model was trained, chosen and judged on.",
        "data": [
            {
                "type": "dataset",
                "name": contents.name,
                "contents": {"properties": _properties(counts)},
                "description": "Pictures of products with their labels.",
            }
        ],
    }


def _library(package: Package) -> dict[str, Any]:
    return {
        "type": "library",
        "bom-ref": package.purl,
        "name": package.name,
        "version": package.version,
        "purl": package.purl,
        "scope": _EXCLUDED,
        **_licenses(package.license),
    }


def _licenses(name: str) -> dict[str, Any]:
    return {"licenses": [{"license": {"name": name}}]} if name else {}


def _properties(values: Mapping[str, Any]) -> list[dict[str, str]]:
    return [
        {"name": f"seamline:{name}", "value": str(value)}
        for name, value in values.items()
        if value not in (None, "")
    ]
