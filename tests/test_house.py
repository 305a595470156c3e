"""Rules about this repository itself: what its files may name, and what must agree with what."""

from __future__ import annotations

import ast
import asyncio
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest
from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorSet

import broker
from broker.store.embedded import EmbeddedPostgres
from broker.store.pool import migrate
from broker.v1 import labels_pb2

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
# What is made on the spot and never committed (.gitignore says the same).
_MADE = {".git", ".venv", ".broker", ".hypothesis", ".mypy_cache", ".ruff_cache", "__pycache__", "node_modules"}
_PAGES = [ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")]
PAGES = [*_PAGES, *sorted((ROOT / "docs").rglob("*.md")), ROOT / "certs" / "README.md"]
DATA_HELD = (ROOT / "docs" / "data-held.md").read_text(encoding="utf-8")

# Put together here, so that this file does not name what it looks for.
_HOSTS = "|".join(
    re.escape(".".join(parts))
    for parts in (
        ("pypi", "org"),
        ("pythonhosted", "org"),
        ("registry", "npmjs", "org"),
        ("proxy", "golang", "org"),
        ("index", "crates", "io"),
    )
)
_FOLDERS = "|".join(("/" + r"home/\w", "/" + "Users/", "/" + "root/", re.escape(f"{ROOT}/")))
ELSEWHERE = re.compile(rf"({_HOSTS})|(?<![\w./-])({_FOLDERS})|file:" + "//")


def files() -> Iterator[Path]:
    """Every file of the tree that is not made on the spot."""
    for folder, folders, names in os.walk(ROOT):
        folders[:] = [name for name in folders if name not in _MADE]
        yield from (Path(folder) / name for name in names if name not in _MADE)


def test_no_file_names_a_place_that_is_not_everybodys() -> None:
    """No file names a package registry's host, or a path that exists on one machine only."""
    found = [
        f"{file.relative_to(ROOT)}: {match[0]}"
        for file in files()
        for match in ELSEWHERE.finditer(file.read_bytes().decode("utf-8", "replace"))
    ]
    assert found == []


@pytest.mark.parametrize(
    "text",
    [
        "see https://" + "pypi" + ".org/simple",
        "cd /" + "home/ann/x",
        "(/" + "root/.cache)",
        "file:" + "///x",
        f"in {ROOT}/docs",
    ],
)
def test_the_look_for_such_places_finds_them(text: str) -> None:
    """What the test before this one looks for is found where it stands."""
    assert ELSEWHERE.search(text)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_inside_the_documentation_resolve(page: Path) -> None:
    """Every relative link leads to a file here, and its fragment to a heading of it."""
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, fragment = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        if not file.is_file() or (fragment and fragment not in _anchors(file)):
            broken.append(target)
    assert broken == []


def test_every_decision_is_in_the_index() -> None:
    """The index of decisions links each page once, in order, and numbers leave no gap."""
    folder = ROOT / "docs" / "decisions"
    pages = sorted(file.name for file in folder.glob("*.md") if file.name != "README.md")
    assert re.findall(r"\]\(([^)]+)\)", (folder / "README.md").read_text(encoding="utf-8")) == pages
    assert [name[:4] for name in pages] == [f"{number:04}" for number in range(1, len(pages) + 1)]


def _anchors(file: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", file.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_code_that_the_documentation_names_exists(page: Path) -> None:
    """Every path in code type that begins with one of our folders is there."""
    folders = "adapters|bench|broker|docs|proto|requirements|tests"
    named = re.findall(rf"`((?:{folders})/[\w./-]+)`", page.read_text(encoding="utf-8"))
    assert [path for path in named if not (ROOT / path).exists()] == [p for p in named if p in _AREAS_TO_COME]


def test_every_module_stands_in_the_plan_of_the_house() -> None:
    """docs/architecture.md names what each module and package of the broker owns, and each of them once."""
    table = (
        (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8").split("## The house")[1].split("##")[0]
    )
    named = [
        name
        for line in table.splitlines()
        for name in re.findall(r"`(broker/[\w./]+)`", line.rsplit("|", 2)[0])
    ]
    there = {
        f"broker/{each.name}" + "/" * each.is_dir()
        for each in (ROOT / "broker").iterdir()
        if each.name not in ("__init__.py", "__main__.py", "__pycache__", "py.typed")
    }
    assert sorted(name for name in named if name.count("/") == 1 + name.endswith("/")) == sorted(
        there - {"broker/v1/"}
    )


# Where CONTRIBUTING.md sends tests whose area has none yet.
_AREAS_TO_COME = {
    f"tests/{area}/"
    for area in ("store", "exchange", "rpc", "client", "adapters", "support")
    if not (ROOT / "tests" / area).exists()
}


def test_every_table_and_column_is_described_in_data_held(tmp_path: Path) -> None:
    """What the migrations make is what docs/data-held.md lists, and the statements it gives are valid."""
    with EmbeddedPostgres.start(tmp_path) as server:
        columns, refused = asyncio.run(_database(server.dsn))
    assert refused == []
    sections = dict(re.findall(r"^### `(\w+)`\n(.*?)(?=^##|\Z)", DATA_HELD, re.MULTILINE | re.DOTALL))
    assert sections.keys() == {table for table, _ in columns}
    assert [(table, column) for table, column in columns if f"`{column}`" not in sections[table]] == []


async def _database(dsn: str) -> tuple[list[tuple[str, str]], list[str]]:
    """(table, column) of all there are after migrating, and the page's statements that the server refuses."""
    await migrate(dsn)
    connection = await asyncpg.connect(dsn, timeout=10, command_timeout=10)
    try:
        rows = await connection.fetch(
            "select c.table_name, c.column_name from information_schema.columns c"
            " join information_schema.tables t using (table_schema, table_name)"
            " where c.table_schema = 'public' and t.table_type = 'BASE TABLE'"
        )
        refused = []
        for statement in re.findall(r"\b(?:delete from|update) [^;`]+ where [^;`]+", DATA_HELD):
            try:
                await connection.prepare(re.sub(r"'<\w+>'", "$1", statement))
            except asyncpg.PostgresError as error:
                refused.append(f"{statement}: {error}")
        return [(row[0], row[1]) for row in rows], refused
    finally:
        await connection.close(timeout=5)


def test_the_version_is_the_same_everywhere() -> None:
    """pyproject.toml, the package and the newest release in CHANGELOG.md name one version."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    released = re.findall(
        r"^## \[(\d[^\]]*)\] - \d{4}-\d\d-\d\d$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE
    )
    assert released[0] == project["version"] == broker.__version__


def test_requirements_are_pinned_by_hash_and_without_an_address() -> None:
    """Every requirement names one version and at least one SHA-256, and no line an index or a URL."""
    for file in sorted((ROOT / "requirements").glob("*.txt")):
        text = re.sub(r"\\\n\s*", " ", file.read_text(encoding="utf-8"))
        for line in filter(None, (line.split("#")[0].strip() for line in text.splitlines())):
            assert re.match(r"[A-Za-z0-9._-]+==\S+ .*--hash=sha256:[0-9a-f]{64}", line), (
                f"{file.name}: {line[:80]}"
            )


def test_every_test_says_its_behaviour() -> None:
    """Each test function has a docstring."""
    silent = [
        f"{file.relative_to(ROOT)}: {node.name}"
        for file in sorted((ROOT / "tests").rglob("test_*.py"))
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
        and not ast.get_docstring(node)
    ]
    assert silent == []


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of what `proto/check` and the import rules read, to be spoilt."""
    for folder in ("adapters", "broker", "docs", "proto", "records"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def _run(*command: str | Path, cwd: Path) -> tuple[int, str]:
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, "BIN": str(BIN), "PYTHONPATH": str(cwd)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_generated_code_and_wire_contract_are_in_order() -> None:
    """Generated code is what proto/ says; nothing that was released is broken, no label weaker."""
    assert _run("proto/check", cwd=ROOT) == (
        0,
        "proto: generated code is current, nothing released is broken\n",
    )


@pytest.mark.parametrize(
    ("file", "old", "new", "generate", "says"),
    [
        ("fire/v1/premises_risk.proto", "string name = 1", "string names = 1", False, "run make generate"),
        ("fire/v1/premises_risk.proto", "string name = 1", "bytes name = 1", True, "changed type"),
        (
            "fire/v1/premises_risk.proto",
            "LABEL_CONTACT",
            "LABEL_PLAIN",
            True,
            "occupier.phone: label made weaker",
        ),
        (
            "nhs/v1/patient_summary.proto",
            "string family = 1 [(broker.v1.labels) = LABEL_IDENTIFYING",
            "string Family = 1 [(broker.v1.labels) = LABEL_IDENTIFYING",
            True,
            "lower_snake_case",
        ),
        (
            "fire/v1/premises_risk.proto",
            "// Clutter Image Rating, 1 to 9.",
            "// Clutter.",
            True,
            "docs/record-types.md is not what proto/records says",
        ),
        (
            "fire/v1/premises_risk.proto",
            "  // Clutter Image Rating, 1 to 9.\n",
            "",
            True,
            "records.fire.v1.Hoarding.clutter_rating: has no comment that says what it means",
        ),
    ],
    ids=["drift", "wire", "label", "style", "page", "silence"],
)
def test_what_breaks_the_wire_contract_is_found(
    tree: Path, file: str, old: str, new: str, generate: bool, says: str
) -> None:
    """Stale code or page, a changed type, a weaker label, bad style and a field without words each fail it."""
    proto = tree / "proto" / "records" / file
    text = proto.read_text(encoding="utf-8")
    assert old in text
    proto.write_text(text.replace(old, new, 1), encoding="utf-8")
    if generate:
        assert _run("proto/generate", cwd=tree) == (0, "")
    code, output = _run("proto/check", cwd=tree)
    assert code != 0
    assert says in output


def test_a_baseline_without_record_types_is_refused(tmp_path: Path) -> None:
    """A baseline that names no record type would make every later change pass."""
    (tmp_path / "empty.binpb").write_bytes(b"")
    code, output = _run(BIN / "python", ROOT / "proto" / "successors.py", "empty.binpb", cwd=tmp_path)
    assert (code, output) == (2, "empty.binpb holds no record type\n")


def test_a_record_type_that_is_gone_is_missed(tmp_path: Path) -> None:
    """A record type of the baseline that is no longer there is named."""
    image = FileDescriptorSet.FromString((ROOT / "proto" / "baseline.binpb").read_bytes())
    file = next(file for file in image.file if file.package == "records.fire.v1")
    gone: DescriptorProto = file.message_type.add(name="HydrantMap")
    gone.options.Extensions[labels_pb2.record_type].subject_schemes.append("uprn")
    (tmp_path / "before.binpb").write_bytes(image.SerializeToString())
    code, output = _run(BIN / "python", ROOT / "proto" / "successors.py", "before.binpb", cwd=tmp_path)
    assert code == 1
    assert "records.fire.v1.HydrantMap: was released and is gone" in output


def test_import_rules_hold_and_bite(tree: Path) -> None:
    """Each import contract is kept as things are, and broken by one import that it is there to forbid."""
    check = (BIN / "lint-imports", "--no-logo", "--no-cache")
    code, output = _run(*check, cwd=tree)
    assert code == 0, output
    names = re.findall(
        r"^name = \"(.+)\"$", (tree / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE
    )[1:]
    for file, line in (
        ("broker/ports/__init__.py", "import broker.exchange"),
        ("broker/core/merkle.py", "import time"),
        ("broker/client.py", "import broker.store.log"),
        ("adapters/police/__init__.py", "import adapters.fire"),
        ("adapters/fire/__init__.py", "import broker.core.model"),
        ("records/fire/v1/premises_risk_pb2.py", "import broker.errors"),
        ("broker/exchange.py", "import broker.children"),
    ):
        (tree / file).parent.mkdir(exist_ok=True)
        with (tree / file).open("a", encoding="utf-8") as source:
            source.write(f"\n{line}\n")
    code, output = _run(*check, cwd=tree)
    assert code == 1
    assert len(names) == 7
    plain = " ".join(output.split())
    assert [name for name in names if f"{name} BROKEN" not in plain] == []
