"""The products that look like a picture: an index of a catalog's vectors, and questions to it.

    from serving.search import FaissIndex, Space

    index = FaissIndex(Space({"kind": 141, "features": 128, "colour": 486}))
    index.upsert(ids, vectors, {"gender": genders, "season": seasons}, groups)
    index.save("catalog.index")

    index = FaissIndex.open("catalog.index")
    (answer,) = index.search(vector, 15, where={"gender": "Women"}, weights={"colour": 0.6})
    for hit in answer.hits:
        print(hit.id, hit.score, hit.parts, hit.fields)

`ExactIndex` compares all products, by NumPy alone: it is what the others are held against.
`FaissIndex` does so too while they are few, and otherwise looks through the likeliest of them.
`QdrantIndex` (`serving.search.qdrant_index`, with `pip install 'seamline[search-qdrant]'`) asks
Qdrant, for catalogs past one machine; `push` brings an index there, and `QdrantServer`
(`serving.search.qdrant_server`) finds the one of a pushed version again. One contract test passes
for all three. Everything raised on purpose is a `UserError`: a sentence with the remedy in it.

`IndexedCatalog` is what is pushed beside a model: an index, the products' pictures, and the
`Recipe` by which vectors were made of the model's answers and the pictures' colors (`blocks`), and
a query's is made. Nothing that asks a model, speaks HTTP, or measures how good a model's vectors
are belongs here; it stands on `schema` alone, and imports no TensorFlow.
"""

from serving.search.calibration import calibrate
from serving.search.catalog import IndexedCatalog
from serving.search.columns import Cell, Where
from serving.search.errors import BadSearch, DamagedIndex, IndexAway, UnknownProduct
from serving.search.exact_index import ExactIndex
from serving.search.faiss_index import Approximation, FaissIndex
from serving.search.local_index import LocalIndex
from serving.search.product_index import Answer, Expansion, Hit, ProductIndex
from serving.search.recipe import Recipe
from serving.search.space import Space

__all__ = [
    "Answer",
    "Approximation",
    "BadSearch",
    "Cell",
    "DamagedIndex",
    "ExactIndex",
    "Expansion",
    "FaissIndex",
    "Hit",
    "IndexAway",
    "LocalIndex",
    "ProductIndex",
    "Space",
    "UnknownProduct",
    "Where",
    "IndexedCatalog",
    "Recipe",
    "calibrate",
]
