"""The names that the client and the model agree on, and the exception that speaks to people.

In Seamline's own tree they are `schema`'s. The client's wheel has copies of the modules here in
place of this file (see pyproject.toml), so that it puts no package `schema` into the environment of
a caller, who may have another of that name.
"""

from schema import errors, features, picture_text

__all__ = ["errors", "features", "picture_text"]
