"""`python -m adapters.nhs`: serve PatientSummary. With `--load-demo`: put synthetic patients in, and end.

The FHIR server is `BROKER_NHS_FHIR_URL`, our way in `BROKER_NHS_CA`, `_CERT` and `_KEY`;
`BROKER_NHS_LOCAL_NUMBERS` is a JSON object from identifier systems of trusts' own numbers to the trust's ODS
code. How to reach the broker is `BROKER_ADAPTER_*`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from adapters.nhs.demo import load_demo
from adapters.nhs.demographics import SCHEME
from adapters.nhs.fhir import fhir_server
from adapters.nhs.source import PatientRecord
from adapters.sdk import Provides, SetupError, run, serve

RECORD_TYPE = "records.nhs.v1.PatientSummary"


class NhsSettings(BaseSettings):
    """Each field is the variable `BROKER_NHS_<FIELD>`."""

    model_config = SettingsConfigDict(env_prefix="BROKER_NHS_", frozen=True, extra="ignore")

    fhir_url: str
    ca: Path
    cert: Path
    key: Path
    local_numbers: dict[str, str] = Field(default_factory=dict)


def _settings() -> NhsSettings:
    try:
        return NhsSettings()  # type: ignore[call-arg]  # required ones come from the environment
    except ValidationError as e:
        wrong = ", ".join(f"BROKER_NHS_{str(x['loc'][0]).upper()}" for x in e.errors(include_input=False))
        raise SetupError(f"missing or unusable: {wrong}") from e


async def _main(demo: bool) -> None:
    settings = _settings()
    if demo:
        await load_demo(settings.fhir_url, ca=settings.ca, cert=settings.cert, key=settings.key)
        return
    async with fhir_server(settings.fhir_url, ca=settings.ca, cert=settings.cert, key=settings.key) as server:
        source = PatientRecord(server, settings.local_numbers)
        await serve(source.answer, [Provides(RECORD_TYPE, (SCHEME,))], software="nhs-adapter")


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(prog="python -m adapters.nhs", description=__doc__)
    parser.add_argument("--load-demo", action="store_true", help="put synthetic patients into the server")
    run(_main(parser.parse_args().load_demo))


if __name__ == "__main__":
    main()
