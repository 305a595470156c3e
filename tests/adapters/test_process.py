"""Adapters as processes: settings from the environment, ready, serving, ended by SIGTERM."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from adapters.nhs import demo
from adapters.sdk.settings import from_environment
from broker.errors import SetupError
from records.fire.v1 import premises_risk_pb2 as fire
from records.nhs.v1 import patient_summary_pb2 as nhs
from tests.support.certificates import Authority, Files
from tests.support.fhir import real_server
from tests.support.worker import BROKER, DIGEST, Worker

SUMMARY = "records.nhs.v1.PatientSummary"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Who signs everything here."""
    return Authority(tmp_path_factory.mktemp("process-ca"))


@pytest.fixture
async def worker(authority: Authority) -> AsyncIterator[Worker]:
    """A broker worker on a free port."""
    one = await Worker(authority.server()).start()
    one.approved[SUMMARY] = DIGEST
    yield one
    await one.stop()


def environment(target: str, files: Files, **more: str) -> dict[str, str]:
    """What a supervisor gives an adapter, and nothing else."""
    return {
        "PATH": os.environ["PATH"],
        "BROKER_ADAPTER_TARGET": target,
        "BROKER_ADAPTER_CA": str(files.ca),
        "BROKER_ADAPTER_CERT": str(files.cert),
        "BROKER_ADAPTER_KEY": str(files.key),
        "BROKER_ADAPTER_EXPECTED_BROKER": BROKER,
        **more,
    }


async def command(module: str, env: dict[str, str], *arguments: str) -> tuple[int, str, str]:
    """Run `python -m module` to its end: exit code, standard output and error."""
    process = await _start(module, env, *arguments)
    async with asyncio.timeout(20):
        out, err = await process.communicate()
    return process.returncode or 0, out.decode(), err.decode()


@asynccontextmanager
async def adapter(module: str, env: dict[str, str]) -> AsyncIterator[asyncio.subprocess.Process]:
    """`python -m module`, attached; killed at the end of the block if it still runs."""
    process = await _start(module, env)
    try:
        assert process.stdout is not None
        async with asyncio.timeout(20):
            assert await process.stdout.readline() == b"attached\n"
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def _start(module: str, env: dict[str, str], *arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module, *arguments),
        env=env,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def test_the_fire_adapter_loads_serves_and_leaves(
    authority: Authority, worker: Worker, fire_server: str, tmp_path: Path
) -> None:
    """Demonstration loaded, ready file made, an ask answered, SIGTERM: drained, exit 0, ready file gone."""
    owner = await asyncpg.connect(fire_server)
    await owner.execute("CREATE DATABASE as_a_process")
    dsn = urlsplit(fire_server)._replace(path="/as_a_process").geturl()
    ready = tmp_path / "ready"
    files = authority.client("cfrs", "risk-system")
    env = environment(worker.address, files, BROKER_FIRE_DATABASE_URL=dsn, BROKER_ADAPTER_READY_FILE=str(ready))
    try:
        assert await command("adapters.fire", env, "--load-demo") == (0, "", "")
        async with adapter("adapters.fire", env) as process:
            link = await worker.link()
            assert ready.exists()
            answer = await link.answer(link.ask("100062990001", permitted_paths=["oxygen.kind"]))
            record = fire.PremisesRisk()
            assert answer.found.record.Unpack(record)
            assert record.oxygen.kind == fire.OXYGEN_KIND_CONCENTRATOR
            process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(5):
                assert await process.wait() == 0
        await link.until(lambda: any(message.draining for message in link.messages))
        assert link.hello.software.startswith("fire-adapter/")
        assert not ready.exists()
    finally:
        await owner.execute("DROP DATABASE as_a_process WITH (FORCE)")
        await owner.close()


