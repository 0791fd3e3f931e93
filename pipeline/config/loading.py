"""Reading a catalog's config: the YAML file, the overrides, and what a mistake is told."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, get_args, get_origin

import yaml
from pydantic import ValidationError

from components.storage import is_url
from pipeline.config.config import Config
from schema.errors import UserError

IMAGENET = "imagenet"

_PATHS = (
    ("catalog", "folder"),
    ("catalog", "schema_file"),
    ("catalog", "corrections"),
    ("model", "weights"),
    ("serving", "canary_folder"),
)


def load_config(path: Path, overrides: Iterable[str] = ()) -> Config:
    """Reads a catalog's YAML file and applies `section.option=value` overrides in order.

    Values of overrides are read as YAML: `training.epochs=3`, `catalog.slices=[gender]`. Relative
    paths in the file start at the file's folder, those of overrides at the current directory.

    Raises:
      UserError: the file cannot be read, or an option is unknown, missing or of the wrong kind.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(
            f"The config {path} cannot be read: {error.strerror}. Name a YAML file, for example "
            "one of pipeline/configs/."
        ) from error
    try:
        options = yaml.safe_load(text) or {}
        if not isinstance(options, dict):
            raise UserError(f"{path} is not a config: it must hold `section:` blocks of options.")
        _make_absolute(options, path.parent)
        for override in overrides:
            _override(options, override)
        _make_absolute(options, Path.cwd())
    except yaml.YAMLError as error:
        raise UserError(f"{path} is not valid YAML: {' '.join(str(error).split())}.") from error
    try:
        return Config.model_validate(options)
    except ValidationError as error:
        problems = "; ".join(_problem(details) for details in error.errors())
        raise UserError(f"The config {path} has a mistake: {problems}.") from error


def _make_absolute(options: dict[str, Any], folder: Path) -> None:
    for section, option in _PATHS:
        of_section = options.get(section)
        path = of_section.get(option) if isinstance(of_section, dict) else None
        if isinstance(path, str) and path != IMAGENET:
            expanded = os.path.expanduser(os.path.expandvars(path))
            # A URL is absolute; normalized, it would lose a slash.
            if not is_url(expanded):
                expanded = os.path.normpath(folder.absolute() / expanded)
            of_section[option] = expanded


_SIGNS = frozenset("|,;:/&+*-#")
"""Values that stand for themselves: what separates labels or fields, and is no YAML or another."""


def _override(options: dict[str, Any], override: str) -> None:
    name, equals, value = override.partition("=")
    *sections, option = name.strip().split(".")
    if not equals or not option:
        raise UserError(f"--set {override} is not understood; write it as --set training.epochs=3.")
    for section in sections:
        options = options.setdefault(section, {})
        if not isinstance(options, dict):
            raise UserError(f"--set {override}: {section} is not a section of options.")
    if value in _SIGNS:
        options[option] = value
        return
    try:
        options[option] = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise UserError(
            f"--set {override}: the value is no YAML. Put it into quotes that the shell leaves in "
            f"place: --set '{name}=\"...\"'."
        ) from error


def _problem(details: Mapping[str, Any]) -> str:
    """One pydantic error as words: the option's full name, what is wrong, the nearest real name."""
    *sections, option = [str(part) for part in details["loc"]] or [""]
    name = ".".join([*sections, option])
    if details["type"] == "missing":
        return f"{name} is missing"
    if details["type"] == "extra_forbidden":
        known = _options_of(sections)
        nearest = difflib.get_close_matches(option, known, n=1)
        hint = f"did you mean {nearest[0]}?" if nearest else f"there are {', '.join(known)}"
        return f"{name} is not an option ({hint})"
    message = details["msg"].removeprefix("Value error, ")
    message = f"{message[0].lower()}{message[1:]}"
    if not name:
        return message
    if isinstance(details["input"], dict):
        # A section whose options do not go together.
        return f"{name}: {message}"
    return f"{name}: {message} (found {details['input']!r})"


def _options_of(sections: list[str]) -> list[str]:
    fields = Config.model_fields
    for section in sections:
        if section.isdigit():  # An item of a list.
            continue
        annotation = fields[section].annotation if section in fields else None
        if get_origin(annotation) is list:
            [annotation] = get_args(annotation)
        fields = getattr(annotation, "model_fields", {})
    return list(fields)
