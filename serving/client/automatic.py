"""Which answers need no person: by scores that were chosen on products which nobody trained on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from serving.client._schema import features
from serving.client.answers import Prediction
from serving.client.errors import UserError

Lane = Literal["subcategory", "category", "person"]


@dataclass(frozen=True)
class Automatic:
    """From which score on the answers of a pushed version are right often enough.

        automatic = Automatic.of_version("workspace/shop/serving/catalog/1795755163")
        for prediction in client.predict(pictures):
            if automatic.lane(prediction) == "person":
                ...

    Attributes:
        wanted: the share of right answers that was wanted, .98 for example; None where the version
            has no such scores.
        levels: level to the score from which on its label can be taken as it is; without the levels
            for which no score shows what is wanted.
        attributes: the same by attribute, `group=value`.
    """

    wanted: float | None
    levels: Mapping[str, float]
    attributes: Mapping[str, float]

    @classmethod
    def of_version(cls, folder: str | Path) -> Automatic:
        """Reads the scores that travel with a pushed version.

        Args:
            folder: the version's, as a model server loads it.

        Raises:
            UserError: the folder holds no version that Seamline pushed.
        """
        file = Path(folder, features.VERSION_FILE)
        try:
            found = json.loads(file.read_text(encoding="utf-8"))["origin"].get("automatic") or {}
            return cls(
                found.get("wanted"),
                dict(found.get("levels", {})),
                dict(found.get("attributes", {})),
            )
        except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
            raise UserError(
                f"{folder} is no version that Seamline pushed; {file.name} cannot be read: {error}."
            ) from error

    def lane(self, prediction: Prediction) -> Lane:
        """Who labels the product: `subcategory` takes both labels, `category` that one alone."""
        sure = self.labels(prediction)
        if features.SUBCATEGORY in sure:
            return "subcategory"
        return "category" if features.CATEGORY in sure else "person"

    def labels(self, prediction: Prediction) -> dict[str, Any]:
        """The labels that can be taken as they are, by level.

        A sub-category comes with its category: its score was chosen for both to be right.

        Returns:
            level to label; `attributes` to a list of labels, where there are any.
        """
        sure: dict[str, Any] = {
            level: answer.label
            for level, answer in prediction.levels.items()
            if level in self.levels and answer.score >= self.levels[level]
        }
        if features.SUBCATEGORY in sure:
            sure[features.CATEGORY] = prediction.category
        attributes = [
            label
            for label, score in prediction.attributes.items()
            if label in self.attributes and score >= self.attributes[label]
        ]
        return sure | ({features.ATTRIBUTES: attributes} if attributes else {})
