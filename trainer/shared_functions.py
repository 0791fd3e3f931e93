"""Functions that many graphs call and that are traced once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import tensorflow as tf

_Function = TypeVar("_Function", bound=Callable[..., Any])


def traced_once(*inputs: tf.TensorSpec) -> Callable[[_Function], _Function]:
    """Makes a decorator for functions that take tensors alone.

    A function of many operations is traced once a process, and a graph that calls it in several
    places holds it once, which TensorFlow, when it prepares the graph, takes less time for.

    Args:
        inputs: What the function takes.
    """
    return tf.function(input_signature=inputs, autograph=False)
