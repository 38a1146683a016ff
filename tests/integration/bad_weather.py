"""Bad weather before a test's store: what the tests share that send varve through tests/services/weather.py."""

import contextlib
import re

import varve_harness  # noqa: F401: it tells where the next is
from weather import Fault, Weather


def before(test, seed=1):
    """A proxy before the store of a test (a VarveTest), with fair weather yet; it ends with the test. None for a store that
    does not speak HTTP."""
    port = re.search(r"127\.0\.0\.1:(\d+)", test.place.url)
    if not port or test.place.url.startswith("sftp:"):
        return None
    stack = contextlib.ExitStack()
    test.addCleanup(stack.close)
    weather = stack.enter_context(Weather(int(port[1]), seed=seed))
    test.env["VARVE_REPO"] = test.place.url.replace(port[0], f"127.0.0.1:{weather.port}")
    return weather


def storm(weather):
    """5 % of the requests fail, each in its way, and 1 % of the bodies are cut."""
    for status in (503, 500, 429):
        weather.set(Fault.STATUS, probability=0.0125, status=status)
    weather.set(Fault.RESET_BEFORE, probability=0.004)
    weather.set(Fault.RESET_AFTER, probability=0.004)
    weather.set(Fault.REPLY_LOST, probability=0.0045)
    weather.set(Fault.TRUNCATE, probability=0.01, method="GET")
    weather.set(Fault.RESET_DURING, probability=0.01, method="PUT|POST")
