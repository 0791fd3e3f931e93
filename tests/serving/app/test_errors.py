"""Every refusal has its status."""

from __future__ import annotations

import grpc
import pytest

from schema.errors import UserError
from serving.app.errors import Refused, status_of
from serving.client import RequestFailed
from serving.search import BadSearch, DamagedIndex, IndexAway, UnknownProduct

STATUSES = [
    (Refused(413, "It is too large."), 413),
    (BadSearch("There is no such field."), 400),
    (UnknownProduct("There is no such product."), 404),
    (DamagedIndex("It is damaged."), 503),
    (IndexAway("It is away."), 503),
    (RequestFailed("Too many.", grpc.StatusCode.RESOURCE_EXHAUSTED, "1"), 429),
    (RequestFailed("Nobody there.", grpc.StatusCode.UNAVAILABLE, "1"), 503),
    (RequestFailed("Who are you?", grpc.StatusCode.UNAUTHENTICATED, "1"), 503),
    (RequestFailed("It says nothing.", None, "1"), 503),
    (UserError("Something else."), 400),
]


@pytest.mark.parametrize(("error", "status"), STATUSES)
def test_what_was_raised_on_purpose_has_a_status_of_its_kind(error, status):
    assert status_of(error) == status
