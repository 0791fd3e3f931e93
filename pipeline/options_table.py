"""Writes docs/options.md's table of options from `pipeline/config/`.

Run `python -m pipeline.options_table docs/options.md` after a change of the options; a test
compares.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from pipeline.config import Config, Section

BEGIN = "<!-- options: made by `python -m pipeline.options_table docs/options.md` -->"
END = "<!-- end of options -->"


def options_table() -> str:
    """The Markdown table: option, type, default and meaning, in the order of `pipeline/config/`."""
    rows = ["| option | type | default | meaning |", "| --- | --- | --- | --- |"]
    for name, field in Config.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            for option, of_option in field.annotation.model_fields.items():
                rows.append(_row(f"{name}.{option}", of_option))
                rows += [
                    _row(f"{name}.{option}[].{n}", f)
                    for n, f in _fields_of_items(of_option.annotation).items()
                ]
        else:
            rows.append(_row(name, field))
    return "\n".join(rows)


def _fields_of_items(annotation: Any) -> dict[str, FieldInfo]:
    """The options of a list's items, where those are sections."""
    if get_origin(annotation) is not list:
        return {}
    return getattr(get_args(annotation)[0], "model_fields", {})


def write_into(page: Path) -> None:
    """Replaces what stands between the markers of `page`; SystemExit where there are none."""
    text = page.read_text(encoding="utf-8")
    between = re.compile(f"{re.escape(BEGIN)}.*{re.escape(END)}", re.DOTALL)
    table = f"{BEGIN}\n{options_table()}\n{END}"
    written, count = between.subn(lambda _: table, text)
    if not count:
        sys.exit(f"{page} has no line {BEGIN!r}, after which the table would stand.")
    page.write_text(written, encoding="utf-8")


def _row(name: str, field: FieldInfo) -> str:
    cells = f"`{name}`", _type(field.annotation), _default(field), field.description or ""
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _type(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        # Where one is a comma, or another mark, it would be taken for what stands between them.
        is_plain = all(argument.isidentifier() for argument in arguments)
        return ", ".join(arguments) if is_plain else " or ".join(f"`{one}`" for one in arguments)
    if origin is Annotated:
        return _type(arguments[0])
    if origin in (Union, UnionType):
        return " or ".join(_type(a) for a in arguments if a is not NoneType)
    if arguments:
        return f"{origin.__name__} of {' to '.join(map(_type, arguments))}"
    return "any" if annotation is Any else annotation.__name__


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    default = field.get_default(call_default_factory=True)
    if default in (None, [], {}):
        return ""
    return f"`{json.dumps(default) if isinstance(default, dict) else default}`"


if __name__ == "__main__":
    write_into(Path(sys.argv[1]))
