"""The artifact type that the report adds to TFX's."""

from __future__ import annotations

from tfx.types import artifact


class HtmlReport(artifact.Artifact):
    """A folder with index.html, the page, `files-*`, what it shows when asked, and metrics.json."""

    TYPE_NAME = "components.HtmlReport"
