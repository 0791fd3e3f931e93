"""Reads the annotation files of DeepFashion (Liu et al., CVPR 2016) as rows of a catalog.

Three of its benchmarks are known. Each is shown as a table whose columns have names, so that the
options of the config mean what they mean for a CSV:

- `deepfashion_fine`: `{train,val,test}.txt` with `_attr`, `_cate` and `_bbox` beside them, line by
  line, no header. Columns `image_name`, `category_type`, `category`, and the six attribute types.
- `deepfashion_coarse`: `list_attr_img.txt` and, by the picture's path, `list_category_img.txt`,
  `list_bbox.txt` and `list_eval_partition.txt`. Columns as above, with five attribute types.
- `deepfashion_inshop`: `list_eval_partition.txt` and `list_bbox_inshop.txt`. Columns `image_name`,
  `item_id`, `category_type`, `category`, `gender` and `partition`; the second last two are folders
  in the picture's path.

A file is sought in the folder `Anno_fine`, `Anno_coarse`, `Anno` or `Eval` of the catalog, where
the data set's archives put it, then in the catalog's folder itself. It is asked for only where a
column of it, or the box, is used. The lines of the large files are read side by side, never kept;
only where two files have another order is what was passed over kept until its turn.

`val` is the split `eval`. In-shop has no such part, and its `query` and `gallery` show the same
items, so both are `test`: an item that chose the model must not judge it. Of its `train` items, the
part `split.eval`, drawn by the item, is `eval`. The column `partition` tells query from gallery.

In a reject of these formats, `row` is the line in the file that lists the pictures; of a line that
no picture of that file owns, it is the line in the file that `column` names.
"""

from __future__ import annotations

import io
import os
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Any, NamedTuple

from components.catalog_example_gen.rejects import Reason, Reject, printable
from components.catalog_example_gen.rows import (
    Box,
    Columns,
    Product,
    Row,
    RowParser,
    Survey,
    category_sizes,
)
from components.catalog_example_gen.splits import draw
from components.storage import is_file, opened
from schema import features
from schema.errors import UserError

FINE = "deepfashion_fine"
COARSE = "deepfashion_coarse"
INSHOP = "deepfashion_inshop"

IMAGE_NAME = "image_name"
CATEGORY_TYPE = "category_type"
CATEGORY = "category"
ITEM_ID = "item_id"
GENDER = "gender"
PARTITION = "partition"

ATTRIBUTE_TYPES: Mapping[str, tuple[str, ...]] = {
    FINE: ("texture", "sleeve", "length", "neckline", "fabric", "fit"),
    COARSE: ("texture", "fabric", "shape", "part", "style"),
    INSHOP: (),
}
"""What the types 1, 2, ... of `list_attr_cloth.txt` are; its file has numbers only."""

COLUMNS_OF_FORMAT: Mapping[str, Mapping[str, Any]] = {
    name: {
        "images": "Img",
        "id": IMAGE_NAME,
        "picture": IMAGE_NAME,
        "category": CATEGORY_TYPE,
        "subcategory": CATEGORY,
        "attributes": list(types),
    }
    for name, types in ATTRIBUTE_TYPES.items()
}
"""What the options of the section `catalog` are, where the config does not say."""

_CATEGORY_TYPES = {"1": "upper", "2": "lower", "3": "full"}
_SPLITS = {"train": features.TRAIN, "val": features.EVAL, "test": features.TEST}
_SIDES = {"train": features.TRAIN, "query": features.TEST, "gallery": features.TEST}
_FOLDERS = {FINE: ("Anno_fine", "Anno"), COARSE: ("Anno_coarse", "Anno"), INSHOP: ("Anno",)}

_ATTR_CLOTH, _ATTR_IMG = "list_attr_cloth.txt", "list_attr_img.txt"
_CATEGORY_CLOTH, _CATEGORY_IMG = "list_category_cloth.txt", "list_category_img.txt"
_EVAL_PARTITION = "list_eval_partition.txt"
_BBOX, _BBOX_INSHOP = "list_bbox.txt", "list_bbox_inshop.txt"

