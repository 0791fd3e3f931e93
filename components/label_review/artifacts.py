"""The artifact type that holds a review of labels."""

from __future__ import annotations

from tfx.types import artifact


class LabelReview(artifact.Artifact):
    """A folder with label_review.csv, and `page` with label_review.html and pictures beside it."""

    TYPE_NAME = "components.LabelReview"
