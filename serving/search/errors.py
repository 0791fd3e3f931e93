"""What the search raises on purpose, all of it a `UserError`: a sentence with the remedy in it."""

from __future__ import annotations

from schema.errors import UserError


class BadSearch(UserError):
    """What was asked for, or handed in, makes no sense to this index, whatever it holds."""


class UnknownProduct(UserError):
    """The index holds no product of that id, or no longer does."""


class DamagedIndex(UserError):
    """An index is missing, incomplete or not what it was saved as."""


class IndexAway(UserError):
    """The engine that holds the index does not answer, or refuses to."""
