"""What all tests share: how many examples the property tests draw, and how.

`make test` draws 100 of each (where a test does not say otherwise), `make fuzz` as many as `DFC_FUZZ` says. On a
CI machine (`CI=true`) they are the same in every run, unless more are asked for.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import settings

from dfcompiler import api, quotes

EXAMPLES = os.environ.get("DFC_FUZZ", "")

settings.register_profile(
    "dfc",
    deadline=None,
    max_examples=int(EXAMPLES or "100"),
    derandomize=os.environ.get("CI") == "true" and not EXAMPLES,
    print_blob=True,
)
settings.load_profile("dfc")


def pytest_addoption(parser: pytest.Parser) -> None:
    """The update mode of tests/test_files.py."""
    parser.addoption("--update-files", action="store_true", help="let tests/files/**/*.test expect what is printed now")


@pytest.fixture(scope="session", autouse=True)
def no_search_is_remembered() -> Iterator[None]:
    """Tests put wrong formulas in place of right ones: what they find must not be there in the next run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quotes, "found_before", lambda units, asked, search: search())
        yield


@pytest.fixture(scope="session", autouse=True)
def every_mapping_is_checked() -> Iterator[None]:
    """Whatever a test compiles is checked by code that took no part in it."""
    from dfcompiler.check import check
    from dfcompiler.outputs import json_text, mapping_json

    made = api.Compiled.__init__

    def compiled(done: api.Compiled, *parts: Any) -> None:
        made(done, *parts)
        wrong = [f for v in check(json.loads(json_text(mapping_json(done, "test")))) for f in v.faults]
        assert not wrong, wrong[:5]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(api.Compiled, "__init__", compiled)
        yield
