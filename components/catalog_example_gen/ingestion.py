"""The Beam pipeline from rows and a folder of pictures to Examples, rejects and conflicts.

It works on parts of the catalog: what belongs together by a hash of its name falls into one part,
and a part fits in memory. Records go from stage to stage through files (`spill`); what Beam itself
carries is where they are, and counts. So memory does not grow with the catalog, but for the packed
arrays of `division`.

Pictures are read twice: first to check, measure and hash them, then, when every product's side is
known, to write them. The second reading finds the files in the system's cache.
"""

from __future__ import annotations

import json
import os
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, NamedTuple

import apache_beam as beam
import numpy as np

from components.catalog_example_gen import folder, pictures, sampling, splits
from components.catalog_example_gen.conflicts import (
    CONFLICTS_FILE,
    COUNTS_FILE,
    Conflict,
    LabelConflicts,
    write_conflicts,
    write_counts,
)
from components.catalog_example_gen.division import Candidates, Rules, divide
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
from components.catalog_example_gen.rows import Columns, Product
from components.catalog_example_gen.sources import Source
from components.catalog_example_gen.spill import Chunk, Spill, read_chunk, read_sorted, write_chunk
from components.catalog_example_gen.storage import created, is_url, opened
from schema import features
from schema.pictures import MOST_BYTES

_REJECTS_AT_ONCE = 10_000

_MAIN = "main"
_REPORTED = "reported"
_MENTIONS = "mentions"
_DRAWS = "draws"

# Keys of the counts that every stage adds to; summary.json is made of them.
_ROWS = ("rows",)
_CAPPED = ("capped",)
_NOT_SAMPLED = ("not_sampled",)
_GROUPS = ("groups",)
_UNNAMED = ("pictures_without_row",)


