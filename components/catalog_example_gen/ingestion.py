"""The Beam pipeline from rows and a folder of pictures to Examples, rejects and conflicts.

It works on parts of the catalog: what belongs together by a hash of its name falls into one part,
and a part fits in memory. Records go from stage to stage through files (`spill`); what Beam itself
carries is where they are, and counts. So memory does not grow with the catalog, but for the packed
arrays of `division`.

Pictures are read twice: first to check, measure and hash them, then, when every product's side is
known, to write them. The second reading finds the files in the system's cache.
"""

from __future__ import annotations

import os
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, NamedTuple

import apache_beam as beam
import numpy as np

from components.catalog_example_gen import (
    folder,
    near_duplicates,
    near_misses,
    pictures,
    reporting,
    sampling,
    splits,
)
from components.catalog_example_gen.conflicts import (
    LabelConflicts,
    several_pictures_conflict,
)
from components.catalog_example_gen.corrections import Corrections
from components.catalog_example_gen.division import Candidates, Rules, divide
from components.catalog_example_gen.examples import serialized_example, write_records
from components.catalog_example_gen.label_coverage import (
    labels_of,
)
from components.catalog_example_gen.near_misses import Difference, Names
from components.catalog_example_gen.pictures import PictureError
from components.catalog_example_gen.products import gathered
from components.catalog_example_gen.rejects import (
    Reason,
    Reject,
    printable,
)
from components.catalog_example_gen.rows import Columns, Product, ProductRow
from components.catalog_example_gen.sources import Source
from components.catalog_example_gen.spill import Chunk, Spill, read_chunk, write_chunk
from components.progress import ProgressFile
from components.storage import created_whole, is_url, opened
from schema import features
from schema.pictures import MOST_BYTES

_REJECTS_AT_ONCE = 10_000
_MOST_OTHERS = 8

_INCOMPLETE = frozenset({Reason.MISSING_PICTURE, Reason.EMPTY_LABEL})

