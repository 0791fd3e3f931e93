"""FAISS beside the plain files: approximate where there are so many products that it pays."""

from __future__ import annotations

import importlib
import json
import logging
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from serving.search import folder
from serving.search.columns import Mask
from serving.search.exact_index import nearest, widened
from serving.search.local_index import Among, LocalIndex
from serving.search.product_index import Search
from serving.search.products import Numbers, Vectors, View
from serving.search.space import Floats, Space


def _faiss() -> Any:
    # Its threads would wait for the next question by spinning, on processors that others need: a
    # model server beside it, NumPy's threads in between. Read once, when the library is loaded.
    policy = os.environ.get("OMP_WAIT_POLICY")
    os.environ["OMP_WAIT_POLICY"] = policy or "passive"
    try:
        return importlib.import_module("faiss")
    finally:
        if policy is None:
            del os.environ["OMP_WAIT_POLICY"]


faiss = _faiss()

EXACT_BELOW = 200_000
"""Products, or those that a filter lets in, below which all are compared: that takes some 30 ms."""

RECALL = 0.99
"""Share of the exact nearest that the approximate search must find, over a sample of queries."""

_CACHE_VERSION = 1
_MEASURED_QUERIES = 256
_MEASURED_NEIGHBORS = 15
_MEASURED_SHARE = 0.1
_ROWS_AT_ONCE = 32_768
_TRAINED_ROWS_A_LIST = 48
_TRAINING_ROUNDS = 8
_FIRST_REACH = 16
_MORE_CANDIDATES = 3
"""Times as many rows as are wanted are taken from the index, whose vectors are 8 bits a dimension,
and compared again by the vectors themselves."""

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Approximation:
    """What is known of an inverted file.

    Attributes:
        lists: parts that the products are divided into by k-means.
        probes: parts that a query looks through, by the space's own weights.
        probes_any_weights: the same by any others.
        probes_filtered: the same with a filter; see `_Inverted.search`.
        recall: share of the exact nearest 15 found so, without the query's own product, over 256.
        recall_any_weights: the same by one block alone, the worst of the blocks; over 64.
        recall_filtered: the same where a tenth of the products is let in, whichever; over 256.
        products: that it was measured over.
    """

    lists: int
    probes: int
    probes_any_weights: int
    probes_filtered: int
    recall: float
    recall_any_weights: float
    recall_filtered: float
    products: int


_NONE = Approximation(0, 0, 0, 0, 0.0, 0.0, 0.0, 0)


@dataclass(frozen=True)
class _Inverted:
    """An inverted file over the first rows. Nobody changes it any more.

    Attributes:
        index: FAISS's, whose ids are rows.
        template: one that has learned the same and holds nothing.
        rows: how many rows it is over.
        trained_on: how many products there were when it learned.
        list_of: of each row, the list that it is in; int32 (rows).
        known: what was measured.
    """

    index: Any
    template: Any
    rows: int
    trained_on: int
    list_of: npt.NDArray[np.int32]
    known: Approximation

    @property
    def lists(self) -> int:
        """How many lists there are."""
        return int(self.index.nlist)

    def search(self, queries: Floats, count: int, probes: int, let_in: Mask | None) -> Numbers:
        """The rows that are nearest by 8 bits, int64 (Q, count), -1 where there are no more.

        With a filter so many lists are looked through that they hold as many rows which are let in
        as the lists without one hold rows.
        """
        inside = None if let_in is None else let_in[: self.rows]
        selector = None
        if inside is not None:
            selector = faiss.IDSelectorBitmap(np.packbits(inside, bitorder="little"))
            probes = self._probes_for(queries, probes, inside)
        parameters = faiss.SearchParametersIVF(nprobe=probes, sel=selector)
        rows: Numbers = self.index.search(queries, count, params=parameters)[1]
        return rows

    def _probes_for(self, queries: Floats, probes: int, inside: Mask) -> int:
        passing = np.bincount(self.list_of[inside], minlength=self.lists)
        wanted = min(probes * self.rows / self.lists, int(passing.sum()))
        for reach in (_FIRST_REACH * probes, self.lists):
            # To put all lists in order takes longer than to look through the first.
            order = self.index.quantizer.search(queries, min(reach, self.lists))[1]
            enough = np.cumsum(passing[order], axis=1) >= wanted
            if enough[:, -1].all():
                break
        return max(probes, int(enough.argmax(axis=1).max()) + 1)


