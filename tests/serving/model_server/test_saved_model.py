"""The engine: a SavedModel in a Session, computed request by request or together."""

import threading
import time

import grpc
import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import example, given, settings
from hypothesis import strategies as st

from serving.model_server.errors import RequestError
from serving.model_server.joint_runs import Batching
from serving.model_server.saved_model import SavedModel

tf1 = tf.compat.v1


class Rows(tf.Module):
    """Signatures that need a variable, a table and an assertion, row by row."""

    def __init__(self):
        super().__init__()
        self.factor = tf.Variable([[2.0, 3.0]])
        self.table = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(["a", "b"], tf.constant([1, 2], tf.int64)), -1
        )
        self.calls = tf.Variable(0, dtype=tf.int64)
        self.largest = tf.Variable(0, dtype=tf.int64)

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], tf.string, "word"),
            tf.TensorSpec([None, 2], tf.float32, "x"),
        ]
    )
    def rows(self, word, x):
        good = tf.debugging.Assert(tf.reduce_all(x >= 0), ["negative at", tf.where(x < 0)[:1, 0]])
        with tf.control_dependencies([good]):
            return {
                "index": self.table.lookup(word),
                "product": x * self.factor,
                "text": tf.strings.join([word, "!"]),
            }

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x")])
    def counted(self, x):
        self.calls.assign_add(1)
        self.largest.assign(tf.maximum(self.largest, tf.size(x, tf.int64)))
        wait = tf.reduce_sum(tf.linalg.matmul(tf.ones([900, 900]), tf.ones([900, 900])))
        with tf.control_dependencies([wait]):
            return {"y": tf.identity(x) + 1}

    @tf.function(input_signature=[])
    def seen(self):
        return {"calls": self.calls.read_value(), "largest": self.largest.read_value()}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x")])
    def total(self, x):
        return {"sum": tf.reduce_sum(x)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "x")])
    def number(self, x):
        return {"y": tf.strings.to_number(x)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int32, "x")])
    def forever(self, x):
        one = tf.ones([400, 400])
        i, _ = tf.while_loop(
            lambda i, _: i < 1_000_000, lambda i, y: (i + 1, tf.matmul(y, one) * 1e-9), (0, one)
        )
        return {"y": x + i}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved") / "1"
    module = Rows()
    names = ("rows", "counted", "seen", "total", "forever", "number")
    tf.saved_model.save(module, folder, signatures={name: getattr(module, name) for name in names})
    return folder


@pytest.fixture(scope="module", params=["alone", "batched"])
def model(request, folder):
    batching = Batching(max_batch_size=8) if request.param == "batched" else None
    model = SavedModel(folder, batching=batching)
    yield model
    model.close()


def words(*values: str) -> np.ndarray:
    return np.array([value.encode() for value in values], dtype=object)


def floats(*values) -> np.ndarray:
    return np.array(values, np.float32)


def test_variables_tables_and_text_are_as_the_graph_says(model):
    text, product, index = model.run(
        {"word": words("a", "z"), "x": floats([1, 1], [2, 5])},
        ["text", "product", "index"],
        signature_name="rows",
    )
    assert text.tolist() == [b"a!", b"z!"]
    assert product.tolist() == [[2, 3], [4, 15]]
    assert index.tolist() == [1, -1]


def test_a_refusal_of_the_graph_has_its_status_and_its_words(model):
    with pytest.raises(RequestError, match="negative at.*1") as refusal:
        model.run(
            {"word": words("a", "b"), "x": floats([1, 1], [-2, 5])}, ["text"], signature_name="rows"
        )
    assert refusal.value.code is grpc.StatusCode.INVALID_ARGUMENT
    assert not refusal.value.message.startswith("Graph execution error")


def test_a_refusal_with_bytes_that_are_no_text_is_one_all_the_same(model):
    with pytest.raises(RequestError) as refusal:
        model.run({"x": np.array([b"\xff\xfe no number"], object)}, ["y"], signature_name="number")
    assert refusal.value.code is grpc.StatusCode.INVALID_ARGUMENT
    assert "no number" in refusal.value.message


