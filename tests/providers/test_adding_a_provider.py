"""The example of docs/adding-a-provider.md is a provider, and the table of docs/providers.md is the code's."""

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import httpx
import orjson
import pytest
import respx

from postroom import providers
from postroom.domain import moves
from postroom.providers import matrix
from postroom.providers.base import OutcomeKind, Provider
from tests.providers import contract
from tests.providers.contract import ProviderContract
from tests.providers.vendor_wire import NETWORK, Reply, Wire, page

DOCS = Path(__file__).parent.parent.parent / "docs"


@pytest.fixture(scope="module")
def pigeon(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    text = (DOCS / "adding-a-provider.md").read_text()
    example = re.search(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert example is not None
    path = tmp_path_factory.mktemp("example") / "pigeon.py"
    path.write_text(example[1])
    spec = importlib.util.spec_from_file_location("pigeon", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["pigeon"] = module
    spec.loader.exec_module(module)
    return module


FAILURES: dict[str, tuple[Reply, OutcomeKind]] = {
    "400": (httpx.Response(400), OutcomeKind.REJECTED),
    "401": (httpx.Response(401), OutcomeKind.MISCONFIGURED),
    "429": (httpx.Response(429), OutcomeKind.THROTTLED),
    "500": (httpx.Response(500), OutcomeKind.UNKNOWN),
    "502 page": (page(502), OutcomeKind.UNKNOWN),
    "200 no json": (httpx.Response(200, text="ok"), OutcomeKind.UNKNOWN),
    **{name: (reply, OutcomeKind(kind)) for name, (reply, kind) in NETWORK.items()},
}


def accepting(request: httpx.Request) -> httpx.Response:
    return httpx.Response(200, json={"number": orjson.loads(request.content)["reference"]})


class TestTheExample(ProviderContract):
    provider_class = Provider  # replaced by the one of the document
    failures = {name: kind for name, (_, kind) in FAILURES.items()}
    misfits = {"an attachment": contract.with_attachment}

    @pytest.fixture(autouse=True)
    def _registered(self, monkeypatch, pigeon):
        """One entry of the tuple, as the document says."""
        monkeypatch.setattr(type(self), "provider_class", pigeon.Pigeon)
        known = (*providers.PROVIDERS, pigeon.Pigeon)
        monkeypatch.setattr(contract, "PROVIDERS", known)
        monkeypatch.setattr(contract, "BY_NAME", {p.name: p for p in known})

    @pytest.fixture
    def vendor(self):
        with respx.mock(assert_all_called=False) as router:
            replies = {name: reply for name, (reply, _) in FAILURES.items()}
            yield Wire(router, r"/letters$", accepting, replies)

    @pytest.fixture
    def provider(self, vendor, http, pigeon):
        return pigeon.Pigeon({"apiKey": "pk"}, http)

    def test_it_has_a_column_in_the_table(self, pigeon):
        assert "Pigeon" in matrix.markdown([pigeon.Pigeon])


def test_the_table_of_the_providers_page_is_that_of_the_code():
    page = (DOCS / "providers.md").read_text()
    assert matrix.markdown() in page, "make the table again, as the page says"


def test_every_vendor_has_its_place_on_the_page():
    page = (DOCS / "providers.md").read_text()
    assert [p.title for p in providers.PROVIDERS if f"\n## {p.title}\n" not in page] == []


def test_who_can_be_asked_is_known_to_the_log():
    assert moves.ASKED == ["resend", "paubox", "sandbox"]
    assert moves.POLLED == ["paubox"]
