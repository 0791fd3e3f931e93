"""The part of a job on several machines that its workers ask what there is to do.

They ask over gRPC, in JSON: nobody sends code, and nobody is asked who he is. A worker is there as
long as something is heard of it.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager, suppress
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import grpc

from schema.errors import UserError
from schema.version import VERSION

if TYPE_CHECKING:
    from tfx.components.trainer.fn_args_utils import FnArgs

Message = dict[str, Any]

_THREADS = 8

_TRANSFERABLE = (
    *("working_dir", "train_files", "eval_files", "transform_graph_path"),
    *("base_model", "custom_config"),
)


class Chief:
    """Answers the workers of one job.

    Args:
        job: The job's name; who takes part in another one is refused.
        fn_args: What workers need to do their part of it, from `transferable`.
        option: The option that says where it listens.

    Attributes:
        KIND: What sort of job it is, in a word.
    """

    KIND = ""

    def __init__(self, job: str, fn_args: Message, option: str):
        self._job = job
        self._fn_args = fn_args
        self._option = option
        self._lock = threading.Lock()
        self._failure: Exception | None = None
        self._heard_of: dict[str, float] = {}

    @property
    def workers(self) -> int:
        """Number of workers that are there."""
        return len(self._heard_of)

    def _silent(self, timeout_s: float) -> list[str]:
        """The workers of which nothing was heard so long."""
        since = time.monotonic() - timeout_s
        return [worker for worker, heard in list(self._heard_of.items()) if heard < since]

    def _answers(self) -> dict[str, Callable[[str, Message], Message]]:
        """What answers each call: from a worker's name and message to the answer."""
        raise NotImplementedError

    @contextmanager
    def served(self, listen: str) -> Iterator[str]:
        """Answers workers; gives the address, with the port that was free where `listen` says 0.

        Raises:
            UserError: the address cannot be listened on.
        """
        server = grpc.server(
            futures.ThreadPoolExecutor(max_workers=_THREADS),
            # Else a second chief would get a part of the first one's calls.
            options=[("grpc.so_reuseport", 0)],
        )
        handlers = {
            name: grpc.unary_unary_rpc_method_handler(
                self._handler(answer), json.loads, lambda of: json.dumps(of, default=_item).encode()
            )
            for name, answer in self._answers().items()
        }
        server.add_generic_rpc_handlers(
            [grpc.method_handlers_generic_handler(service_of(self.KIND), handlers)]
        )
        try:
            port = server.add_insecure_port(listen)
        except RuntimeError:
            port = 0
        if not port:
            raise UserError(
                f"The {self.KIND} cannot listen on {listen}: the port is taken, or the address is "
                f"not this machine's. Change {self._option}."
            )
        server.start()
        try:
            yield f"{listen.rpartition(':')[0]}:{port}"
        finally:
            server.stop(grace=None)

    @contextmanager
    def _books(self) -> Iterator[None]:
        """Lets one thread at a time at the books, and none after something failed there.

        KerasTuner keeps its own lock when it fails, so that whoever asked again would wait forever.
        """
        with self._lock:
            if self._failure:
                raise self._failure
            try:
                yield
            except Exception as error:
                self._failure = error
                raise

    def _handler(self, answer: Callable[[str, Message], Message]) -> Callable:
        def handle(request: Any, context: grpc.ServicerContext) -> Message:
            worker = request.get("worker") if isinstance(request, dict) else None
            if not isinstance(worker, str):
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, "No worker says who it is.")
            if refusal := self._refusal(request):
                context.abort(grpc.StatusCode.FAILED_PRECONDITION, refusal)
            # What fails is raised where the job is waited for.
            with suppress(Exception), self._books():
                self._heard_of[worker] = time.monotonic()
                return answer(worker, request)
            context.abort(grpc.StatusCode.UNAVAILABLE, f"The {self.KIND} ends.")

        return handle

    def _refusal(self, request: Message) -> str:
        """Why a worker cannot take part; else empty."""
        if request.get("version") != VERSION:
            return (
                f"The {self.KIND} runs on Seamline {VERSION} and this worker is "
                f"{request.get('version')}; install {VERSION} here."
            )
        if request.get("code") != self._fn_args["custom_config"].get("code"):
            return (
                f"This worker's source of the package trainer is another than the {self.KIND}'s; "
                "install the same Seamline here."
            )
        if request.get("job", self._job) != self._job:
            return (
                f"Another {self.KIND} listens there now than the one that this worker joined; "
                "start the worker again to take part in it."
            )
        return ""


def service_of(kind: str) -> str:
    """The gRPC service of a kind of job."""
    return f"seamline.{kind.capitalize()}"


def transferable(fn_args: FnArgs) -> Message:
    """What a worker needs of `fn_args`, in types of JSON; TFX puts functions among the rest."""
    return {name: getattr(fn_args, name) for name in _TRANSFERABLE}


def transferred(message: Message) -> FnArgs:
    """What a worker reads of `fn_args`, from `transferable`.

    Nobody there needs anything else of TFX, whose import takes as long as TensorFlow's.
    """
    return SimpleNamespace(**message)


def _item(number: Any) -> Any:
    """NumPy's numbers as Python's."""
    return number.item()