def test_a_type_that_is_not_the_signatures_is_refused(model):
    with pytest.raises(RequestError, match="x to be float32 but float64") as refusal:
        model.run({"word": words("a"), "x": np.zeros((1, 2))}, ["text"], signature_name="rows")
    assert refusal.value.code is grpc.StatusCode.INVALID_ARGUMENT


def test_more_dimensions_than_numpy_can_hold_safely_are_refused(model):
    with pytest.raises(RequestError, match="33 dimensions"):
        model.run(
            {"word": words("a").reshape([1] * 33), "x": floats([1, 1])},
            ["text"],
            signature_name="rows",
        )


def test_a_signature_without_a_row_for_a_row_is_answered(model):
    (total,) = model.run({"x": floats(1, 2, 3)}, ["sum"], signature_name="total")
    assert total == 6


def test_shapes_are_what_the_graph_can_compute_not_what_the_signature_says(model):
    (product,) = model.run(
        {"word": words("a"), "x": floats([1], [2], [3])[:1]}, ["product"], signature_name="rows"
    )
    assert product.tolist() == [[2, 3]], "broadcast along the axis that the signature has as 2"


def test_ever_other_sets_of_outputs_are_answered_and_not_all_kept(folder):
    model = SavedModel(folder)
    signature = model._signatures["rows"]
    feed = {"word": words("a"), "x": floats([1, 1])}
    for _ in range(3):
        for wanted in (["text"], ["index"], ["index", "text"], ["text", "index"], ["product"]):
            values = model.run(feed, wanted, signature_name="rows")
            assert len(values) == len(wanted)
    assert len(signature.fetches) == 4
    model.close()


def test_a_computation_past_its_time_is_stopped(folder):
    model = SavedModel(folder)
    began = time.monotonic()
    with pytest.raises(RequestError) as refusal:
        model.run({"x": np.array([1], np.int32)}, ["y"], 0.3, signature_name="forever")
    assert refusal.value.code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert time.monotonic() - began < 20
    model.close()


def together(model, signature_name, outputs, *requests, timeout_s=None):
    return model.run_together(requests, outputs, timeout_s, signature_name)


def seen(model):
    """How often `counted` was run since the model was loaded, and its largest batch."""
    return [int(value) for value in model.run({}, ["calls", "largest"], signature_name="seen")]


def test_requests_of_several_callers_are_computed_together(folder):
    model = SavedModel(folder, batching=Batching(max_batch_size=8))
    asked = [{"x": floats(i)} for i in range(64)]
    answers = together(model, "counted", ["y"], *asked)
    assert [y.tolist() for (y,) in answers] == [[i + 1] for i in range(64)]
    assert seen(model) == [8, 8]
    model.close()


def test_requests_are_put_into_a_batch_as_long_as_they_fit_whole(folder):
    model = SavedModel(folder, batching=Batching(max_batch_size=8))
    sizes = [3, 5, 1, 8, 7, 2, 20]
    asked = [{"x": floats(*range(size))} for size in sizes]
    answers = together(model, "counted", ["y"], *asked)
    assert [y.tolist() for (y,) in answers] == [[i + 1 for i in range(size)] for size in sizes]
    # 3 + 5, 1, 8, 7, 2, and 20 as 8 + 8 + 4.
    assert seen(model) == [8, 8]
    model.close()


def test_without_batching_each_request_is_computed_by_itself(folder):
    model = SavedModel(folder)
    answers = together(model, "counted", ["y"], {"x": floats(1)}, {"x": floats(2, 3)})
    assert [y.tolist() for (y,) in answers] == [[2], [3, 4]]
    assert seen(model) == [2, 2]
    model.close()


# A request of `rows`: a word, rows of x and what may be wrong with it.
REQUEST = st.tuples(
    st.sampled_from(["a", "b", "z"]),
    st.integers(0, 6),
    st.sampled_from(["right"] * 5 + ["negative", "wrong type", "uneven", "wide", "scalar"]),
)