# Between the labels of one cell, where no name can hold it.
_SEPARATOR = "\n"

_POSITIVE = "1"
_ATTRIBUTE_VALUES = frozenset({"-1", "0", _POSITIVE})

_Line = tuple[int, list[str]]


class _Fault(Exception):
    """What is wrong with one picture's lines; `column` is the file or the column at fault."""

    def __init__(self, column: str, reason: Reason, found: str) -> None:
        super().__init__(f"{column}: {reason}: {found}")
        self.column, self.reason, self.found = column, reason, found


class _Record(NamedTuple):
    """What the files tell of one picture, or what is wrong with it."""

    line: int
    path: str
    cells: dict[str, str]
    split: str = ""
    box: Box | None = None
    fault: _Fault | None = None


class _Attribute(NamedTuple):
    group: str
    name: str


@dataclass(frozen=True)
class DeepFashion:
    """A `sources.Source` of one of the three formats.

    Attributes:
        name: The catalog's folder.
        format: `FINE`, `COARSE` or `INSHOP`.
        encoding: Text encoding of the files.
        columns: What to make of the columns.
        crop: Whether products get the boxes.
    """

    name: str
    format: str
    encoding: str
    columns: Columns
    crop: bool

    @property
    def files(self) -> list[str]:
        """Paths of all files that are read; of one that is missing, where it is expected."""
        return [self.path(name) for name in self._names()]

    def check(self) -> None:
        """Looks for every file.

        Raises:
            UserError: One is not there.
        """
        for name in self._names():
            if not is_file(self.path(name)):
                raise UserError(
                    f"There is no file {name} in {self.name}, nor in {' or '.join(self._below())} "
                    f"below it. The format {self.format} needs it{self._remedy(name)}. Unpack the "
                    "data set's annotations there, or check `catalog.folder` and `catalog.format`."
                )

    def glance(self) -> None:
        """Reads until two categories were met.

        Raises:
            UserError: As `survey`.
        """
        met: set[str] = set()

        def until_two_categories() -> Iterator[str]:
            with closing(self._category_of_each([])) as categories:
                for category in categories:
                    yield category
                    met.add(category)
                    if len(met - {""}) > 1:
                        return

        category_sizes(until_two_categories(), self.columns.category, self.name)

    def survey(self) -> Survey:
        """Reads everything once; notes where a file's first line counts otherwise.

        Raises:
            UserError: A file cannot be read, or is not as the format has it before its first
                picture; files that belong together line by line differ in length; there is no
                picture, or no two differ in their category; or a column is unknown.
        """
        notes: list[str] = []
        categories = self._category_of_each(notes)
        sizes = category_sizes(categories, self.columns.category, self.name)
        return Survey(sizes.total(), sizes, frozenset(features.SPLITS), tuple(notes))

    def rows(
        self,
        domains: Mapping[str, Sequence[str]],
        seed: int,
        eval_part: float,
    ) -> Iterator[Row]:
        """Every picture that the files name.

        Args:
            domains: The allowed labels of the levels that the schema closes.
            seed: Of the draw of in-shop's `eval`.
            eval_part: The part of in-shop's `train` items that becomes `eval`.

        Raises:
            UserError: As `survey`.
        """
        parse = RowParser(replace(self.columns, separator=_SEPARATOR), domains)
        for record in self._records([]):
            if record.fault:
                yield _rejected(record, record.fault)
                continue
            row = parse.of_cells(record.line, record.cells)
            if isinstance(row.result, Product):
                split = record.split
                if self.format == INSHOP and split == features.TRAIN:
                    drawn = draw(seed, record.cells[ITEM_ID])
                    split = features.EVAL if drawn < eval_part else split
                row = row._replace(result=row.result._replace(split=split, box=record.box))
            yield row

    def _category_of_each(self, notes: list[str]) -> Generator[str, None, None]:
        for record in self._records(notes):
            yield record.cells.get(self.columns.category, "")

    # Which files.

    @property
    def _uses_category(self) -> bool:
        return bool({CATEGORY, CATEGORY_TYPE} & set(self.columns.names))

    def _names(self) -> list[str]:
        if self.format == INSHOP:
            return [_EVAL_PARTITION, _BBOX_INSHOP]
        cloth = [_CATEGORY_CLOTH] if self._uses_category else []
        if self.format == COARSE:
            category = [_CATEGORY_IMG] if self._uses_category else []
            box = [_BBOX] if self.crop else []
            return [_ATTR_CLOTH, *cloth, _ATTR_IMG, *category, *box, _EVAL_PARTITION]
        beside = [f"{split}{part}.txt" for split in _SPLITS for part in self._parts()]
        return [_ATTR_CLOTH, *cloth, *beside]

    def _parts(self) -> list[str]:
        category = ["_cate"] if self._uses_category else []
        return ["", "_attr", *category, *(["_bbox"] if self.crop else [])]

    def _below(self) -> tuple[str, ...]:
        return (*_FOLDERS[self.format], "Eval")

    def path(self, name: str) -> str:
        """Where a file is; of one that is missing, where it is expected."""
        places = [os.path.join(self.name, below, name) for below in self._below()]
        places.append(os.path.join(self.name, name))
        return next((path for path in places if is_file(path)), places[0])

    def _remedy(self, name: str) -> str:
        if name.startswith("list_bbox") and self.format != INSHOP or name.endswith("_bbox.txt"):
            return " for `catalog.crop`, which can be false"
        if self.format == FINE and (name == _CATEGORY_CLOTH or name.endswith("_cate.txt")):
            return (
                " for the columns `category_type` and `category`; without it, name attribute types "
                "in `catalog.category` and `catalog.subcategory`, for example sleeve and texture"
            )
        return ""

    # What they say.

    def _records(self, notes: list[str]) -> Iterator[_Record]:
        with ExitStack() as files:
            texts = _Texts(self, files, notes)
            if self.format == INSHOP:
                self._require_columns([])
                yield from self._inshop(texts)
                return
            attributes = self._attributes(texts)
            self._require_columns(list(dict.fromkeys(one.group for one in attributes)))
            categories = self._categories(texts) if self._uses_category else []
            if self.format == FINE:
                for split in _SPLITS:
                    yield from self._fine(texts, split, attributes, categories)
            else:
                yield from self._coarse(texts, attributes, categories)

    def _require_columns(self, groups: Sequence[str]) -> None:
        if self.format == INSHOP:
            single = [IMAGE_NAME, ITEM_ID, CATEGORY_TYPE, CATEGORY, GENDER, PARTITION]
        else:
            # Only the fine annotation has one label of every type for every picture.
            single = [IMAGE_NAME, CATEGORY_TYPE, CATEGORY, *(groups if self.format == FINE else ())]
        columns = self.columns
        for option, used, known in (
            ("category", [columns.category], single),
            ("subcategory", [columns.subcategory], single),
            ("slices", columns.slices, single),
            ("attributes", columns.attributes, groups),
            ("fields", columns.fields, single),
        ):
            if unknown := [column for column in used if column not in known]:
                raise UserError(
                    f"`catalog.{option}` names {', '.join(f'`{column}`' for column in unknown)}, "
                    f"which {self.format} in {self.name} does not have there. "
                    f"It has {', '.join(f'`{printable(column)}`' for column in known) or 'none'}."
                )

    def _attributes(self, texts: _Texts) -> list[_Attribute]:
        types = ATTRIBUTE_TYPES[self.format]
        attributes = []
        for name, kind in texts.names_and_types(_ATTR_CLOTH):
            known = kind.isdecimal() and 1 <= int(kind) <= len(types)
            attributes.append(_Attribute(types[int(kind) - 1] if known else f"type{kind}", name))
        return attributes

    def _categories(self, texts: _Texts) -> list[tuple[str, str]]:
        """(name, type) of the categories 1, 2, ..."""
        return [
            (name, _CATEGORY_TYPES.get(kind, f"type{kind}"))
            for name, kind in texts.names_and_types(_CATEGORY_CLOTH)
        ]

    def _fine(
        self,
        texts: _Texts,
        split: str,
        attributes: Sequence[_Attribute],
        categories: Sequence[tuple[str, str]],
    ) -> Iterator[_Record]:
        names = [f"{split}{part}.txt" for part in self._parts()]
        groups = list(dict.fromkeys(one.group for one in attributes))
        for lines in texts.beside(names):
            number, path_fields = lines[0]
            path = " ".join(path_fields)
            fields = {name: fields for name, (_, fields) in zip(names, lines, strict=True)}
            cells, box = {IMAGE_NAME: path}, None
            try:
                if self._uses_category:
                    name = f"{split}_cate.txt"
                    cells |= _category(name, number, fields[name], categories)
                if self.crop:
                    name = f"{split}_bbox.txt"
                    box = _box(name, number, fields[name])
                name = f"{split}_attr.txt"
                labels = _positive(name, number, fields[name], attributes)
                for group in groups:
                    if len(labels.get(group, ())) != 1:
                        found = ", ".join(labels.get(group, ())) or "none"
                        raise _Fault(group, Reason.NOT_ONE_LABEL, f"{name} line {number}: {found}")
                cells |= {group: labels[group][0] for group in groups}
            except _Fault as fault:
                yield _Record(number, path, cells, fault=fault)
            else:
                yield _Record(number, path, cells, _SPLITS[split], box)

    def _coarse(
        self,
        texts: _Texts,
        attributes: Sequence[_Attribute],
        categories: Sequence[tuple[str, str]],
    ) -> Iterator[_Record]:
        groups = dict.fromkeys((one.group for one in attributes), "")
        category = _ByPath(_CATEGORY_IMG, texts) if self._uses_category else None
        boxes = _ByPath(_BBOX, texts) if self.crop else None
        partition = _ByPath(_EVAL_PARTITION, texts)
        others = [file for file in (category, boxes, partition) if file]
        for number, (path, *values) in texts.listed(_ATTR_IMG):
            # From every file, whatever is wrong in another, so that each line is accounted for.
            lines = {file.name: file.take(path) for file in others}
            cells, box = {IMAGE_NAME: path} | groups, None
            try:
                for name, line in lines.items():
                    if line is None:
                        raise _Fault(name, Reason.MISSING_ANNOTATION, "no line for this picture")
                if self._uses_category:
                    cells |= _category(_CATEGORY_IMG, *lines[_CATEGORY_IMG], categories)
                if self.crop:
                    box = _box(_BBOX, *lines[_BBOX])
                split = _one_of(_SPLITS, _EVAL_PARTITION, *lines[_EVAL_PARTITION])
                labels = _positive(_ATTR_IMG, number, values, attributes)
                cells |= {group: _SEPARATOR.join(names) for group, names in labels.items()}
            except _Fault as fault:
                yield _Record(number, path, cells, fault=fault)
            else:
                yield _Record(number, path, cells, split, box)
        for file in others:
            yield from file.rest(_ATTR_IMG)

    def _inshop(self, texts: _Texts) -> Iterator[_Record]:
        boxes = _ByPath(_BBOX_INSHOP, texts)
        side_of_item: dict[str, str] = {}
        for number, (path, *values) in texts.listed(_EVAL_PARTITION):
            line = boxes.take(path)
            cells, box = {IMAGE_NAME: path}, None
            try:
                _require_length(_EVAL_PARTITION, number, values, 2)
                item, partition = values
                split = _one_of(_SIDES, _EVAL_PARTITION, number, [partition])
                first = side_of_item.setdefault(item, split)
                if first != split:
                    found = f"{item} is in {first} already, and here in {partition}"
                    raise _Fault(ITEM_ID, Reason.ITEM_ON_TWO_SIDES, found)
                folders = path.split("/")
                if len(folders) < 5:
                    found = f"{path}, expected img/GENDER/CATEGORY/ITEM/PICTURE"
                    raise _Fault(IMAGE_NAME, Reason.BAD_VALUE, found)
                gender, category = folders[-4:-2]
                cells |= {ITEM_ID: item, PARTITION: partition, GENDER: gender, CATEGORY: category}
                if line is None:
                    found = "no line for this picture"
                    raise _Fault(_BBOX_INSHOP, Reason.MISSING_ANNOTATION, found)
                _require_length(_BBOX_INSHOP, *line, 6)
                kind = _one_of(_CATEGORY_TYPES, _BBOX_INSHOP, line[0], line[1][:1])
                cells[CATEGORY_TYPE] = kind
                if self.crop:
                    box = _box(_BBOX_INSHOP, line[0], line[1][2:])
            except _Fault as fault:
                yield _Record(number, path, cells, fault=fault)
            else:
                yield _Record(number, path, cells, split, box)
        yield from boxes.rest(_EVAL_PARTITION)