@dataclass(frozen=True)
class _TooPoor:
    """That an inverted file was made and finds too few, so that it need not be made again.

    Attributes:
        rows: how many it was over.
        recall: what it reached.
    """

    rows: int
    recall: float


class FaissIndex(LocalIndex):
    """Products in an inverted file (IVF) of 8 bits a dimension, compared again by their vectors.

    Fewer products than `exact_below` are all compared, as are those that a filter lets in where
    they are fewer, and those that were added since the inverted file was made: it is never changed,
    so that searches need no lock. `build` and `save` make it anew.

    In a folder it is a cache with a checksum: one that is missing, damaged, or of other vectors is
    made anew when the folder is opened. That none reached the wanted recall is kept there, too, and
    then all products are compared.

    Args:
        space: what a vector consists of.
        dtype: see `LocalIndex`.
        threshold: see `ProductIndex`.
        made_by: see `LocalIndex`.
        exact_below: see above.
        recall: that a search must reach at least; see `Approximation`.
    """

    engine = "FAISS"

    def __init__(
        self,
        space: Space,
        dtype: str = "float32",
        threshold: float | None = None,
        made_by: Mapping[str, Any] | None = None,
        *,
        exact_below: int = EXACT_BELOW,
        recall: float = RECALL,
    ):
        super().__init__(space, dtype, threshold, made_by)
        self._exact_below = exact_below
        self._recall = recall
        self._halves = faiss.ScalarQuantizer(space.dimensions, faiss.ScalarQuantizer.QT_fp16)

    @classmethod
    def open(
        cls,
        path: Path | str,
        *,
        verify: bool = True,
        exact_below: int = EXACT_BELOW,
        recall: float = RECALL,
    ) -> FaissIndex:
        """As `LocalIndex.open`; makes the inverted file anew where the folder's is of no use.

        Raises:
            DamagedIndex: there is no index, or its plain files are not what was saved.
        """
        opened = folder.read(Path(path), verify=verify)
        index = cls(
            opened.space,
            opened.dtype,
            opened.threshold,
            opened.made_by,
            exact_below=exact_below,
            recall=recall,
        )
        index._adopt(opened)
        return index

    @property
    def is_exact(self) -> bool:
        """See `ProductIndex`."""
        return self._inverted is None

    @property
    def approximation(self) -> Approximation | None:
        """What was measured when the inverted file was made; None where all are compared."""
        inverted = self._inverted
        return None if inverted is None else inverted.known

    def build(self) -> None:
        """Makes the inverted file over all products, or none where they are too few.

        Searches go on; writers wait.
        """
        with self._writing:
            self._forget_dead_rows()
            view, inverted = self._products.view(), self._inverted
            before, made = self._products.beside, None
            if view.length < self._exact_below:
                made = None
            elif isinstance(before, _TooPoor) and before.rows == view.length:
                made = before if before.recall < self._recall else self._trained(view)
            elif inverted is None or view.length > 2 * inverted.trained_on:
                made = self._trained(view)
            elif inverted.known.products == inverted.rows == view.length:
                made = inverted
            else:
                made = self._filled(view, inverted.template, inverted.trained_on, inverted.list_of)
            self._products.beside = made

    @property
    def _inverted(self) -> _Inverted | None:
        beside = self._products.beside
        return beside if isinstance(beside, _Inverted) else None

    def _nearest(
        self, view: View, queries: Floats, count: int, among: Among, asked: Search
    ) -> tuple[Numbers, bool]:
        inverted = view.beside
        if asked.exact or not isinstance(inverted, _Inverted) or among.count < self._exact_below:
            return self._all(view, queries, count, among), True
        own = np.array(list(self.space.weights.values()))
        usual = np.allclose(asked.weights / asked.weights.sum(), own / own.sum())
        known = inverted.known
        probes = known.probes if usual else known.probes_any_weights
        if among.let_in is not None:
            probes = max(probes, known.probes_filtered)
        found = inverted.search(queries, _MORE_CANDIDATES * count, probes, among.let_in)
        if inverted.rows < view.length:
            added = Among(among.let_in, among.since(inverted.rows, view.length))
            rest = nearest(self.space, view, queries, count, added, inverted.rows, self._widened)
            found = np.concatenate([found, rest], axis=1)
        short = np.count_nonzero(found >= 0, axis=1) < count
        if short.any():
            # What is let in lies far from the query: rather slow than too few.
            found[short] = -1
            found[short, :count] = self._all(view, queries[short], count, among)
        return found, False

    def _all(self, view: View, queries: Floats, count: int, among: Among) -> Numbers:
        return nearest(self.space, view, queries, count, among, 0, self._widened)

    def _widened(self, vectors: Vectors) -> Floats:
        if vectors.dtype != np.float16:
            return widened(vectors)
        # Several times faster than NumPy's.
        halves: Floats = self._halves.decode(np.ascontiguousarray(vectors).view(np.uint8))
        return halves

    def _approximate(self) -> dict[str, Any] | None:
        self.build()
        known = self.approximation
        return None if known is None else asdict(known)

    def _write_cache(self, path: Path, vectors: folder.File) -> None:
        if self._products.beside is not None:
            _write(path, vectors, self._products.beside)

    def _opened(self, opened: folder.Opened) -> None:
        view = self._products.view()
        if view.length < self._exact_below:
            return
        try:
            self._products.beside = _read(opened.path, opened.vectors_file, view, self.space)
            return
        except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
            said = " ".join(str(error).split())[:200]
            _LOG.warning("The FAISS index in %s is made anew: %s", opened.path, said)
        self.build()
        try:
            with folder.only_writer(opened.path):
                self._write_cache(opened.path, opened.vectors_file)
        except OSError as error:
            _LOG.warning("The FAISS index cannot be kept in %s: %s", opened.path, error)

    def _renumbered(self, beside: Any, new_rows: Numbers, view: View) -> Any:
        if not isinstance(beside, _Inverted) or view.length < self._exact_below:
            return None
        old = beside
        kept = new_rows[: old.rows] >= 0
        list_of = np.full(int(kept.sum()), -1, np.int32)
        list_of[new_rows[: old.rows][kept]] = old.list_of[kept]
        return self._filled(view, old.template, old.trained_on, list_of)

    def _trained(self, view: View) -> _Inverted | _TooPoor:
        rng = np.random.default_rng(0)
        lists = 2 ** round(np.log2(4 * np.sqrt(view.length)))
        lists = max(1, min(lists, view.length // _TRAINED_ROWS_A_LIST))
        sample = min(view.length, lists * _TRAINED_ROWS_A_LIST)
        rows = np.sort(rng.choice(view.length, sample, replace=False))
        taken = self.space.rows(self._widened(view.take(rows)))
        means = faiss.Kmeans(
            self.space.columns,
            lists,
            niter=_TRAINING_ROUNDS,
            spherical=True,
            seed=1,
            min_points_per_centroid=1,
        )
        means.train(taken)
        template = _empty(means.centroids, self.space)
        template.train(taken)
        return self._filled(view, template, view.length, np.empty(0, np.int32))

    def _filled(
        self, view: View, template: Any, trained_on: int, list_of: npt.NDArray[np.int32]
    ) -> _Inverted | _TooPoor:
        """An inverted file over all rows; the first ones' lists are known already."""
        index = _like(template, self.space)
        lists = np.empty(view.length, np.int32)
        for first, vectors in view.blocks(rows=_ROWS_AT_ONCE):
            rows = np.ascontiguousarray(self.space.rows(self._widened(vectors)))
            numbers = np.arange(first, first + len(rows))
            known = list_of[first : first + len(rows)].astype(np.int64)
            nearest_lists = np.concatenate([known, np.full(len(rows) - len(known), -1, np.int64)])
            if len(known) < len(rows):
                nearest_lists[len(known) :] = index.quantizer.search(rows[len(known) :], 1)[1][:, 0]
            index.add_core(
                len(rows),
                faiss.swig_ptr(rows),
                faiss.swig_ptr(numbers),
                faiss.swig_ptr(nearest_lists),
            )
            lists[first : first + len(rows)] = nearest_lists
        return self._measured(
            view, _Inverted(index, template, view.length, trained_on, lists, _NONE)
        )

    def _measured(self, view: View, made: _Inverted) -> _Inverted | _TooPoor:
        """With as few probes as reach the wanted recall."""
        rng = np.random.default_rng(0)
        sample = np.sort(
            rng.choice(view.length, min(view.length, _MEASURED_QUERIES), replace=False)
        )
        stored = self._widened(view.take(sample))
        own = self.space.weights_for(None)
        mask = rng.random(view.length) < _MEASURED_SHARE
        everything, tenth = Among(None, view.length), Among(mask, int(np.count_nonzero(mask)))
        alone = [weights for weights in np.eye(len(own)) if len(own) > 1]
        some = slice(0, _MEASURED_QUERIES // 4)
        queries = self.space.query(stored, own)
        chosen, recalls = [], []
        for asked, rows, among in [
            (queries, sample, everything),
            (queries, sample, tenth),
            *((self.space.query(stored[some], of), sample[some], everything) for of in alone),
        ]:
            truth = self._neighbors(view, asked, rows, among)
            probes = 1
            while True:
                recall = _recall(made, asked, rows, truth, probes, among)
                if recall >= self._recall or probes >= made.lists:
                    break
                probes = min(made.lists, max(probes + 1, probes * 4 // 3))
            chosen.append(probes)
            recalls.append(recall)
        if min(recalls) < self._recall:
            _LOG.warning(
                "All products are compared: FAISS finds %.3f of the nearest, and %.3f are wanted.",
                min(recalls),
                self._recall,
            )
            return _TooPoor(view.length, min(recalls))
        known = Approximation(
            lists=made.lists,
            probes=chosen[0],
            probes_any_weights=max([chosen[0], *chosen[2:]]),
            probes_filtered=max(chosen[:2]),
            recall=recalls[0],
            recall_any_weights=min([recalls[0], *recalls[2:]]),
            recall_filtered=recalls[1],
            products=view.length,
        )
        return replace(made, known=known)

    def _neighbors(self, view: View, queries: Floats, rows: Numbers, among: Among) -> list[Numbers]:
        """The exact nearest of products, without themselves."""
        count = min(_MEASURED_NEIGHBORS + 1, among.count)
        found = self._all(view, queries, count, among) if count else np.empty((len(rows), 0), int)
        kept = []
        for query, row, each in zip(queries, rows, found, strict=True):
            others = each[each != row]
            scores = self.space.rows(self._widened(view.take(others))) @ query
            kept.append(others[np.argsort(-scores, kind="stable")[:_MEASURED_NEIGHBORS]])
        return kept


def _recall(
    made: _Inverted,
    queries: Floats,
    rows: Numbers,
    truth: list[Numbers],
    probes: int,
    among: Among,
) -> float:
    # As many as a search for so many asks for, with what may be folded.
    count = _MORE_CANDIDATES * (_MEASURED_NEIGHBORS + 8 + _MEASURED_NEIGHBORS // 2)
    found = made.search(queries, count, probes, among.let_in)
    shares = [
        np.isin(wanted, each[each != row]).mean()
        for each, row, wanted in zip(found, rows, truth, strict=True)
        if len(wanted)
    ]
    return float(np.mean(shares)) if shares else 1.0


def _empty(centroids: Floats, space: Space) -> Any:
    """An inverted file with nothing in it, and not trained yet."""
    quantizer = faiss.IndexFlatIP(space.columns)
    quantizer.add(np.ascontiguousarray(centroids, np.float32))
    kind = faiss.ScalarQuantizer.QT_8bit
    if space.distance != "cosine":
        # Lengths may be of any size, and 8 bits are too few for them.
        kind = faiss.ScalarQuantizer.QT_fp16
    index = faiss.IndexIVFScalarQuantizer(
        quantizer,
        space.columns,
        len(centroids),
        kind,
        faiss.METRIC_INNER_PRODUCT,
        False,
    )
    return index


def _like(template: Any, space: Space) -> Any:
    """An empty inverted file with what another has learned."""
    quantizer = faiss.downcast_index(template.quantizer)
    index = _empty(quantizer.reconstruct_n(0, quantizer.ntotal), space)
    faiss.copy_array_to_vector(faiss.vector_to_array(template.sq.trained), index.sq.trained)
    index.is_trained = True
    return index


def _names(vectors: folder.File) -> tuple[str, str]:
    return f"faiss-{vectors.token}.index", f"faiss-{vectors.token}.json"


def _write(path: Path, vectors: folder.File, made: _Inverted | _TooPoor) -> None:
    index_name, about_name = _names(vectors)
    about = {"version": _CACHE_VERSION, "faiss": faiss.__version__, "vectors": vars(vectors)}
    if isinstance(made, _TooPoor):
        about["too_poor"] = made.recall
    else:
        about |= _write_inverted(path / index_name, made)
    folder.replace(path / about_name, json.dumps(about, indent=1).encode())


def _write_inverted(path: Path, inverted: _Inverted) -> dict[str, Any]:
    """Writes FAISS's file, and gives what is to be known of it."""
    partial = path.with_name(f"{path.name}.partial")
    try:
        faiss.write_index(inverted.index, str(partial))
    except RuntimeError as error:
        raise OSError(f"{partial} cannot be written: {error}") from error
    about = {
        "bytes": partial.stat().st_size,
        "crc32c": folder.checksum(partial),
        "trained_on": inverted.trained_on,
        "known": asdict(inverted.known),
    }
    os.replace(partial, path)
    return about


def _read(path: Path, vectors: folder.File, view: View, space: Space) -> _Inverted | _TooPoor:
    """The folder's inverted file, or that none was good enough.

    Raises:
        OSError, ValueError, KeyError, TypeError, RuntimeError: it is of no use, for whatever
            reason.
    """
    index_name, about_name = _names(vectors)
    about = json.loads((path / about_name).read_text(encoding="utf-8"))
    if about["version"] != _CACHE_VERSION:
        raise ValueError(f"its version is {about['version']}")
    if about["vectors"] != vars(vectors):
        raise ValueError("it is of other vectors")
    if "too_poor" in about:
        return _TooPoor(view.length, float(about["too_poor"]))
    # FAISS believes what it reads.
    size = (path / index_name).stat().st_size
    if size != about["bytes"] or folder.checksum(path / index_name) != about["crc32c"]:
        raise ValueError("its size or checksum differs")
    known = Approximation(**about["known"])
    index = faiss.read_index(str(path / index_name), faiss.IO_FLAG_MMAP)
    if (index.d, index.ntotal, index.nlist) != (space.columns, view.length, known.lists):
        raise ValueError("it is not over these products")
    list_of = np.full(view.length, -1, np.int32)
    for number in range(index.nlist):
        size = index.invlists.list_size(number)
        if size:
            ids = index.invlists.get_ids(number)
            list_of[faiss.rev_swig_ptr(ids, size)] = number
            index.invlists.release_ids(number, ids)
    return _Inverted(
        index, _like(index, space), view.length, int(about["trained_on"]), list_of, known
    )
