"""Where a server listens, and who reaches it there."""

from __future__ import annotations

import asyncio

import pytest

from serving.process import address, is_loopback, new_loop, reachable, run


@pytest.mark.parametrize(
    ("host", "local"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True),
     ("0.0.0.0", False), ("", False), ("::", False), ("192.0.2.1", False),
     ("no.such.host.invalid", False), ("a\0b", False), ("x" * 300, False)],
)  # fmt: skip
def test_a_host_is_this_machines_alone_where_nobody_else_reaches_it(host, local):
    assert is_loopback(host) is local


def test_what_listens_everywhere_is_reached_by_this_machines_name():
    assert [reachable(host) for host in ("", "0.0.0.0", "::")] == ["localhost"] * 3
    assert [reachable(host) for host in ("127.0.0.1", "shop")] == ["127.0.0.1", "shop"]
    assert address("::1", 80) == "[::1]:80"
    assert address("shop", 8500) == "shop:8500"


def test_what_is_run_runs_in_the_loop_that_new_ones_are_like():
    seen = []

    async def main():
        seen.append(type(asyncio.get_running_loop()))

    run(main())
    loop = new_loop()
    loop.close()
    assert seen == [type(loop)]