def a_request(word, rows, fault, place):
    x = np.arange(2 * rows, dtype=np.float32).reshape(rows, 2) + place
    if fault == "negative" and rows:
        x[rows // 2] = -1
    if fault == "wrong type":
        x = x.astype(np.float64)
    if fault == "wide":
        x = np.ones((rows, 3), np.float32)
    if fault == "scalar":
        x = np.float32(1)
    return {"word": words(*[word] * (rows + (fault == "uneven"))), "x": np.asarray(x)}


def outcome(run):
    try:
        return [value.tolist() for value in run()]
    except RequestError as error:
        return error.code, error.message


@settings(deadline=None, max_examples=60)
@given(asked=st.lists(REQUEST, min_size=1, max_size=12))
@example(asked=[("a", 1, "right")] * 3 + [("a", 4, "negative"), ("b", 2, "right")])
def test_each_request_gets_together_with_others_what_it_gets_alone(batched_and_not, asked):
    batched, alone = batched_and_not
    requests = [a_request(*of, place) for place, of in enumerate(asked)]
    outputs = ["text", "product", "index"]
    found = together(batched, "rows", outputs, *requests)
    for request, answer in zip(requests, found, strict=True):
        expected = outcome(lambda request=request: alone.run(request, outputs, None, "rows"))
        if isinstance(answer, RequestError):
            assert answer.code == expected[0]
            # Of a number without rows two operations complain, whichever comes first.
            if request["x"].ndim:
                assert answer.message == expected[1]
        else:
            assert [value.tolist() for value in answer] == expected


@pytest.fixture(scope="module")
def batched_and_not(folder):
    # Filled up, divided and joined.
    batched = SavedModel(folder, batching=Batching(max_batch_size=4, allowed_batch_sizes=(3, 4)))
    alone = SavedModel(folder)
    yield batched, alone
    batched.close()
    alone.close()


def test_a_request_larger_than_a_batch_is_divided_or_refused_as_told(folder):
    large = floats(*range(20))
    model = SavedModel(folder, batching=Batching(max_batch_size=8, max_request_size=30))
    (y,) = model.run({"x": large}, ["y"], signature_name="counted")
    assert y.tolist() == (large + 1).tolist()
    assert seen(model) == [3, 8]
    with pytest.raises(RequestError, match="Task size 31 is larger than maximum input batch size"):
        model.run({"x": floats(*range(31))}, ["y"], signature_name="counted")
    model.close()
    model = SavedModel(folder, batching=Batching(max_batch_size=8, max_request_size=None))
    with pytest.raises(
        RequestError, match="Task size 20 is larger than maximum input batch size 8"
    ):
        model.run({"x": large}, ["y"], signature_name="counted")
    model.close()


def test_a_request_of_just_the_most_rows_is_computed_and_one_more_costs_itself_alone(folder):
    model = SavedModel(folder, batching=Batching(max_batch_size=8, max_request_size=12))
    sizes = [12, 13, 2, 2]
    asked = [{"x": np.arange(size, dtype=np.float32)} for size in sizes]
    answers = together(model, "counted", ["y"], *asked)
    assert isinstance(answers[1], RequestError)
    assert answers[1].code is grpc.StatusCode.INVALID_ARGUMENT
    assert "Task size 13 is larger than maximum input batch size 12" in str(answers[1])
    for place in (0, 2, 3):
        assert answers[place][0].tolist() == list(range(1, sizes[place] + 1))
    # 8 and 4 of the first one, then the two of 2 as one.
    assert seen(model) == [3, 8]
    model.close()


def test_without_a_word_large_requests_are_divided_up_to_a_million_rows(folder):
    model = SavedModel(folder, batching=Batching(max_batch_size=8))
    (y,) = model.run({"x": np.arange(9, dtype=np.float32)}, ["y"], signature_name="counted")
    assert y.tolist() == list(range(1, 10))
    assert seen(model) == [2, 8]
    with pytest.raises(RequestError, match=f"maximum input batch size {2**20}"):
        model.run({"x": np.zeros(2**20 + 1, np.float32)}, ["y"], signature_name="counted")
    model.close()


def test_batches_are_filled_up_to_the_allowed_sizes(folder):
    batching = Batching(max_batch_size=8, allowed_batch_sizes=(4, 8))
    model = SavedModel(folder, batching=batching)
    (y,) = model.run({"x": floats(1, 2, 3)}, ["y"], signature_name="counted")
    assert y.tolist() == [2, 3, 4]
    assert seen(model) == [1, 4]
    answers = together(model, "counted", ["y"], {"x": floats(1, 2, 3)}, {"x": floats(4, 5)})
    assert [y.tolist() for (y,) in answers] == [[2, 3, 4], [5, 6]]
    assert seen(model) == [2, 8]
    model.close()


def test_a_signature_without_a_row_for_a_row_is_not_computed_together(folder, caplog):
    model = SavedModel(folder, batching=Batching(max_batch_size=8))
    for _ in range(3):
        answers = together(model, "total", ["sum"], {"x": floats(1, 2, 3)}, {"x": floats(4)})
        assert [total.tolist() for (total,) in answers] == [6, 4]
    assert [record.getMessage().split(":")[0] for record in caplog.records] == [
        "signature total is computed request by request"
    ]
    model.close()


def test_batching_is_given_up_where_it_never_works_but_not_for_bad_requests(tmp_path, caplog):
    with tf.Graph().as_default(), tf1.Session() as session:
        # Takes one row and no more, whatever it says.
        x = tf1.placeholder(tf.float32, [None])
        y = tf.reshape(x, [1]) + 1
        tf1.saved_model.simple_save(session, str(tmp_path / "1"), {"x": x}, {"y": y})
    model = SavedModel(tmp_path / "1", batching=Batching(max_batch_size=8))
    good, bad = {"x": floats(1)}, {"x": floats(1, 2, 3)}
    for _ in range(19):
        assert together(model, "serving_default", ["y"], good, good) == [[[2]], [[2]]]
        together(model, "serving_default", ["y"], good, bad)
    assert "request by request" not in caplog.text
    together(model, "serving_default", ["y"], good, good)
    assert "request by request: " in caplog.text
    model.close()


def test_the_time_is_that_of_all_batches_together(folder):
    model = SavedModel(folder, batching=Batching())
    forever = {"x": np.array([1], np.int32)}
    began = time.monotonic()
    answers = together(model, "forever", ["y"], forever, forever, timeout_s=0.3)
    assert [error.code for error in answers] == [grpc.StatusCode.DEADLINE_EXCEEDED] * 2
    assert time.monotonic() - began < 20
    model.close()


def test_variables_of_tensorflow_1_answer(tmp_path):
    with tf.Graph().as_default(), tf1.Session() as session:
        x = tf1.placeholder(tf.float32, [None, 1])
        y = x * tf1.get_variable("factor", initializer=2.0, use_resource=False)
        session.run(tf1.global_variables_initializer())
        tf1.saved_model.simple_save(session, str(tmp_path / "1"), {"x": x}, {"y": y})
    model = SavedModel(tmp_path / "1", batching=Batching())
    assert model.run({"x": floats([3])}, ["y"])[0].tolist() == [[6]]
    model.close()


def test_a_model_that_only_pythons_loader_can_answer_from_is_refused_with_the_reason(tmp_path):
    class Holder(tf.Module):
        def __init__(self):
            super().__init__()
            self.model = keras.Sequential([keras.layers.Input([2]), keras.layers.Dense(1)])

        @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32, "x")])
        def serve(self, x):
            return {"y": self.model(x)}

    holder = Holder()
    tf.saved_model.save(holder, tmp_path / "1", signatures=holder.serve)
    tf.saved_model.load(str(tmp_path / "1"))
    with pytest.raises(ValueError, match="reads the variable .* a Session does not restore"):
        SavedModel(tmp_path / "1")


def test_a_closed_model_leaves_no_thread_behind(folder):
    def once():
        model = SavedModel(folder, batching=Batching())
        model.run({"x": floats(1)}, ["y"], signature_name="counted")
        model.close()

    once()
    before = threading.active_count()
    once()
    assert threading.active_count() == before
