"""The founders: operators' certificates that whoever runs this broker names at start; an entry each.

The first enters an empty directory, and once anybody is enrolled does nothing. The second (`secondperson`) is
entered while there are not two people who operate this broker and may speak; from then on nobody gets in by a
setting.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from pathlib import Path

import structlog
from cryptography import x509

from broker.core.directory import Agency
from broker.core.model import Caller, Function
from broker.errors import InvalidRequest, SetupError
from broker.pki.identity import key_digest, spiffe_id_of
from broker.ports import Clock, ReferenceSource
from broker.registry import Registry

_diagnostics = structlog.get_logger("broker.bootstrap")


async def enrol_first_operator(
    certificate: Path, registry: Registry, reference: ReferenceSource, clock: Clock
) -> bool:
    """Whether an operator was enrolled. Raises SetupError for a certificate that names no system."""
    if (await reference.refresh()).systems:
        return False
    await _found(await _founder(certificate), registry, clock)
    return True


async def enrol_second_operator(
    certificate: Path, registry: Registry, reference: ReferenceSource, clock: Clock
) -> bool:
    """Whether a second founder was enrolled, or made of a system that the first enrolled.

    A key that was revoked does not come back, and stops no start. Raises SetupError for a certificate that
    names no system.
    """
    caller = await _founder(certificate)
    known = await reference.refresh()
    before = known.systems.get(caller.name)
    # By a renewed key, too: the one founder who is left does not become two by a restart.
    founder = before is not None and before.hands.get(caller.key_digest) in before.hands
    if len(known.speaking(clock.now())) >= 2 or founder:
        return False
    try:
        await _found(caller, registry, clock, known.agencies.keys())
    except InvalidRequest as e:
        _diagnostics.warning("the second operator was not enrolled", certificate=str(certificate), why=str(e))
        return False
    return True


async def _founder(certificate: Path) -> Caller:
    try:
        parsed = x509.load_pem_x509_certificate(await asyncio.to_thread(certificate.read_bytes))
        spiffe = spiffe_id_of(parsed)
    except (OSError, ValueError, InvalidRequest) as e:
        raise SetupError(f"{certificate} is not a certificate of a system: {e}") from e
    return Caller(spiffe.agency, spiffe.system, Function.OPERATOR, key_digest(parsed))


async def _found(caller: Caller, registry: Registry, clock: Clock, agencies: Collection[str] = ()) -> None:
    now = clock.now()
    if caller.agency not in agencies:
        operator = Agency(caller.agency, "Operator of this broker", "operator", "england", valid_from=now)
        await registry.add_agency(caller, operator)
    await registry.enrol(
        caller, caller.agency, caller.system, caller.function, caller.key_digest, None, None, at_start=True
    )
