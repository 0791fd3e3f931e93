"""The Beam pipeline from the rows and the folder of pictures to Examples and rejects.

Pictures are read twice: first to check, measure and hash them, then, when the split of every group
is known, to write them. So nothing that flows between the stages, and is kept in memory by some
runners, ever holds a picture. The second reading finds the files in the system's cache.
"""

from __future__ import annotations

import hashlib
import json
import os
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any, NamedTuple

import apache_beam as beam
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems

from components.catalog_example_gen import folder, pictures, splits
from components.catalog_example_gen.examples import serialized_example, write_records
from components.catalog_example_gen.pictures import PictureError
from components.catalog_example_gen.progress import ProgressFile
from components.catalog_example_gen.rejects import (
    REJECTS_FILE,
    SUMMARY_FILE,
    Reason,
    Reject,
    printable,
    write_rejects,
)
from components.catalog_example_gen.rows import Columns, Product, sample_draw
from components.catalog_example_gen.sources import Source
from schema import features

_PRODUCTS_A_SHARD = 2_000
_REJECTED = "rejected"
_COUNTED = "counted"

# Keys of the counts that every stage adds to; summary.json is made of them.
_ROWS = ("rows",)
_NOT_SAMPLED = ("not_sampled",)
_UNNAMED = ("pictures_without_row",)


@dataclass(frozen=True)
class Plan:
    """What to ingest and where to put it; travels to every worker.

    Attributes:
        source: Where the rows come from.
        images: Path of the folder of pictures.
        columns: What the rows' columns mean.
        domains: Allowed labels of the levels that the schema closes.
        sampled_below: Products whose `rows.sample_draw` is not below it are left out.
        stored_side: Longest side in pixels of a stored picture.
        seed: Of the split.
        eval_part: Part of the groups that goes to `eval`, in [0, 1].
        test_part: Part of the groups that goes to `test`, in [0, 1].
        rows: How many there are, from which the number of shards follows.
        examples: Folder for the splits' folders.
        rejects: Folder for rejects.csv and summary.json.
        progress: File that the workers mark their progress in.
    """

    source: Source
    images: str
    columns: Columns
    domains: Mapping[str, Sequence[str]]
    sampled_below: float
    stored_side: int
    seed: int
    eval_part: float
    test_part: float
    rows: int
    examples: str
    rejects: str
    progress: str

    def shards(self, split: str) -> int:
        """Files that a split is divided into."""
        part = {features.EVAL: self.eval_part, features.TEST: self.test_part}.get(
            split, 1 - self.eval_part - self.test_part
        )
        return max(1, round(self.rows * part / _PRODUCTS_A_SHARD))

    def shard_path(self, split: str, shard: int) -> str:
        """Where one file of a split goes."""
        name = f"data_tfrecord-{shard:05d}-of-{self.shards(split):05d}.gz"
        return FileSystems.join(self.examples, f"Split-{split}", name)


class _File(NamedTuple):
    """A file that may be a product's picture. The path is bytes: names need not be text."""

    path: bytes
    is_picture: bool
    inside: bool


class _Pictured(NamedTuple):
    """A product with a sound picture.

    `digest` tells at the second reading whether the file is still the one that was checked.
    """

    product: Product
    path: bytes
    measured: pictures.Measured
    digest: bytes


