"""The artifact type that the report adds to TFX's."""

from __future__ import annotations

from tfx.types import artifact


class HtmlReport(artifact.Artifact):
    """A folder with index.html, the page, and metrics.json, its figures."""

    TYPE_NAME = "HtmlReport"
