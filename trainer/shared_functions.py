"""TensorFlow's functions: how graphs call what they share."""

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


def traced(
    function: Callable[..., Any], *inputs: tf.TensorSpec | Any
) -> tf.types.experimental.ConcreteFunction:
    """A function as a graph of its own.

    Args:
        function: Takes tensors, or structures of them.
        inputs: What each of its arguments is, as `tf.TensorSpec`s.
    """
    # Everything here says itself what is an operation; rewriting the source would take seconds.
    return tf.function(function, autograph=False).get_concrete_function(*inputs)