def parts_of(rows: int) -> int:
    """Into how many parts a catalog is divided: each is one file of every split.

    About 2,000 rows are a part. A small catalog has some parts too, so that workers can share it,
    and a huge one at most 512, which then grow: every part of a stage writes for all of the next.
    """
    return max(1, min(rows // 100, 8), min(rows // 2_000, 512))


@dataclass(frozen=True)
class Plan:
    """What to ingest and where to put it; travels to every worker.

    Attributes:
        source: Where the rows come from.
        images: Path or URL of the folder of pictures.
        columns: What the rows' columns mean.
        domains: Allowed labels of the levels that the schema closes.
        class_cap: A category is cut to so many times the mean category's size; None for no cut.
        sample: Products that are used at most; None for all.
        stored_side: Longest side in pixels of a stored picture.
        seed: Of the split.
        policy: `stable` or `exact`; see `splits`.
        near_duplicate_bits: Hashes of one group differ in at most so many bits.
        given_splits: Splits that the catalog itself names; none where the policy divides.
        eval_part: Part of the groups that goes to `eval`, in [0, 1].
        test_part: Part of the groups that goes to `test`, in [0, 1].
        parts: Into how many the catalog is divided.
        examples: Folder for the splits' folders.
        rejects: Folder for rejects.csv and summary.json.
        conflicts: Folder for conflicts.csv and conflicts.json.
        scratch: Folder for files that the pipeline needs only while it runs.
        progress: File that the workers mark their progress in.
    """

    source: Source
    images: str
    columns: Columns
    domains: Mapping[str, Sequence[str]]
    class_cap: float | None
    sample: int | None
    stored_side: int
    seed: int
    policy: str
    near_duplicate_bits: int
    given_splits: frozenset[str]
    eval_part: float
    test_part: float
    parts: int
    examples: str
    rejects: str
    conflicts: str
    scratch: str
    progress: str

    @property
    def rules(self) -> Rules:
        """How products are divided; a split that the catalog itself names is not drawn."""
        test = 0.0 if features.TEST in self.given_splits else self.test_part
        evaluation = 0.0 if features.EVAL in self.given_splits else self.eval_part
        return Rules(
            seed=self.seed,
            policy=self.policy,
            near_duplicate_bits=self.near_duplicate_bits,
            cuts=splits.Cuts(test, test + evaluation),
            given=bool(self.given_splits),
        )

    @property
    def picture_column(self) -> str:
        """The column that names the picture."""
        return self.columns.picture or self.columns.id

    def part(self, key: bytes) -> int:
        """The part that a name belongs to."""
        return zlib.crc32(key) % self.parts

    def example_file(self, split: str, part: int) -> str:
        """Where the Examples of a part go."""
        name = f"data_tfrecord-{part:05d}-of-{self.parts:05d}.gz"
        return f"{self.examples}/Split-{split}/{name}"


class _File(NamedTuple):
    """A file that may be a product's picture. The path is bytes: names need not be text."""

    path: bytes
    is_picture: bool
    inside: bool


class _WithFile(NamedTuple):
    """A product and the file that is its picture, not yet looked into."""

    product: Product
    path: bytes


class _Pictured(NamedTuple):
    """A product with a sound picture.

    `digest` tells at the second reading whether the file is still the one that was checked.
    """

    product: Product
    path: bytes
    measured: pictures.Measured
    digest: bytes


class _Checked(NamedTuple):
    """A part whose pictures were looked into: where its `_Pictured` and its `Candidates` are."""

    part: int
    products: Chunk
    candidates: Chunk


class _Divided(NamedTuple):
    """A part whose products' sides are known: bytes, in the order of the products."""

    part: int
    products: Chunk
    sides: bytes


def ingest(pipeline: beam.Pipeline, plan: Plan) -> None:
    """Adds the whole ingest to `pipeline`; its results are files, listed in `Plan`.

    Beside its main output every step has one of what is to be reported: chunks of rejects,
    conflicts, and counts.
    """
    start = pipeline | "Start" >> beam.Impulse()
    rows = start | "ReadRows" >> _step(_ReadRows(plan), _MENTIONS)
    files = start | "ListFiles" >> beam.ParDo(_ListFiles(plan))
    first = rows[_MAIN] | "ById" >> beam.GroupByKey() | "KeepFirst" >> _step(_KeepFirst(plan))
    with_file = (
        (files, first[_MAIN], rows[_MENTIONS])
        | "FilesAndProducts" >> beam.Flatten()
        | "ByPicture" >> beam.GroupByKey()
        | "JoinFiles" >> _step(_JoinFiles(plan), _DRAWS)
    )
    bounds = _sample_bounds(with_file[_DRAWS], plan)
    checked = with_file[_MAIN] | "CheckPictures" >> _step(_CheckPictures(plan), sides=bounds)
    divided = (
        checked[_MAIN]
        | "AllChecked" >> beam.GroupBy(lambda _: None)
        | "Divide" >> _step(_Divide(plan))
    )
    written = divided[_MAIN] | "ToAllWorkers" >> beam.Reshuffle() | "Write" >> _step(_Write(plan))
    (
        [step[_REPORTED] for step in (rows, first, with_file, checked, divided, written)]
        | "AllReported" >> beam.Flatten()
        | "ReportedInOne" >> beam.GroupBy(lambda _: None)
        | "Report" >> beam.ParDo(_Report(plan))
    )


def _step(
    fn: beam.DoFn, *outputs: str, sides: Sequence[beam.pvalue.AsSideInput] = ()
) -> beam.PTransform:
    return beam.ParDo(fn, *sides).with_outputs(_REPORTED, *outputs, main=_MAIN)


def _sample_bounds(draws: beam.PCollection, plan: Plan) -> list[beam.pvalue.AsSideInput]:
    """Of each category the draws below which a product stays; none where all stay."""
    if not (plan.class_cap or plan.sample):
        return []
    bounds = (
        draws
        | "DrawsInOne" >> beam.GroupBy(lambda _: None)
        | "Bounds" >> beam.Map(_bounds, plan.class_cap, plan.sample)
    )
    return [beam.pvalue.AsSingleton(bounds, default_value={})]


def _bounds(
    draws: tuple[None, Iterable[tuple[str, np.ndarray]]],
    class_cap: float | None,
    sample: int | None,
) -> dict[str, tuple[float, float]]:
    of_category = defaultdict(list)
    for category, drawn in draws[1]:
        of_category[category].append(drawn)
    joined = {category: np.concatenate(drawn) for category, drawn in of_category.items()}
    sizes = {category: len(drawn) for category, drawn in joined.items()}
    quotas = sampling.quotas(sizes, class_cap, sample)
    return {
        category: sampling.bounds(drawn, *quotas[category]) for category, drawn in joined.items()
    }


def _routed(chunks: Iterable[tuple[tuple[str, int], Chunk]]) -> Iterator[Any]:
    """Chunks whose key is (output, part), each to its output."""
    for (output, part), chunk in chunks:
        element = (part, chunk)
        yield element if output == _MAIN else beam.pvalue.TaggedOutput(output, element)


def _reported(*results: Conflict | Counter[tuple[str, ...]]) -> Iterator[Any]:
    for result in results:
        yield beam.pvalue.TaggedOutput(_REPORTED, result)


def _rejected(rejects: list[Reject], plan: Plan) -> Iterator[Any]:
    if rejects:
        yield beam.pvalue.TaggedOutput(_REPORTED, write_chunk(sorted(rejects), plan.scratch))


class _ReadRows(beam.DoFn):
    """To chunks of (picture, Product) by id; of the other rows' pictures' names, and of rejects."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan

    def process(self, _: bytes) -> Iterator[Any]:
        plan = self._plan
        rows = 0
        labels = LabelConflicts()
        rejects: list[Reject] = []
        spill = Spill(plan.scratch)
        for picture, result in plan.source.rows(plan.domains, plan.seed, plan.eval_part):
            rows += 1
            if isinstance(result, Product):
                labels.add(result)
                part = plan.part(folder.key(result.id))
                yield from _routed(spill.add((_MAIN, part), (picture, result)))
                continue
            if picture:
                key = folder.key(picture)
                yield from _routed(spill.add((_MENTIONS, plan.part(key)), (key, None)))
            rejects.append(result)
            if len(rejects) == _REJECTS_AT_ONCE:
                yield from _rejected(rejects, plan)
                rejects.clear()
        yield from _rejected(rejects, plan)
        yield from _routed(spill.flush())
        yield from _reported(Counter({_ROWS: rows}), *labels.found())


class _ListFiles(beam.DoFn):
    """To chunks of (name under which rows look the file up, _File)."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan

    def process(self, _: bytes) -> Iterator[tuple[int, Chunk]]:
        plan = self._plan
        spill = Spill(plan.scratch)
        for found in folder.files_below(plan.images):
            stem = os.path.splitext(os.path.basename(found.path))[0]
            key = folder.key(found.path if plan.columns.picture else stem)
            file = _File(os.fsencode(found.path), found.is_picture, found.inside)
            yield from spill.add(plan.part(key), (key, file))
        yield from spill.flush()


class _KeepFirst(beam.DoFn):
    """Of the rows with one id, the first goes on to chunks of (picture, Product) by picture."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan

    def process(self, part: tuple[int, Iterable[Chunk]]) -> Iterator[Any]:
        plan = self._plan
        spill = Spill(plan.scratch)
        first: dict[bytes, int] = {}
        rejects = []
        for picture, product in _in_order_of_rows(part[1]):
            key, product_id = folder.key(picture), folder.key(product.id)
            if product_id not in first:
                first[product_id] = product.row
                yield from spill.add(plan.part(key), (key, product))
                continue
            found = f"row {first[product_id]} has it already"
            rejects.append(
                Reject(product.row, product.id, plan.columns.id, Reason.DOUBLED_ID, found)
            )
            yield from spill.add(plan.part(key), (key, None))
        yield from spill.flush()
        yield from _rejected(rejects, plan)


def _in_order_of_rows(chunks: Iterable[Chunk]) -> list[tuple[str, Product]]:
    records = [record for chunk in chunks for record in read_chunk(chunk)]
    return sorted(records, key=lambda record: record[1].row)


class _JoinFiles(beam.DoFn):
    """Joins products with their files: to chunks of _WithFile, one of each part."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan

    def process(self, part: tuple[int, Iterable[Chunk]]) -> Iterator[Any]:
        plan = self._plan
        files: defaultdict[bytes, list[_File]] = defaultdict(list)
        products: list[tuple[bytes, Product]] = []
        named: set[bytes] = set()
        for chunk in part[1]:
            for key, member in read_chunk(chunk):
                if isinstance(member, _File):
                    files[key].append(member)
                    continue
                named.add(key)
                if member:
                    products.append((key, member))
        unnamed = 0
        for key, of_key in files.items():
            of_key.sort(key=lambda file: folder.preference(os.fsdecode(file.path)))
            # Of several files by a product's name only the preferred one is the product's.
            unnamed += sum(file.is_picture for file in of_key[key in named :])
        yield from _reported(Counter({_UNNAMED: unnamed}))

        joined, rejects = [], []
        for key, product in sorted(products, key=lambda one: one[1].row):
            try:
                joined.append(_WithFile(product, self._choose(key, files.get(key, ())).path))
            except PictureError as error:
                rejects.append(_picture_reject(product, plan, error))
        yield from _rejected(rejects, plan)
        yield part[0], write_chunk(joined, plan.scratch)
        if plan.class_cap or plan.sample:
            draws = defaultdict(list)
            for product, _ in joined:
                draws[product.category].append(sampling.sample_draw(product.id))
            for category, drawn in draws.items():
                yield beam.pvalue.TaggedOutput(_DRAWS, (category, np.array(drawn)))

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
        if is_url(self._plan.images):
            return False
        return folder.leads_outside(name, self._plan.images)


class _CheckPictures(beam.DoFn):
    """Looks into the pictures that stay under the class cap and in the sample: to _Checked."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._progress = ProgressFile(plan.progress)

    def process(
        self,
        part: tuple[int, Chunk],
        bounds: Mapping[str, tuple[float, float]] | None = None,
    ) -> Iterator[Any]:
        plan = self._plan
        pictured, rejects = [], []
        counts: Counter[tuple[str, ...]] = Counter()
        for product, path in read_chunk(part[1]):
            if bounds and (left_out := _left_out(product, *bounds[product.category])):
                counts[left_out] += 1
                continue
            try:
                content = _read_picture(plan.images, path)
                measured = pictures.measured(content, product.box)
                pictured.append(_Pictured(product, path, measured, _digest(content)))
            except PictureError as error:
                rejects.append(_picture_reject(product, plan, error))
            self._progress.mark()
        self._progress.flush()
        yield from _rejected(rejects, plan)
        yield from _reported(counts)
        candidates = Candidates.packed((one.product, one.measured.look) for one in pictured)
        yield _Checked(
            part[0],
            write_chunk(pictured, plan.scratch),
            write_chunk([candidates], plan.scratch),
        )


def _left_out(product: Product, cap: float, sample: float) -> tuple[str, ...] | None:
    drawn = sampling.sample_draw(product.id)
    if drawn < sample:
        return None
    return _NOT_SAMPLED if drawn < cap else _CAPPED


def _read_picture(images: str, path: bytes) -> bytes:
    try:
        with opened(os.path.join(images, os.fsdecode(path))) as file:
            size = file.seek(0, os.SEEK_END)
            if size > MOST_BYTES:
                raise PictureError(Reason.TOO_LARGE, f"{size:,} bytes")
            file.seek(0)
            return file.read()
    except FileNotFoundError:
        raise PictureError(Reason.CHANGED_DURING_RUN, "the file is gone") from None
    except OSError as error:
        raise PictureError(Reason.UNREADABLE_FILE, error.strerror or str(error)) from error


def _digest(content: bytes) -> bytes:
    return blake2b(content, digest_size=8).digest()


def _picture_reject(product: Product, plan: Plan, error: PictureError) -> Reject:
    found = printable(error.found)
    return Reject(product.row, product.id, plan.picture_column, error.reason, found)


class _Divide(beam.DoFn):
    """Finds every product's side: to _Divided."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan

    def process(self, group: tuple[None, Iterable[_Checked]]) -> Iterator[Any]:
        parts = sorted(group[1])
        candidates = [one for part in parts for one in read_chunk(part.candidates)]
        division = divide(Candidates.joined(candidates), self._plan.rules)
        ends = np.cumsum([len(one.rows) for one in candidates])
        for part, sides in zip(parts, np.split(division.sides, ends[:-1]), strict=True):
            yield _Divided(part.part, part.products, sides.tobytes())
        yield from _reported(Counter({_GROUPS: division.groups}), *division.conflicts)


class _Write(beam.DoFn):
    """Reads a part's pictures again and writes its Examples, in an order that looks random."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._progress = ProgressFile(plan.progress)

    def process(self, part: _Divided) -> Iterator[Any]:
        of_split: list[list[_Pictured]] = [[] for _ in features.SPLITS]
        for pictured, side in zip(read_chunk(part.products), part.sides, strict=True):
            of_split[side].append(pictured)
        counts: Counter[tuple[str, ...]] = Counter()
        rejects: list[Reject] = []
        for split, members in zip(features.SPLITS, of_split, strict=True):
            # Ordered, so that a run on other workers writes the same bytes; not by row, because
            # catalogs are sorted and training shuffles only within a buffer.
            members.sort(key=lambda one: splits.draw("order", one.product.id))
            with created(self._plan.example_file(split, part.part)) as file:
                write_records(self._records(members, split, counts, rejects), file)
        self._progress.flush()
        yield from _reported(counts)
        yield from _rejected(rejects, self._plan)

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
                rejects.append(_picture_reject(product, self._plan, error))
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


class _Report(beam.DoFn):
    """Writes rejects.csv, conflicts.csv, conflicts.json and summary.json."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan

    def process(
        self, group: tuple[None, Iterable[Chunk | Conflict | Counter[tuple[str, ...]]]]
    ) -> None:
        plan = self._plan
        rejects: list[Chunk] = []
        conflicts: list[Conflict] = []
        counts: Counter[tuple[str, ...]] = Counter()
        for result in group[1]:
            if isinstance(result, Chunk):
                rejects.append(result)
            elif isinstance(result, Conflict):
                conflicts.append(result)
            else:
                counts.update(result)
        with created(f"{plan.rejects}/{REJECTS_FILE}") as file:
            by_reason = write_rejects(read_sorted(rejects, plan.scratch), file)
        with created(f"{plan.conflicts}/{CONFLICTS_FILE}") as file:
            by_kind = write_conflicts(conflicts, file)
        with created(f"{plan.conflicts}/{COUNTS_FILE}") as file:
            write_counts(by_kind, file)
        with created(f"{plan.rejects}/{SUMMARY_FILE}") as file:
            file.write(json.dumps(_summary(counts, by_reason), indent=2).encode())


def _summary(counts: Counter[tuple[str, ...]], by_reason: Counter[str]) -> dict[str, Any]:
    by_split = dict.fromkeys(features.SPLITS, 0)
    by_category: dict[str, dict[str, int]] = {}
    for key, number in sorted(counts.items()):
        if key[0] == "products":
            _, split, category = key
            by_split[split] += number
            by_category.setdefault(category, dict.fromkeys(features.SPLITS, 0))[split] = number
    return {
        "rows": counts[_ROWS],
        "accepted": sum(by_split.values()),
        "rejected": by_reason.total(),
        "capped": counts[_CAPPED],
        "not_sampled": counts[_NOT_SAMPLED],
        "groups": counts[_GROUPS],
        "pictures_without_row": counts[_UNNAMED],
        "rejected_by_reason": dict(sorted(by_reason.items(), key=lambda item: (-item[1], item))),
        "products_by_split": by_split,
        "products_by_category": by_category,
    }
