"""The Beam pipeline from rows and a folder of pictures to Examples, rejects and conflicts.

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
import numpy as np
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems

from components.catalog_example_gen import folder, near_duplicates, pictures, sampling, splits
from components.catalog_example_gen.conflicts import (
    CONFLICTS_FILE,
    COUNTS_FILE,
    Conflict,
    LabelConflicts,
    same_picture_conflict,
    write_conflicts,
    write_counts,
)
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
from components.catalog_example_gen.splits import Cuts
from schema import features

_PRODUCTS_A_SHARD = 2_000
_REJECTED = "rejected"
_COUNTED = "counted"
_CONFLICTS = "conflicts"

# Keys of the counts that every stage adds to; summary.json is made of them.
_ROWS = ("rows",)
_CAPPED = ("capped",)
_NOT_SAMPLED = ("not_sampled",)
_GROUPS = ("groups",)
_UNNAMED = ("pictures_without_row",)


@dataclass(frozen=True)
class Plan:
    """What to ingest and where to put it; travels to every worker.

    Attributes:
        source: Where the rows come from.
        images: Path of the folder of pictures.
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
        rows: How many there are, from which the number of shards follows.
        examples: Folder for the splits' folders.
        rejects: Folder for rejects.csv and summary.json.
        conflicts: Folder for conflicts.csv and conflicts.json.
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
    rows: int
    examples: str
    rejects: str
    conflicts: str
    progress: str

    @property
    def parts(self) -> Cuts:
        """Which part of the groups each split gets; where the catalog names it, nothing."""
        test = 0.0 if features.TEST in self.given_splits else self.test_part
        evaluation = 0.0 if features.EVAL in self.given_splits else self.eval_part
        return Cuts(test, test + evaluation)

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


class _Group(NamedTuple):
    """Products whose pictures are nearly the same, and what decides their side.

    `category` is the one that most of them have.
    """

    key: bytes
    draw: float
    size: int
    category: str
    categories: tuple[str, ...]
    subcategories: tuple[str, ...]


def ingest(pipeline: beam.Pipeline, plan: Plan) -> None:
    """Adds the whole ingest to `pipeline`; its results are files, listed in `Plan`."""
    start = pipeline | "Start" >> beam.Create([None])
    rows = start | "ReadRows" >> beam.ParDo(_ReadRows(plan)).with_outputs(
        _REJECTED, _COUNTED, _CONFLICTS, "mentions", main="products"
    )
    files = start | "ListFiles" >> beam.ParDo(_ListFiles(plan))
    first = (
        rows.products
        | "ById" >> beam.GroupByKey()
        | "KeepFirst" >> beam.ParDo(_KeepFirst(plan)).with_outputs(_REJECTED, main="products")
    )
    with_file = (
        (files, first.products, rows.mentions)
        | "FilesAndProducts" >> beam.Flatten()
        | "ByPicture" >> beam.GroupByKey()
        | "JoinFiles"
        >> beam.ParDo(_JoinFiles(plan)).with_outputs(_REJECTED, _COUNTED, main="products")
    )
    drawn, left_out = _sampled(with_file.products, plan)
    pictured = drawn | "CheckPictures" >> beam.ParDo(_CheckPictures(plan)).with_outputs(
        _REJECTED, main="products"
    )
    members = (
        pictured.products
        | "KeyByGroup" >> beam.Map(_with_group, _joined_looks(pictured.products, plan))
        | "ByGroup" >> beam.GroupByKey()
    )
    groups = members | "DescribeGroups" >> beam.ParDo(_DescribeGroup(plan)).with_outputs(
        _CONFLICTS, _COUNTED, main="groups"
    )
    written = (
        members
        | "Split" >> beam.FlatMap(_with_shard, plan, **_sides(groups.groups, plan))
        | "ByShard" >> beam.GroupByKey()
        | "WriteShards" >> beam.ParDo(_WriteShard(plan)).with_outputs(_REJECTED, main="counted")
    )
    rejections = (rows[_REJECTED], first[_REJECTED], with_file[_REJECTED], pictured[_REJECTED])
    listed = _in_one(start, "Rejects", *rejections, written[_REJECTED]) | "WriteRejects" >> (
        beam.ParDo(_WriteRejects(plan))
    )
    _in_one(start, "Conflicts", rows[_CONFLICTS], groups[_CONFLICTS]) | "WriteConflicts" >> (
        beam.ParDo(_WriteConflicts(plan))
    )
    counted = (rows[_COUNTED], with_file[_COUNTED], groups[_COUNTED], written.counted, listed)
    (
        (*counted, *left_out)
        | "Counts" >> beam.Flatten()
        | "Sum" >> beam.CombinePerKey(sum)
        | "TogetherCounts" >> beam.GroupBy(lambda _: None)
        | "WriteSummary" >> beam.ParDo(_WriteSummary(plan))
    )