def ingest(pipeline: beam.Pipeline, plan: Plan) -> None:
    """Adds the whole ingest to `pipeline`; its results are files, listed in `Plan`."""
    start = pipeline | "Start" >> beam.Create([None])
    rows = start | "ReadRows" >> beam.ParDo(_ReadRows(plan)).with_outputs(
        _REJECTED, _COUNTED, "mentions", main="products"
    )
    files = start | "ListFiles" >> beam.ParDo(_ListFiles(plan))
    first = (
        rows.products
        | "ById" >> beam.GroupByKey()
        | "KeepFirst" >> beam.ParDo(_KeepFirst(plan)).with_outputs(_REJECTED, main="products")
    )
    pictured = (
        (files, first.products, rows.mentions)
        | "FilesAndProducts" >> beam.Flatten()
        | "ByPicture" >> beam.GroupByKey()
        | "CheckPictures"
        >> beam.ParDo(_CheckPictures(plan)).with_outputs(_REJECTED, _COUNTED, main="products")
    )
    always_learned = (
        pictured.products
        | "Labels" >> beam.FlatMap(_drawn_group_by_label, plan.seed)
        | "HighestDraw" >> beam.CombinePerKey(max)
        | "Groups" >> beam.Map(lambda label_and_draw: (label_and_draw[1][1], None))
    )
    written = (
        pictured.products
        | "Split" >> beam.Map(_with_shard, plan, beam.pvalue.AsDict(always_learned))
        | "ByShard" >> beam.GroupByKey()
        | "WriteShards" >> beam.ParDo(_WriteShard(plan)).with_outputs(_REJECTED, main="counted")
    )
    rejected = (
        (rows[_REJECTED], first[_REJECTED], pictured[_REJECTED], written[_REJECTED])
        | "Rejects" >> beam.Flatten()
        | "OneFile" >> beam.Map(lambda reject: (None, reject))
    )
    listed = (
        (rejected, start | "FileEvenIfNone" >> beam.Map(lambda _: (None, None)))
        | "RejectsOrNone" >> beam.Flatten()
        | "TogetherRejects" >> beam.GroupByKey()
        | "WriteRejects" >> beam.ParDo(_WriteRejects(plan))
    )
    (
        (rows[_COUNTED], pictured[_COUNTED], written.counted, listed)
        | "Counts" >> beam.Flatten()
        | "Sum" >> beam.CombinePerKey(sum)
        | "TogetherCounts" >> beam.GroupBy(lambda _: None)
        | "WriteSummary" >> beam.ParDo(_WriteSummary(plan))
    )


def _key(name: str) -> bytes:
    """Makes names equal that look equal: macOS stores decomposed letters."""
    if not name.isascii():
        name = unicodedata.normalize("NFC", name)
    return name.encode("utf-8", "surrogateescape")


class _ReadRows(beam.DoFn):
    """To (id, (picture, Product)); picture names of all other rows go to `mentions`."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan

    def process(self, _: None) -> Iterator[Any]:
        plan = self._plan
        counts: Counter[tuple[str, ...]] = Counter()
        for picture, result in plan.source.rows(opened, plan.domains, plan.seed, plan.eval_part):
            sampled = not result.id or sample_draw(result.id) < plan.sampled_below
            counts[_ROWS if sampled else _NOT_SAMPLED] += 1
            if sampled and isinstance(result, Product):
                yield _key(result.id), (picture, result)
                continue
            if sampled:
                yield beam.pvalue.TaggedOutput(_REJECTED, result)
            if picture:
                yield beam.pvalue.TaggedOutput("mentions", (_key(picture), None))
        for count in counts.items():
            yield beam.pvalue.TaggedOutput(_COUNTED, count)


class _ListFiles(beam.DoFn):
    """To (name under which rows look the file up, _File)."""

    def __init__(self, plan: Plan) -> None:
        self._by_path = plan.columns.picture is not None
        self._images = plan.images

    def process(self, _: None) -> Iterator[tuple[bytes, _File]]:
        for found in folder.files_below(self._images):
            stem = os.path.splitext(os.path.basename(found.path))[0]
            name = found.path if self._by_path else stem
            yield _key(name), _File(os.fsencode(found.path), found.is_picture, found.inside)


class _KeepFirst(beam.DoFn):
    """Of the rows with one id, the first goes on to (picture, Product)."""

    def __init__(self, plan: Plan) -> None:
        self._column = plan.columns.id

    def process(self, group: tuple[bytes, Iterable[tuple[str, Product]]]) -> Iterator[Any]:
        (picture, kept), *others = sorted(group[1], key=lambda named: named[1].row)
        yield _key(picture), kept
        for mentioned, product in others:
            found = f"row {kept.row} has it already"
            yield beam.pvalue.TaggedOutput(
                _REJECTED,
                Reject(product.row, product.id, self._column, Reason.DOUBLED_ID, found),
            )
            if mentioned != picture:
                yield _key(mentioned), None


class _CheckPictures(beam.DoFn):
    """Joins products with their files and looks into the pictures: to _Pictured."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._column = plan.columns.picture or plan.columns.id
        self._progress = ProgressFile(plan.progress)

    def process(self, group: tuple[bytes, Iterable[_File | Product | None]]) -> Iterator[Any]:
        key, members = group
        files, products, mentioned = [], [], False
        for member in members:
            if isinstance(member, _File):
                files.append(member)
            elif member is None:
                mentioned = True
            else:
                products.append(member)
        files.sort(key=_preference)
        # Of several files by a product's name only the preferred one is the product's.
        unnamed = files[1:] if products or mentioned else files
        if number := sum(file.is_picture for file in unnamed):
            yield beam.pvalue.TaggedOutput(_COUNTED, (_UNNAMED, number))
        for product in products:
            try:
                file = self._choose(key, files)
                content = _read_picture(self._plan.images, file.path)
                measured = pictures.measured(content, product.box)
            except PictureError as error:
                yield beam.pvalue.TaggedOutput(
                    _REJECTED, _picture_reject(product, self._column, error)
                )
            else:
                yield _Pictured(product, file.path, measured, _digest(content))
            self._progress.mark()

    def finish_bundle(self) -> None:
        self._progress.flush()

    def _choose(self, key: bytes, files: Sequence[_File]) -> _File:
        if not files:
            name = os.fsdecode(key)
            if self._plan.columns.picture and self._leads_outside(name):
                raise PictureError(Reason.OUTSIDE_IMAGES, name)
            expected = name if self._plan.columns.picture else f"{name}.jpg or another suffix"
            raise PictureError(Reason.MISSING_PICTURE, f"no file {expected}")
        file = files[0]
        if not file.inside:
            raise PictureError(Reason.OUTSIDE_IMAGES, f"a link: {os.fsdecode(file.path)}")
        if not file.is_picture:
            raise PictureError(Reason.WRONG_SUFFIX, os.fsdecode(file.path))
        return file

    def _leads_outside(self, name: str) -> bool:
        root = os.path.realpath(self._plan.images)
        path = os.path.join(root, name)
        return os.path.lexists(path) and not folder.is_inside(path, root)


