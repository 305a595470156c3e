"""The first operator of an empty directory, from a certificate named at start; an entry like every other.

Once anybody is enrolled this does nothing, so that the setting cannot be used to get in later.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from cryptography import x509

from broker.core.directory import Agency
from broker.core.model import Caller, Function
from broker.errors import InvalidRequest, SetupError
from broker.pki.identity import key_digest, spiffe_id_of
from broker.ports import Clock, ReferenceSource
from broker.registry import Registry


async def enrol_first_operator(
    certificate: Path, registry: Registry, reference: ReferenceSource, clock: Clock
) -> bool:
    """Whether an operator was enrolled. Raises SetupError for a certificate that names no system."""
    if (await reference.refresh()).systems:
        return False
    try:
        parsed = x509.load_pem_x509_certificate(await asyncio.to_thread(certificate.read_bytes))
        spiffe = spiffe_id_of(parsed)
    except (OSError, ValueError, InvalidRequest) as e:
        raise SetupError(f"{certificate} is not a certificate of a system: {e}") from e
    now = clock.now()
    caller = Caller(spiffe.agency, spiffe.system, Function.OPERATOR, key_digest(parsed))
    await registry.add_agency(
        caller, Agency(spiffe.agency, "Operator of this broker", "operator", "england", valid_from=now)
    )
    await registry.enrol(caller, spiffe.agency, spiffe.system, Function.OPERATOR, caller.key_digest, now, None)
    return True