_MAIN = "main"
_REPORTED = "reported"
_MENTIONS = "mentions"
_MISSED = "missed"
_UNFOLLOWED = "unfollowed"
_DRAWS = "draws"


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
        links: Whether links may lead out of it.
        names: How rows name pictures.
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
        corrections: What people have decided on the rows' labels.
    """

    source: Source
    images: str
    links: bool
    names: Names
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
    corrections: Corrections = Corrections("", {})

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
    """A product and the file that is its picture, not yet looked into.

    `others` are some more pictures by its name.
    """

    product: Product
    path: bytes
    others: tuple[bytes, ...] = ()


class _Missed(NamedTuple):
    """What names a picture that is not there: a product, or a row that is rejected for it."""

    name: str
    result: Product | Reject


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
    """A part whose products' sides and groups are known, in the order of the products.

    `sides` are indexes into `features.SPLITS`, a byte each; `groups` the names of the groups.
    """

    part: int
    products: Chunk
    sides: bytes
    groups: list[bytes]


def ingest(pipeline: beam.Pipeline, plan: Plan) -> None:
    """Adds the whole ingest to `pipeline`; its results are files, listed in `Plan`.

    Beside its main output every step has one of what is to be reported: chunks of rejects,
    conflicts, near misses and counts.
    """
    start = pipeline | "Start" >> beam.Impulse()
    rows = start | "ReadRows" >> _step(_ReadRows(plan), _MENTIONS, _MISSED)
    files = start | "ListFiles" >> _step(_ListFiles(plan), _UNFOLLOWED)
    unfollowed = beam.pvalue.AsList(files[_UNFOLLOWED])
    products = (
        rows[_MAIN] | "ByProduct" >> beam.GroupByKey() | "Gather" >> _step(_GatherProducts(plan))
    )
    with_file = (
        (files[_MAIN], products[_MAIN], rows[_MENTIONS])
        | "FilesAndProducts" >> beam.Flatten()
        | "ByPicture" >> beam.GroupByKey()
        | "JoinFiles" >> _step(_JoinFiles(plan), _MISSED, _DRAWS)
    )
    nearly = (
        (rows[_MISSED], with_file[_MISSED])
        | "AllMissed" >> beam.Flatten()
        | "ByLooseKey" >> beam.GroupByKey()
        | "FindNearMisses" >> _step(_FindNearMisses(plan), _DRAWS, sides=[unfollowed])
    )
    draws = (with_file[_DRAWS], nearly[_DRAWS]) | "AllDraws" >> beam.Flatten()
    bounds = _sample_bounds(draws, plan)
    checked = (
        (with_file[_MAIN], nearly[_MAIN])
        | "AllWithFile" >> beam.Flatten()
        | "ByPart" >> beam.GroupByKey()
        | "CheckPictures" >> _step(_CheckPictures(plan), sides=bounds)
    )
    divided = (
        checked[_MAIN]
        | "AllChecked" >> beam.GroupBy(lambda _: None)
        | "Divide" >> _step(_Divide(plan))
    )
    written = divided[_MAIN] | "ToAllWorkers" >> beam.Reshuffle() | "Write" >> _step(_Write(plan))
    (
        [
            step[_REPORTED]
            for step in (rows, files, products, with_file, nearly, checked, divided, written)
        ]
        | "AllReported" >> beam.Flatten()
        | "ReportedInOne" >> beam.GroupBy(lambda _: None)
        | "Report" >> beam.Map(_report, plan)
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
        draws | "DrawsInOne" >> beam.GroupBy(lambda _: None) | "Bounds" >> beam.Map(_bounds, plan)
    )
    return [beam.pvalue.AsSingleton(bounds, default_value={})]


def _bounds(
    draws: tuple[None, Iterable[tuple[str, np.ndarray]]], plan: Plan
) -> dict[str, tuple[float, float]]:
    of_category = defaultdict(list)
    for category, drawn in draws[1]:
        of_category[category].append(drawn)
    joined = {category: np.concatenate(drawn) for category, drawn in of_category.items()}
    if plan.columns.several_pictures:
        # All pictures of a product have one draw, and it counts once.
        joined = {category: np.unique(drawn) for category, drawn in joined.items()}
    sizes = {category: len(drawn) for category, drawn in joined.items()}
    quotas = sampling.quotas(sizes, plan.class_cap, plan.sample)
    return {
        category: sampling.bounds(drawn, *quotas[category]) for category, drawn in joined.items()
    }


def _routed(chunks: Iterable[tuple[tuple[str, int], Chunk]]) -> Iterator[Any]:
    """Chunks whose key is (output, part), each to its output."""
    for (output, part), chunk in chunks:
        element = (part, chunk)
        yield element if output == _MAIN else beam.pvalue.TaggedOutput(output, element)


def _reported(*results: reporting.Reportable) -> Iterator[Any]:
    for result in results:
        yield beam.pvalue.TaggedOutput(_REPORTED, result)


def _rejected(rejects: list[Reject], plan: Plan) -> Iterator[Any]:
    if rejects:
        yield beam.pvalue.TaggedOutput(_REPORTED, write_chunk(sorted(rejects), plan.scratch))


class _ReadRows(beam.DoFn):
    """To chunks of `ProductRow`s by product; of the other rows' pictures' names, and of rejects."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan

    def process(self, _: bytes) -> Iterator[Any]:
        plan = self._plan
        rows = 0
        repeated, last_id = 0, ""
        labels = LabelConflicts(plan.columns.slices)
        rejects: list[Reject] = []
        spill = Spill(plan.scratch)
        found = plan.source.rows(plan.domains, plan.seed, plan.eval_part)
        for row in plan.corrections.corrected(found, plan.columns):
            picture, result, further = row
            rows += 1
            incomplete = isinstance(result, Reject) and result.reason in _INCOMPLETE
            repeated += incomplete and result.id == last_id
            last_id = printable(result.id)
            if isinstance(result, Product):
                if result.category:
                    labels.add(result)
                part = plan.part(folder.key(result.product or result.id))
                sound = ProductRow(picture, result, further)
                yield from _routed(spill.add((_MAIN, part), sound))
                continue
            if picture and result.reason == Reason.OUTSIDE_IMAGES:
                loose = near_misses.loose_key(picture)
                missed = _Missed(picture, result)
                yield from _routed(spill.add((_MISSED, plan.part(loose)), (loose, missed)))
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
        yield from _reported(
            Counter({reporting.ROWS: rows, reporting.REPEATED: repeated}), *labels.found()
        )