def _preference(file: _File) -> tuple[int, bytes]:
    suffix = os.path.splitext(os.fsdecode(file.path))[1].lower()
    known = pictures.SUFFIXES
    return (known.index(suffix) if suffix in known else len(known)), file.path


def _read_picture(images: str, path: bytes) -> bytes:
    full = os.path.join(images, os.fsdecode(path))
    try:
        with open(full, "rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            if size > pictures.MOST_BYTES:
                raise PictureError(Reason.TOO_LARGE, f"{size:,} bytes")
            return file.readall()
    except FileNotFoundError:
        raise PictureError(Reason.CHANGED_DURING_RUN, "the file is gone") from None
    except OSError as error:
        raise PictureError(Reason.UNREADABLE_FILE, error.strerror or str(error)) from error


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=8).digest()


def _picture_reject(product: Product, column: str, error: PictureError) -> Reject:
    return Reject(product.row, product.id, column, error.reason, printable(error.found))


def _drawn_group_by_label(
    pictured: _Pictured, seed: int
) -> Iterator[tuple[tuple[str, str], tuple[float, str]]]:
    group = pictured.measured.group
    drawn = (splits.draw(seed, group), group)
    yield (features.CATEGORY, pictured.product.category), drawn
    yield (features.SUBCATEGORY, pictured.product.subcategory), drawn


def _with_shard(
    pictured: _Pictured, plan: Plan, always_learned: Mapping[str, None]
) -> tuple[tuple[str, int], _Pictured]:
    group = pictured.measured.group
    split = pictured.product.split or features.TRAIN
    if not pictured.product.split and group not in always_learned:
        split = splits.side(splits.draw(plan.seed, group), plan.eval_part, plan.test_part)
    shard = int(splits.draw("shard", pictured.product.id) * plan.shards(split))
    return (split, shard), pictured