def _rejected(record: _Record, fault: _Fault) -> Row:
    found = printable(fault.found)
    product_id = printable(record.path)
    return Row(record.path, Reject(record.line, product_id, fault.column, fault.reason, found))


class _Texts:
    """The files as lines of words, with line numbers from 1 as an editor shows them."""

    def __init__(self, source: DeepFashion, files: ExitStack, notes: list[str]) -> None:
        self._source = source
        self._files = files
        self._notes = notes

    def path(self, name: str) -> str:
        return self._source.path(name)

    def listed(self, name: str) -> Iterator[_Line]:
        """The lines below the count and the header; blank ones are skipped."""
        lines = self._lines(name)
        count = " ".join(next(lines, (1, []))[1])
        if not count.isdecimal() or next(lines, None) is None:
            raise UserError(
                f"{self.path(name)} must begin with a line with its count of rows and a line of "
                f"headings, but its first line is `{printable(count)}`. Unpack it again."
            )
        rows = 0
        for number, words in lines:
            if words:
                rows += 1
                yield number, words
        if rows != int(count):
            self._notes.append(
                f"{self.path(name)} says {int(count):,} in its first line and lists {rows:,}."
            )

    def names_and_types(self, name: str) -> list[tuple[str, str]]:
        """`name ... type` a line: names may hold spaces, the type is the last word."""
        pairs = []
        for number, words in self.listed(name):
            if len(words) < 2:
                raise UserError(
                    f"{self.path(name)}, line {number}: expected a name and its type, found "
                    f"`{printable(' '.join(words))}`. Without it all later names would be shifted. "
                    "Unpack the file again."
                )
            pairs.append((" ".join(words[:-1]), words[-1]))
        return pairs

    def beside(self, names: Sequence[str]) -> Iterator[list[_Line]]:
        """The lines of files that belong together line by line; blank ones at the end are not."""
        blank: list[tuple[_Line | None, ...]] = []
        for lines in zip_longest(*(self._lines(name) for name in names)):
            if not any(line and line[1] for line in lines):
                blank.append(lines)
                continue
            for complete in (*blank, lines):
                if missing := [
                    name for name, line in zip(names, complete, strict=True) if line is None
                ]:
                    raise UserError(
                        f"{self.path(missing[0])} has fewer lines than the files that it belongs "
                        f"to line by line ({', '.join(names)}), so nobody knows which are missing. "
                        "Unpack them again."
                    )
                yield [line for line in complete if line]
            blank.clear()

    def _lines(self, name: str) -> Iterator[_Line]:
        path = self.path(name)
        try:
            file = self._files.enter_context(opened(path))
        except OSError as error:
            raise UserError(
                f"{path} cannot be read: {error.strerror or error}. Check that you may read it."
            ) from error
        try:
            text = io.TextIOWrapper(file, self._source.encoding, errors="surrogateescape")
            for number, line in enumerate(text, start=1):
                yield number, line.split()
        except (LookupError, UnicodeError) as error:
            raise UserError(
                f"{path} cannot be read as {self._source.encoding} ({error}). Set "
                "`catalog.encoding` to the encoding that it was saved in."
            ) from error