class _ListFiles(beam.DoFn):
    """To chunks of (name under which rows look the file up, _File)."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan

    def process(self, _: bytes) -> Iterator[Any]:
        plan = self._plan
        spill = Spill(plan.scratch)
        skipped = folder.SkippedLinks()
        for found in folder.files_below(plan.images, plan.links, skipped):
            key = folder.key(plan.names.of_file(found.path))
            file = _File(os.fsencode(found.path), found.is_picture, found.inside)
            yield from spill.add(plan.part(key), (key, file))
        yield from spill.flush()
        for path in skipped.folders.first:
            yield beam.pvalue.TaggedOutput(_UNFOLLOWED, path)
        yield from _reported(skipped)


class _GatherProducts(beam.DoFn):
    """Makes products of rows: to chunks of (picture, Product) by picture."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan

    def process(self, part: tuple[int, Iterable[Chunk]]) -> Iterator[Any]:
        plan = self._plan
        spill = Spill(plan.scratch)
        rows_of: defaultdict[bytes, list[ProductRow]] = defaultdict(list)
        records = [row for chunk in part[1] for row in read_chunk(chunk)]
        for row in sorted(records, key=lambda row: row.result.row):
            rows_of[folder.key(row.result.product or row.result.id)].append(row)
        counts: Counter[tuple[str, ...]] = Counter()
        rejects: list[Reject] = []
        for rows in rows_of.values():
            product = gathered(rows, plan.columns)
            rejects += product.rejects
            counts[reporting.REPEATED] += sum(
                one.reason == Reason.DOUBLED_ID for one in product.rejects
            )
            counts[reporting.BELONGING] += product.belonging
            counts[reporting.FURTHER] += product.further
            if product.conflict:
                yield from _reported(product.conflict)
            members = [(folder.key(name), member) for name, member in product.pictured]
            # Pictures that a rejected row names are not without a row.
            used = {key for key, _ in members}
            named = {folder.key(name) for row in rows for name in (row.picture, *row.further)}
            for key, member in [*members, *((key, None) for key in sorted(named - used) if key)]:
                yield from spill.add(plan.part(key), (key, member))
        yield from spill.flush()
        yield from _rejected(rejects, plan)
        yield from _reported(counts)


class _JoinFiles(beam.DoFn):
    """Joins products with their files: to chunks of _WithFile, one of each part.

    Those whose picture is not there, and the pictures that nobody names, go on by loose key.
    """

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
        spill = Spill(plan.scratch)
        counts: Counter[tuple[str, ...]] = Counter()
        for key, of_key in files.items():
            of_key.sort(key=lambda file: folder.preference(os.fsdecode(file.path)))
            # Of several files by a product's name only the preferred one is the product's.
            counts[reporting.UNNAMED] += sum(file.is_picture for file in of_key[key in named :])
            for file in of_key:
                if key not in named and file.is_picture and file.inside:
                    loose = near_misses.loose_key(os.fsdecode(file.path))
                    yield from _to_missed(spill.add(plan.part(loose), (loose, file)))

        joined, rejects = [], []
        for key, product in sorted(products, key=lambda one: one[1].row):
            of_key = files.get(key, [])
            if not of_key:
                missed = _Missed(os.fsdecode(key), product)
                loose = near_misses.loose_key(missed.name)
                yield from _to_missed(spill.add(plan.part(loose), (loose, missed)))
                continue
            try:
                joined.append(_WithFile(product, *self._choose(of_key)))
            except PictureError as error:
                counts[reporting.LINKED] += error.reason == Reason.OUTSIDE_IMAGES
                rejects.append(_picture_reject(product, plan, error))
        yield from _to_missed(spill.flush())
        yield from _rejected(rejects, plan)
        yield from _reported(counts)
        yield part[0], write_chunk(joined, plan.scratch)
        yield from _draws(joined, plan)

    def _choose(self, files: Sequence[_File]) -> tuple[bytes, tuple[bytes, ...]]:
        file, *others = files
        if not file.inside:
            raise PictureError(Reason.OUTSIDE_IMAGES, f"a link: {os.fsdecode(file.path)}")
        if not file.is_picture:
            raise PictureError(Reason.WRONG_SUFFIX, os.fsdecode(file.path))
        alike = [other.path for other in others if other.is_picture and other.inside]
        return file.path, tuple(alike[:_MOST_OTHERS])


def _to_missed(chunks: Iterable[tuple[int, Chunk]]) -> Iterator[Any]:
    for element in chunks:
        yield beam.pvalue.TaggedOutput(_MISSED, element)


def _draws(joined: Iterable[_WithFile], plan: Plan) -> Iterator[Any]:
    if plan.class_cap or plan.sample:
        draws = defaultdict(list)
        for product, _, _ in joined:
            draws[product.category].append(_sample_draw(product))
        for category, drawn in draws.items():
            yield beam.pvalue.TaggedOutput(_DRAWS, (category, np.array(drawn)))