class _WriteShard(beam.DoFn):
    """Reads a shard's pictures again and writes its Examples, in an order that looks random."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._column = plan.columns.picture or plan.columns.id
        self._progress = ProgressFile(plan.progress)

    def process(self, group: tuple[tuple[str, int], Iterable[_Pictured]]) -> Iterator[Any]:
        (split, shard), members = group
        # Ordered, so that a run on other workers writes the same bytes; not by row, because
        # catalogs are sorted and training shuffles only within a buffer.
        members = sorted(members, key=lambda one: splits.draw("order", one.product.id))
        counts: Counter[tuple[str, ...]] = Counter()
        rejects: list[Reject] = []
        with created(self._plan.shard_path(split, shard)) as file:
            write_records(self._records(members, split, counts, rejects), file)
        self._progress.flush()
        yield from counts.items()
        for reject in rejects:
            yield beam.pvalue.TaggedOutput(_REJECTED, reject)

    def _records(
        self,
        members: Iterable[_Pictured],
        split: str,
        counts: Counter[tuple[str, ...]],
        rejects: list[Reject],
    ) -> Iterator[bytes]:
        for product, path, measured, digest in members:
            self._progress.mark()
            try:
                content = _read_picture(self._plan.images, path)
                if _digest(content) != digest:
                    raise PictureError(Reason.CHANGED_DURING_RUN, "other bytes than at first")
                image = pictures.stored(content, measured, self._plan.stored_side, product.box)
            except PictureError as error:
                rejects.append(_picture_reject(product, self._column, error))
                continue
            counts["products", split, product.category] += 1
            slices = zip(self._plan.columns.slices, product.slices, strict=True)
            yield serialized_example(
                {
                    features.ID: product.id.encode(),
                    features.IMAGE: image,
                    features.CATEGORY: product.category.encode(),
                    features.SUBCATEGORY: product.subcategory.encode(),
                    features.ATTRIBUTES: [label.encode() for label in product.attributes],
                    features.IMAGE_HEIGHT: measured.height,
                    features.IMAGE_WIDTH: measured.width,
                    features.IMAGE_ASPECT: measured.aspect,
                    features.IMAGE_BRIGHTNESS: measured.brightness,
                    features.IMAGE_SHARPNESS: measured.sharpness,
                    **{column: value.encode() for column, value in slices},
                }
            )


class _WriteRejects(beam.DoFn):
    """Writes rejects.csv and counts what it wrote."""

    def __init__(self, plan: Plan) -> None:
        self._path = FileSystems.join(plan.rejects, REJECTS_FILE)

    def process(
        self, group: tuple[None, Iterable[Reject | None]]
    ) -> Iterator[tuple[tuple[str, ...], int]]:
        rejects = [reject for reject in group[1] if reject]
        with created(self._path) as file:
            write_rejects(rejects, file)
        yield from Counter(("rejected", str(reject.reason)) for reject in rejects).items()


class _WriteSummary(beam.DoFn):
    """Writes summary.json out of all counts."""

    def __init__(self, plan: Plan) -> None:
        self._path = FileSystems.join(plan.rejects, SUMMARY_FILE)

    def process(self, group: tuple[None, Iterable[tuple[tuple[str, ...], int]]]) -> None:
        with created(self._path) as file:
            file.write(json.dumps(_summary(dict(group[1])), indent=2).encode())


def _summary(counts: Mapping[tuple[str, ...], int]) -> dict[str, Any]:
    by_reason = {key[1]: n for key, n in counts.items() if key[0] == "rejected"}
    by_split = dict.fromkeys(features.SPLITS, 0)
    by_category: dict[str, dict[str, int]] = {}
    for key, number in sorted(counts.items()):
        if key[0] == "products":
            _, split, category = key
            by_split[split] += number
            by_category.setdefault(category, dict.fromkeys(features.SPLITS, 0))[split] = number
    return {
        "rows": counts.get(_ROWS, 0),
        "accepted": sum(by_split.values()),
        "rejected": sum(by_reason.values()),
        "not_sampled": counts.get(_NOT_SAMPLED, 0),
        "pictures_without_row": counts.get(_UNNAMED, 0),
        "rejected_by_reason": dict(sorted(by_reason.items(), key=lambda item: (-item[1], item))),
        "products_by_split": by_split,
        "products_by_category": by_category,
    }


def opened(path: str) -> IO[bytes]:
    """Opens a file for reading on any of Beam's file systems."""
    return FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED)


def created(path: str) -> IO[bytes]:
    """Opens a new file for writing on any of Beam's file systems; its folder is made."""
    return FileSystems.create(path, compression_type=CompressionTypes.UNCOMPRESSED)
