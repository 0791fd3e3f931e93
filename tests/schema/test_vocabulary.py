"""Vocabularies as TensorFlow Transform writes them."""

from schema.vocabulary import file_labels, vocabulary_labels

PLACEHOLDER = b"49d0cd50-04bb-48c0-bc6f-5b575dce351a"


def test_labels_keep_their_order_and_their_letters():
    assert vocabulary_labels(iter(["Größe".encode(), b"a b", b"="])) == ["Größe", "a b", "="]


def test_what_stands_for_no_label_is_none_but_a_label_of_that_name_is_one():
    assert vocabulary_labels([PLACEHOLDER]) == []
    assert vocabulary_labels([]) == []
    assert vocabulary_labels([b"a", PLACEHOLDER]) == ["a", PLACEHOLDER.decode()]


def test_in_a_file_nothing_but_a_line_feed_ends_a_label():
    labels = ["a\rb", "c\x0bd", "e\u2028f", "g\x85h", " i "]
    assert file_labels("".join(f"{label}\n" for label in labels).encode()) == labels
    assert file_labels(b"") == file_labels(PLACEHOLDER + b"\n") == []