def _sample_draw(product: Product) -> float:
    return sampling.sample_draw(product.product or product.id)


class _FindNearMisses(beam.DoFn):
    """Looks for pictures that would fit names which none has: to chunks of _WithFile.

    Where it is certain which picture was meant, the product goes on with it; the others are
    rejected in words that say what would fit.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan

    def process(self, part: tuple[int, Iterable[Chunk]], unfollowed: list[str]) -> Iterator[Any]:
        plan = self._plan
        paths: defaultdict[bytes, list[str]] = defaultdict(list)
        missed: list[tuple[bytes, _Missed]] = []
        for chunk in part[1]:
            for key, member in read_chunk(chunk):
                if isinstance(member, _File):
                    paths[key].append(os.fsdecode(member.path))
                else:
                    missed.append((key, member))
        alike = {key: near_misses.Alike(paths.get(key, ())) for key in {key for key, _ in missed}}
        fits = []
        claims: defaultdict[str, set[str]] = defaultdict(set)
        for key, (name, result) in sorted(missed, key=lambda one: one[1].result.row):
            differences, fit = near_misses.fitting(name, alike[key].near(name), plan.names)
            certain = near_misses.is_certain(differences, fit)
            fits.append((name, result, differences, fit, certain))
            if certain and not plan.names.by_path:
                claims[fit[0]].add(name)
        joined: list[_WithFile] = []
        rejects: list[Reject] = []
        found: dict[tuple[Any, ...], reporting.NearMisses] = {}
        for name, result, differences, fit, certain in fits:
            # Of two ids that mean one picture, as `A1` and `a1`, nobody knows whose it is.
            mine = certain and len(claims[fit[0]]) < 2
            meant = result if mine and isinstance(result, Product) else None
            taken = meant is not None
            if taken:
                joined.append(_WithFile(meant, os.fsencode(fit[0])))
            else:
                rejects.append(self._reject(name, result, differences, fit, unfollowed))
            if differences:
                path = printable(fit[0]) if fit else None
                one = reporting.NearMisses(differences, taken, 1, result.row, printable(name), path)
                key = differences, taken, path is None
                found[key] = found[key]._replace(rows=found[key].rows + 1) if key in found else one
        yield part[0], write_chunk(joined, plan.scratch)
        yield from _rejected(rejects, plan)
        yield from _reported(*found.values())
        yield from _reported(Counter({reporting.UNNAMED: -len({path for _, path, _ in joined})}))
        yield from _draws(joined, plan)

    def _reject(
        self,
        name: str,
        result: Product | Reject,
        differences: tuple[Difference, ...],
        fit: list[str],
        unfollowed: list[str],
    ) -> Reject:
        plan = self._plan
        hint = f": {near_misses.in_words(differences)}" if differences else ""
        if fit:
            hint = f"; there is {fit[0]}{hint}"
        if isinstance(result, Reject):
            return result._replace(found=printable(result.found + hint))
        reason = Reason.MISSING_PICTURE
        if plan.columns.picture and self._leads_outside(name):
            reason, found = Reason.OUTSIDE_IMAGES, name
        elif plan.columns.picture:
            found = f"no file {name}"
            if litter := folder.passed_over(name):
                hint = f": hidden files and what programs leave are passed over, as is {litter}"
        else:
            found = f"no file {name}.jpg or another suffix"
        if not hint and unfollowed:
            hint = f"; links to folders are not followed: {', '.join(unfollowed)}"
        return _picture_reject(result, plan, PictureError(reason, found + hint))

    def _leads_outside(self, name: str) -> bool:
        if is_url(self._plan.images) or self._plan.links:
            return False
        return folder.leads_outside(name, self._plan.images)


class _CheckPictures(beam.DoFn):
    """Looks into the pictures that stay under the class cap and in the sample: to _Checked."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._progress = ProgressFile(plan.progress)

    def process(
        self,
        part: tuple[int, Iterable[Chunk]],
        bounds: Mapping[str, tuple[float, float]] | None = None,
    ) -> Iterator[Any]:
        plan = self._plan
        pictured, rejects = [], []
        counts: Counter[tuple[str, ...]] = Counter()
        joined = [one for chunk in part[1] for one in read_chunk(chunk)]
        for product, path, others in sorted(joined, key=lambda one: (one[0].row, one[0].id)):
            if bounds and (left_out := _left_out(product, *bounds[product.category])):
                counts[left_out] += 1
                counts["looked_into", product.category, "left_out"] += 1
                continue
            counts["looked_into", product.category, "opened"] += 1
            try:
                content = _read_picture(plan.images, path)
                measured = pictures.measured(content, product.box)
                pictured.append(_Pictured(product, path, measured, _digest(content)))
                if other := self._other_picture(measured.look, others):
                    yield from _reported(
                        several_pictures_conflict(product, os.fsdecode(path), os.fsdecode(other))
                    )
            except PictureError as error:
                counts["looked_into", product.category, "unusable"] += 1
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

    def _other_picture(self, look: bytes, others: Sequence[bytes]) -> bytes | None:
        """The first of `others` that looks different; the same in another file form does not."""
        for path in others:
            with suppress(PictureError):
                other = pictures.measured(_read_picture(self._plan.images, path)).look
                if near_duplicates.distance(look, other) > self._plan.near_duplicate_bits:
                    return path
        return None


