"""Reads vocabularies as TensorFlow Transform writes them."""

from collections.abc import Iterable

_PLACEHOLDER = b"49d0cd50-04bb-48c0-bc6f-5b575dce351a"
"""What TensorFlow Transform writes into a vocabulary that would otherwise be empty."""


def vocabulary_labels(entries: Iterable[bytes]) -> list[str]:
    """The labels of a vocabulary in the order of their indices; empty where there are none.

    Args:
        entries: The vocabulary's lines, encoded as UTF-8.
    """
    found = list(entries)
    return [] if found == [_PLACEHOLDER] else [entry.decode("utf-8") for entry in found]


def file_labels(content: bytes) -> list[str]:
    """The labels of a vocabulary's file, of which each ends with a line feed."""
    return vocabulary_labels(content.removesuffix(b"\n").split(b"\n") if content else [])