def _in_one(start: beam.PCollection, name: str, *collections: beam.PCollection) -> beam.PCollection:
    """Gathers everything under one key, which is there even where nothing is."""
    none = start | f"{name}EvenIfNone" >> beam.Map(lambda _: None)
    return (
        (*collections, none)
        | f"All{name}" >> beam.Flatten()
        | f"{name}InOne" >> beam.GroupBy(lambda _: None)
    )


def _sampled(
    products: beam.PCollection, plan: Plan
) -> tuple[beam.PCollection, list[beam.PCollection]]:
    """Leaves out what is above the class cap and not in the sample; gives the rest, and counts."""
    if not (plan.class_cap or plan.sample):
        return products, []
    draws = products | "Draws" >> beam.Map(
        lambda one: (one.product.category, sampling.sample_draw(one.product.id))
    )
    quotas = (
        draws
        | "CategorySizes" >> beam.combiners.Count.PerKey()
        | "SizesInOne" >> beam.GroupBy(lambda _: None)
        | "Quotas"
        >> beam.FlatMap(
            lambda sizes: sampling.quotas(dict(sizes[1]), plan.class_cap, plan.sample).items()
        )
    )
    bounds = (
        draws
        | "ByCategory" >> beam.GroupByKey()
        | "Bounds"
        >> beam.Map(
            lambda drawn, quotas: (drawn[0], sampling.bounds(drawn[1], *quotas[drawn[0]])),
            beam.pvalue.AsDict(quotas),
        )
    )
    drawn = products | "Draw" >> beam.ParDo(_Draw(), beam.pvalue.AsDict(bounds)).with_outputs(
        _COUNTED, main="products"
    )
    return drawn.products, [drawn[_COUNTED]]


def _joined_looks(products: beam.PCollection, plan: Plan) -> beam.pvalue.AsDict:
    """Of every look that has near-duplicates, the look that stands for its group."""
    joined = (
        products
        | "Looks" >> beam.Map(lambda one: one.measured.look)
        | "EachLookOnce" >> beam.Distinct()
        | "LooksInOne" >> beam.GroupBy(lambda _: None)
        | "JoinLooks" >> beam.FlatMap(_join_looks, plan.near_duplicate_bits)
    )
    return beam.pvalue.AsDict(joined)