class _ByPath:
    """Finds the line of a picture in a file whose lines begin with a path.

    The files have one order as a rule: then nothing is kept. What stands before the line that is
    sought is kept until it is sought itself.
    """

    def __init__(self, name: str, texts: _Texts) -> None:
        self.name = name
        self._lines = texts.listed(name)
        self._passed: dict[str, list[_Line]] = {}

    def take(self, path: str) -> _Line | None:
        """The number and the words behind the path of the next line of `path`; None if none."""
        if kept := self._passed.get(path):
            line = kept.pop(0)
            if not kept:
                del self._passed[path]
            return line
        for number, (found, *words) in self._lines:
            if found == path:
                return number, words
            self._passed.setdefault(found, []).append((number, words))
        return None

    def rest(self, owner: str) -> Iterator[_Record]:
        """A fault for every line that was never taken."""
        for number, (path, *words) in self._lines:
            self._passed.setdefault(path, []).append((number, words))
        fault = _Fault(self.name, Reason.MISSING_ANNOTATION, f"no line in {owner}")
        for path, lines in self._passed.items():
            for number, _ in lines:
                yield _Record(number, path, {}, fault=fault)


def _require_length(name: str, number: int, words: Sequence[str], length: int) -> None:
    if len(words) != length:
        found = f"line {number}: {len(words)} values, expected {length}: {' '.join(words)}"
        raise _Fault(name, Reason.WRONG_FIELDS, found)