def _left_out(product: Product, cap: float, sample: float) -> tuple[str, ...] | None:
    drawn = _sample_draw(product)
    if drawn < sample:
        return None
    return reporting.NOT_SAMPLED if drawn < cap else reporting.CAPPED


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
        sides, groups = (np.split(of, ends[:-1]) for of in (division.sides, division.names))
        for part, side, names in zip(parts, sides, groups, strict=True):
            yield _Divided(part.part, part.products, side.tobytes(), names.tolist())
        counts: Counter[tuple[str, ...]] = Counter(
            {reporting.GROUPS: division.groups, reporting.PRODUCTS: division.products}
        )
        yield from _reported(counts, *division.conflicts)


class _Write(beam.DoFn):
    """Reads a part's pictures again and writes its Examples, in an order that looks random."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._progress = ProgressFile(plan.progress)

    def process(self, part: _Divided) -> Iterator[Any]:
        of_split: list[list[tuple[_Pictured, bytes]]] = [[] for _ in features.SPLITS]
        for pictured, side, group in zip(
            read_chunk(part.products), part.sides, part.groups, strict=True
        ):
            of_split[side].append((pictured, group))
        counts: Counter[tuple[str, ...]] = Counter()
        rejects: list[Reject] = []
        for split, members in zip(features.SPLITS, of_split, strict=True):
            # Ordered, so that a run on other workers writes the same bytes; not by row, because
            # catalogs are sorted and training shuffles only within a buffer.
            members.sort(key=lambda one: splits.draw("order", one[0].product.id))
            path = self._plan.example_file(split, part.part)
            with created_whole(path, self._plan.scratch) as file:
                write_records(self._records(members, split, counts, rejects), file)
        self._progress.flush()
        yield from _reported(counts)
        yield from _rejected(rejects, self._plan)

    def _records(
        self,
        members: Iterable[tuple[_Pictured, bytes]],
        split: str,
        counts: Counter[tuple[str, ...]],
        rejects: list[Reject],
    ) -> Iterator[bytes]:
        for (product, path, measured, digest), group in members:
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
            for level, label in labels_of(product, self._plan.columns):
                counts["label", split, level, label] += 1
            if product.id == (product.product or product.id):
                for level in product.corrected:
                    counts["corrected", level, split] += 1
            slices = zip(self._plan.columns.slices, product.slices, strict=True)
            fields = zip(self._plan.columns.fields, product.fields, strict=True)
            shared = {features.PRODUCT: product.product.encode()} if product.product else {}
            yield serialized_example(
                {
                    features.ID: product.id.encode(),
                    **shared,
                    features.GROUP: group,
                    features.IMAGE: image,
                    features.CATEGORY: product.category.encode(),
                    features.SUBCATEGORY: product.subcategory.encode(),
                    features.ATTRIBUTES: [label.encode() for label in product.attributes],
                    features.IMAGE_HEIGHT: measured.height,
                    features.IMAGE_WIDTH: measured.width,
                    features.IMAGE_ASPECT: measured.aspect,
                    features.IMAGE_BRIGHTNESS: measured.brightness,
                    features.IMAGE_SHARPNESS: measured.sharpness,
                    **{features.slice_feature(column): value.encode() for column, value in slices},
                    **{
                        features.field_feature(column): [value.encode()] if value else []
                        for column, value in fields
                    },
                }
            )


def _report(group: tuple[None, Iterable[Chunk | reporting.Reportable]], plan: Plan) -> None:
    reporting.write_report(group[1], plan.rejects, plan.conflicts, plan.scratch, plan.columns.id)