def _sides(groups: beam.PCollection, plan: Plan) -> dict[str, beam.pvalue.AsDict]:
    """Which groups a promise of `splits` holds on a side, and where each category is cut."""
    cuts = (
        groups
        | "OnlyIfExact" >> beam.Filter(lambda _: plan.policy == "exact")
        | "ByMainCategory" >> beam.Map(lambda one: (one.category, (one.draw, one.size)))
        | "GroupsOfCategory" >> beam.GroupByKey()
        | "Cut" >> beam.MapTuple(lambda name, of: (name, splits.exact_cuts(of, plan.parts)))
    )
    divided = groups | "OnlyIfNotGiven" >> beam.Filter(lambda _: not plan.given_splits)
    learned = (
        divided
        | "Categories"
        >> beam.FlatMap(lambda one: [(c, (one.draw, one.key)) for c in one.categories])
        | "HighestDraw" >> beam.CombinePerKey(max)
        | "Learned" >> beam.MapTuple(lambda _, highest: (highest[1], features.TRAIN))
    )
    judging = (
        divided
        | "NotLearned" >> beam.Filter(_not_among, beam.pvalue.AsDict(learned))
        | "OtherCategories"
        >> beam.FlatMap(
            lambda one: [(c, (one.draw, one.key, one.category)) for c in one.categories]
        )
        | "LowestDraw" >> beam.CombinePerKey(min)
        | "Judging" >> beam.FlatMap(_held_out, plan.parts, beam.pvalue.AsDict(cuts))
    )
    learned_too = (
        divided
        | "NotJudging" >> beam.Filter(_not_among, beam.pvalue.AsDict(judging))
        | "Subcategories"
        >> beam.FlatMap(lambda one: [(s, (one.draw, one.key)) for s in one.subcategories])
        | "HighestOfSubcategory" >> beam.CombinePerKey(max)
        | "LearnedToo" >> beam.MapTuple(lambda _, highest: (highest[1], features.TRAIN))
    )
    held = (learned, judging, learned_too) | "Held" >> beam.Flatten() | "Once" >> beam.Distinct()
    return {"cuts": beam.pvalue.AsDict(cuts), "held": beam.pvalue.AsDict(held)}


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
        rows = 0
        labels = LabelConflicts()
        for picture, result in plan.source.rows(opened, plan.domains, plan.seed, plan.eval_part):
            rows += 1
            if isinstance(result, Product):
                labels.add(result)
                yield _key(result.id), (picture, result)
                continue
            yield beam.pvalue.TaggedOutput(_REJECTED, result)
            if picture:
                yield beam.pvalue.TaggedOutput("mentions", (_key(picture), None))
        yield beam.pvalue.TaggedOutput(_COUNTED, (_ROWS, rows))
        for conflict in labels.found():
            yield beam.pvalue.TaggedOutput(_CONFLICTS, conflict)


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


class _JoinFiles(beam.DoFn):
    """Joins products with their files: to _WithFile."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._column = plan.columns.picture or plan.columns.id

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
                yield _WithFile(product, self._choose(key, files).path)
            except PictureError as error:
                yield beam.pvalue.TaggedOutput(
                    _REJECTED, _picture_reject(product, self._column, error)
                )

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


class _Draw(beam.DoFn):
    """Lets through what stays under the cap and in the sample."""

    def process(
        self, with_file: _WithFile, bounds: Mapping[str, tuple[float, float]]
    ) -> Iterator[Any]:
        drawn = sampling.sample_draw(with_file.product.id)
        cap, sample = bounds[with_file.product.category]
        if drawn >= cap:
            yield beam.pvalue.TaggedOutput(_COUNTED, (_CAPPED, 1))
        elif drawn >= sample:
            yield beam.pvalue.TaggedOutput(_COUNTED, (_NOT_SAMPLED, 1))
        else:
            yield with_file


class _CheckPictures(beam.DoFn):
    """Looks into the pictures: to _Pictured."""

    def __init__(self, plan: Plan) -> None:
        self._images = plan.images
        self._column = plan.columns.picture or plan.columns.id
        self._progress = ProgressFile(plan.progress)

    def process(self, with_file: _WithFile) -> Iterator[Any]:
        product, path = with_file
        try:
            content = _read_picture(self._images, path)
            measured = pictures.measured(content, product.box)
            yield _Pictured(product, path, measured, _digest(content))
        except PictureError as error:
            yield beam.pvalue.TaggedOutput(_REJECTED, _picture_reject(product, self._column, error))
        self._progress.mark()

    def finish_bundle(self) -> None:
        self._progress.flush()


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


def _join_looks(looks: tuple[None, Iterable[bytes]], most_bits: int) -> Iterator[tuple]:
    # A blank picture's look is shorter, and like no other.
    packed = bytearray()
    for look in looks[1]:
        if len(look) == near_duplicates.HASH_BYTES:
            packed += look
    hashes = np.frombuffer(packed, np.uint8).reshape(-1, near_duplicates.HASH_BYTES)
    # Ordered, so that the same catalog has the same groups on any number of workers.
    hashes = hashes[np.lexsort(hashes.T)]
    roots = near_duplicates.joined(hashes, most_bits)
    for index in np.flatnonzero(roots != np.arange(len(roots))):
        yield hashes[index].tobytes(), hashes[roots[index]].tobytes()


def _with_group(pictured: _Pictured, joined: Mapping[bytes, bytes]) -> tuple[bytes, _Pictured]:
    look = pictured.measured.look
    return joined.get(look, look), pictured


class _DescribeGroup(beam.DoFn):
    """To _Group; also tells whether its products' labels contradict each other."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan

    def process(self, group: tuple[bytes, Iterable[_Pictured]]) -> Iterator[Any]:
        key, members = group
        products = [member.product for member in members]
        categories = Counter(product.category for product in products)
        yield _Group(
            key,
            _group_draw(members, self._plan.seed),
            len(products),
            max(sorted(categories), key=lambda category: categories[category]),
            tuple(sorted(categories)),
            tuple(sorted({product.subcategory for product in products})),
        )
        yield beam.pvalue.TaggedOutput(_COUNTED, (_GROUPS, 1))
        if conflict := same_picture_conflict(products):
            yield beam.pvalue.TaggedOutput(_CONFLICTS, conflict)


