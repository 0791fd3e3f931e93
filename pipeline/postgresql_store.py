r"""ML Metadata's client, for texts with backslashes in PostgreSQL.

Of a text that holds a backslash ML Metadata makes a statement that PostgreSQL takes for a syntax
error: it puts `E'...'`, as libpq quotes such a text, into quotes once more. And JSON, as which
options are handed to the steps, has many. So texts are written with another sign in its place, of
Unicode's private use area, and are read with it put back.
"""

from __future__ import annotations

from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from ml_metadata.metadata_store import metadata_store

_BACKSLASH = "\\"
_STAND_IN = "\uf05c"


class PostgresqlStore(metadata_store.MetadataStore):
    """A `MetadataStore` whose texts may hold backslashes, but not U+F05C."""

    def _call(
        self, method_name: str, request: Message, response: Message, extra_options: Any = None
    ) -> None:
        written = type(request)()
        written.CopyFrom(request)
        _put(_STAND_IN, _BACKSLASH, written)
        super()._call(method_name, written, response, extra_options)
        _put(_BACKSLASH, _STAND_IN, response)


def _put(sign: str, of: str, message: Message) -> None:
    """Puts a sign in place of another in all texts of a message."""
    for field, value in message.ListFields():
        of_map = field.message_type and field.message_type.GetOptions().map_entry
        if of_map:
            if field.message_type.fields_by_name["value"].type == FieldDescriptor.TYPE_MESSAGE:
                for key in value:
                    _put(sign, of, value[key])
        elif field.type == FieldDescriptor.TYPE_STRING:
            if isinstance(value, str):
                setattr(message, field.name, value.replace(of, sign))
            else:
                value[:] = [text.replace(of, sign) for text in value]
        elif field.type == FieldDescriptor.TYPE_MESSAGE:
            for each in [value] if isinstance(value, Message) else value:
                _put(sign, of, each)
