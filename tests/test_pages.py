"""What the documentation shows to be copied is what the code takes."""

from __future__ import annotations

import ast
import importlib
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic_core import PydanticUndefined

from adapters.sdk import AdapterSettings, AnswerFunction, Provides, SubjectRef
from adapters.sdk.conformance import Case, check
from broker import law
from broker.catalogue import standard_record_types
from broker.consent import extras, purposes
from broker.core import agreement as agreements
from broker.core import checks, directive, routing, terms
from broker.core.directory import Agency
from broker.core.recordtype import RecordType
from broker.core.routing import Routes

# What `broker directive add` is told of how a directive was taken.
ADD_OPTIONS = (
    *("standing", "speaker", "authority", "capacity", "assessor", "assessed-on", "assessed", "manner"),
    *("taken-by", "explained", "company", "matter", "birth-date", "reconsider-at", "conflict"),
)
DOCS = Path(__file__).resolve().parent.parent / "docs"


def page(name: str) -> str:
    """The text of a page."""
    return (DOCS / name).read_text(encoding="utf-8")


def blocks(name: str, language: str) -> list[str]:
    """The code blocks of a page in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page(name), re.MULTILINE | re.DOTALL)


async def test_the_adapter_to_copy_keeps_every_promise() -> None:
    """The first block of docs/adapters.md is a module whose `answer` passes the conformance kit."""
    module: dict[str, Any] = {"__name__": "my_adapter"}
    exec(compile(blocks("adapters.md", "python")[0], "docs/adapters.md", "exec"), module)
    answer: AnswerFunction = module["answer"]
    known, unknown = SubjectRef("uprn", "100062990777"), SubjectRef("uprn", "7")
    case = Case(Provides("records.fire.v1.PremisesRisk", ("uprn",)), known, unknown)
    verdicts = await check(answer, case)
    assert [each for each in verdicts if not each.kept] == []
    assert len(verdicts) == 8


def test_the_routes_to_copy_are_a_file_that_leads_somewhere() -> None:
    """The TOML of docs/routing.md is whole, and its night team is asked in the west at night."""
    routes = Routes.of([routing.parse(blocks("routing.md", "toml")[0].encode(), law.load())])
    friday = datetime(2026, 11, 20, 16, 59, 59, tzinfo=UTC)
    child, carlisle = "records.council.v1.ChildPlan", "E07000028"
    (day,) = routes.find(child, carlisle, friday).routes
    (night,) = routes.find(child, carlisle, friday + timedelta(seconds=1)).routes
    assert (day.holder, night.holder) == ("cumberland", "westmorland-furness")


def test_every_setting_of_an_adapter_is_in_its_table() -> None:
    """docs/adapters.md has a row for each variable, and the default that the code has."""
    rows = dict(re.findall(r"^\| `BROKER_ADAPTER_(\w+)` \| ([^|]+) \|", page("adapters.md"), re.MULTILINE))
    assert rows.keys() == {name.upper() for name in AdapterSettings.model_fields}
    for name, field in AdapterSettings.model_fields.items():
        said = rows[name.upper()].strip("`")
        match field.default:
            case default if default is PydanticUndefined and field.default_factory is None:
                assert said == "needed"
            case None:
                assert said == "none"
            case "":
                assert said == "empty"
            case str() | int() | float() as default:
                assert said == str(default)
            case _:
                assert said in ("host name", "{}")


@pytest.mark.parametrize("name", ["client.md", "adapters.md"])
def test_what_the_pages_import_is_there(name: str) -> None:
    """Every block of Python parses, and each name that it imports from this project exists."""
    for block in blocks(name, "python"):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and str(node.module).split(".")[0] in (
                "adapters",
                "broker",
                "records",
            ):
                module = importlib.import_module(str(node.module))
                assert [each.name for each in node.names if not hasattr(module, each.name)] == []


def test_the_agreement_to_copy_is_one() -> None:
    """The example of docs/agreements.md parses with the law's codes, and its paths are leaves of its type."""
    (example, *_) = blocks("agreements.md", "toml")
    agreement = agreements.parse(example.encode(), law.load())
    types = dict(standard_record_types())
    for flow in agreement.flows:
        RecordType.stored(types[flow.record_type], flow.record_type).check_paths(flow.permitted, "permitted")


def test_every_key_of_an_agreement_is_in_its_table() -> None:
    """docs/agreements.md has a row for each key of the file, and lists each code of the law."""
    text = page("agreements.md")
    named = set(re.findall(r"`([a-z_.]+)`", "".join(re.findall(r"^\| (`[^|]+) \|", text, re.MULTILINE))))
    keys = set()
    for name, field in agreements.Agreement.model_fields.items():
        parts = re.findall(r"terms\.(\w+)", str(field.annotation))
        inner = [part for part in parts if hasattr(getattr(terms, part), "model_fields")]
        keys |= {f"{name}.{key}" for part in inner for key in getattr(terms, part).model_fields} or {name}
    assert keys <= named, keys - named
    codes = law.load()
    for table in (
        codes.purposes,
        codes.bases,
        codes.conditions,
        codes.gateways,
        codes.confidentiality,
        codes.regimes,
        codes.kinds,
    ):
        assert [code for code in table if f"`{code}`" not in text] == []


def test_the_page_on_directives_names_what_there_is() -> None:
    """docs/directives.md has each kind, standing and option, and HL7's purposes as they are read."""
    text = page("directives.md")
    assert [code for code in directive.KINDS | directive.STANDINGS if f"`{code}`" not in text] == []
    rows = re.findall(r"^\| `([A-Z]+)` \| (.+) \|$", text, re.MULTILINE)
    codes = law.load()
    known = {code for purpose in codes.purposes.values() for code in purpose.hl7}
    assert {code for code, _ in rows} == known
    for code, ours in rows:
        assert re.findall(r"`([a-z-]+)`", ours) == sorted(purposes.meant(code, codes, permit=True))
    assert [option for option in ADD_OPTIONS if f"`--{option}" not in text] == []
    assert [part for part in extras.PARTS if f"`{part}`" not in text] == []


def test_every_check_of_an_agreement_is_in_its_table() -> None:
    """docs/checks.md has a row for each rule, with how grave it is, and no others."""
    rows = dict(re.findall(r"^\| `([a-z.-]+)` \| (\w+) \|", page("checks.md"), re.MULTILINE))
    assert rows == {rule.id: rule.severity for rule in checks.RULES}


def test_the_agreement_to_copy_has_nothing_against_it() -> None:
    """The example of docs/agreements.md passes every check, with agencies of its kinds."""
    (example, *_) = blocks("agreements.md", "toml")
    agreement = agreements.parse(example.encode(), law.load())
    since = datetime(2020, 1, 1, tzinfo=UTC)
    agencies = {
        name: Agency(name, name, kind, "england", since)
        for name, kind in (("nwas", "ambulance"), ("exfrs", "fire"))
    }
    types = {name: RecordType.stored(data, name) for name, data in standard_record_types()}
    setting = checks.Setting(agreement, law.load(), agencies, types, agreement.valid_from, whole=True)
    assert list(checks.check(setting)) == []