def _group_draw(members: Iterable[_Pictured], seed: int) -> float:
    # The picture of the first product counts, by its id, so that neither the order of the rows nor
    # a copy that is added later moves the group. Shorter ids first: counted up, they grow.
    first = min(members, key=lambda one: (len(one.product.id), one.product.id))
    return splits.draw(seed, first.measured.look.hex())


def _not_among(group: _Group, keys: Mapping[bytes, str]) -> bool:
    return group.key not in keys


def _held_out(
    lowest: tuple[str, tuple[float, bytes, str]], parts: Cuts, cuts: Mapping[str, Cuts]
) -> Iterator[tuple[bytes, str]]:
    _, (drawn, key, category) = lowest
    side = splits.side(drawn, cuts.get(category, parts))
    yield key, features.TEST if side == features.TRAIN else side


def _with_shard(
    group: tuple[bytes, Iterable[_Pictured]],
    plan: Plan,
    cuts: Mapping[str, Cuts],
    held: Mapping[bytes, str],
) -> Iterator[tuple[tuple[str, int], _Pictured]]:
    key, members = group
    categories = Counter(member.product.category for member in members)
    category = max(sorted(categories), key=lambda category: categories[category])
    natural = splits.side(_group_draw(members, plan.seed), cuts.get(category, plan.parts))
    together = held.get(key, natural)
    if any(member.product.split not in ("", features.TRAIN) for member in members):
        together = features.TRAIN
    for pictured in members:
        given = pictured.product.split
        split = together if given in ("", features.TRAIN) else given
        shard = int(splits.draw("shard", pictured.product.id) * plan.shards(split))
        yield (split, shard), pictured


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


class _WriteConflicts(beam.DoFn):
    """Writes conflicts.csv and conflicts.json."""

    def __init__(self, plan: Plan) -> None:
        self._folder = plan.conflicts

    def process(self, group: tuple[None, Iterable[Conflict | None]]) -> None:
        conflicts = [conflict for conflict in group[1] if conflict]
        with created(FileSystems.join(self._folder, CONFLICTS_FILE)) as file:
            counts = write_conflicts(conflicts, file)
        with created(FileSystems.join(self._folder, COUNTS_FILE)) as file:
            write_counts(counts, file)


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
        "capped": counts.get(_CAPPED, 0),
        "not_sampled": counts.get(_NOT_SAMPLED, 0),
        "groups": counts.get(_GROUPS, 0),
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
