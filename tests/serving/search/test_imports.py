"""What the search loads, and what it may be loaded beside."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

BOTH = """
    import numpy as np
    def tensorflow():
        import tensorflow
        made = tensorflow.linalg.matmul(np.ones((300, 300), "f4"), np.ones((300, 300), "f4"))
        assert float(made[0, 0]) == 300
    def search():
        from serving.search import FaissIndex, Space
        index = FaissIndex(Space({"all": 16}), exact_below=100)
        vectors = np.random.default_rng(0).standard_normal((2_000, 16))
        index.upsert([f"p{at}" for at in range(2_000)], vectors)
        index.build()
        assert not index.is_exact
        assert index.search(vectors[5], 1)[0].hits[0].id == "p5"
"""


def run(code):
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )


def test_it_needs_no_tensorflow_and_no_step_and_qdrant_only_where_it_is_asked():
    done = run("""
        import sys
        import serving.search
        loaded = {name.partition(".")[0] for name in sys.modules}
        print(sorted(loaded & {"tensorflow", "keras", "tfx", "apache_beam", "components", "trainer",
                               "pipeline", "qdrant_client", "torch"}))
        import os
        print(os.environ.get("OMP_WAIT_POLICY"))
    """)

    assert done.stdout.splitlines() == ["[]", "None"], done.stderr


@pytest.mark.parametrize("order", ["tensorflow(); search(); tensorflow()",
                                   "search(); tensorflow(); search()"])  # fmt: skip
def test_faiss_and_tensorflow_live_in_one_process_whichever_comes_first(order):
    done = run(textwrap.dedent(BOTH) + order)

    assert done.returncode == 0, done.stderr