def _one_of(known: Mapping[str, str], name: str, number: int, words: Sequence[str]) -> str:
    _require_length(name, number, words, 1)
    if words[0] not in known:
        found = f"line {number}: {words[0]}, expected {', '.join(known)}"
        raise _Fault(name, Reason.BAD_VALUE, found)
    return known[words[0]]


def _category(
    name: str, number: int, words: Sequence[str], categories: Sequence[tuple[str, str]]
) -> dict[str, str]:
    _require_length(name, number, words, 1)
    # 1 is the first.
    if not words[0].isdecimal() or not 1 <= int(words[0]) <= len(categories):
        found = f"line {number}: {words[0]}, but {_CATEGORY_CLOTH} lists 1 to {len(categories)}"
        raise _Fault(name, Reason.BAD_VALUE, found)
    category, kind = categories[int(words[0]) - 1]
    return {CATEGORY: category, CATEGORY_TYPE: kind}


def _box(name: str, number: int, words: Sequence[str]) -> Box:
    _require_length(name, number, words, 4)
    try:
        x1, y1, x2, y2 = map(int, words)
    except ValueError:
        found = f"line {number}: {' '.join(words)}, expected whole numbers"
        raise _Fault(name, Reason.BAD_VALUE, found) from None
    return x1, y1, x2, y2


def _positive(
    name: str, number: int, words: Sequence[str], attributes: Sequence[_Attribute]
) -> dict[str, list[str]]:
    """The names of the positive attributes by group; negative and unknown ones are left out."""
    _require_length(name, number, words, len(attributes))
    if strange := sorted(set(words) - _ATTRIBUTE_VALUES):
        found = f"line {number}: {', '.join(strange)}, expected 1, 0 or -1"
        raise _Fault(name, Reason.BAD_VALUE, found)
    labels: dict[str, list[str]] = {}
    for attribute, word in zip(attributes, words, strict=True):
        if word == _POSITIVE:
            labels.setdefault(attribute.group, []).append(attribute.name)
    return labels
