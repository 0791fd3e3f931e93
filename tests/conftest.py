"""The order of the whole suite."""


def pytest_collection_modifyitems(items):
    """Files with a slow test come first, lest one process be left with them at the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)