async def test_the_nhs_adapter_serves_and_names_no_patient_in_its_log(
    authority: Authority, worker: Worker, tmp_path: Path
) -> None:
    """A patient asked for at a live server, then at a stopped one; the log holds no number of either."""
    client = authority.client("example-trust", "ehr")
    with real_server(tmp_path, authority.server("fhir"), client) as server:
        env = environment(
            worker.address,
            client,
            BROKER_NHS_FHIR_URL=server.url,
            BROKER_NHS_CA=str(client.ca),
            BROKER_NHS_CERT=str(client.cert),
            BROKER_NHS_KEY=str(client.key),
            BROKER_NHS_LOCAL_NUMBERS=f'{{"{demo.LOCAL_NUMBER}": "RZZ"}}',
        )
        assert (await command("adapters.nhs", env, "--load-demo"))[0] == 0
        async with adapter("adapters.nhs", env) as process:
            link = await worker.link()
            fields = {
                "record_type": SUMMARY,
                "subject": {"scheme": "nhs-number", "value": demo.EDITH},
                "permitted_paths": ["allergies.items.substance.display"],
            }
            answer = await link.answer(link.ask(timeout=3, **fields))
            record = nhs.PatientSummary()
            assert answer.found.record.Unpack(record)
            assert record.allergies.items[0].substance.display == "Allergy to penicillin"
            assert ("local-patient-id", "RZZ:EX004711") in [
                (i.scheme, i.value) for i in answer.found.identifiers
            ]
            server.process.kill()
            server.process.wait()
            failed = await link.answer(link.ask(timeout=1, **fields))
            assert failed.failed.why.startswith("ProviderUnavailable: the FHIR server cannot be reached")
            process.send_signal(signal.SIGINT)
            async with asyncio.timeout(5):
                _, log = await process.communicate()
            assert process.returncode == 0
    assert b"cannot be reached" in log
    assert demo.EDITH.encode() not in log
    assert b"Traceback" not in log


@pytest.mark.parametrize(
    ("module", "drop", "says"),
    [
        ("adapters.fire", "BROKER_FIRE_DATABASE_URL", "BROKER_FIRE_DATABASE_URL"),
        ("adapters.fire", "BROKER_ADAPTER_KEY", "BROKER_ADAPTER_KEY"),
        ("adapters.nhs", "BROKER_NHS_FHIR_URL", "BROKER_NHS_FHIR_URL"),
        ("adapters.nhs", "BROKER_NHS_CERT", "BROKER_NHS_CERT"),
    ],
)
async def test_a_missing_setting_is_one_line_that_names_it(
    authority: Authority, module: str, drop: str, says: str
) -> None:
    """Exit 1 and no traceback."""
    files = authority.client("cfrs", "risk-system")
    env = environment(
        "localhost:1",
        files,
        BROKER_FIRE_DATABASE_URL="postgresql://nobody@127.0.0.1:1/none",
        BROKER_NHS_FHIR_URL="https://127.0.0.1:1/fhir",
        BROKER_NHS_CA=str(files.ca),
        BROKER_NHS_CERT=str(files.cert),
        BROKER_NHS_KEY=str(files.key),
    )
    del env[drop]
    code, out, err = await command(module, env)
    assert (code, out) == (1, "")
    assert says in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"TARGET": "localhost"}, "BROKER_ADAPTER_TARGET: 'localhost' is not of the form host:port"),
        ({"EXPECTED_BROKER": "broker"}, "BROKER_ADAPTER_EXPECTED_BROKER: 'broker' is no SPIFFE id"),
        ({"KEY": "other"}, "is not the key of"),
        ({"KEY": "missing"}, "cannot read"),
    ],
)
def test_settings_that_can_never_work_are_said_at_the_start(
    wrong: dict[str, str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the variable, or by the file, and not as a link that is lost again and again."""
    authority = Authority(tmp_path)
    files, other = authority.client("cfrs", "risk"), authority.client("cfrs", "other")
    keys = {"other": other.key, "missing": tmp_path / "none.pem"}
    given = {"CA": files.ca, "CERT": files.cert, "KEY": files.key, **wrong}
    given["KEY"] = keys.get(str(given["KEY"]), given["KEY"])
    for name, value in given.items():
        monkeypatch.setenv(f"BROKER_ADAPTER_{name}", str(value))
    with pytest.raises(SetupError, match=re.escape(says)):
        from_environment()
