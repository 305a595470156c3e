"""What every use case of a broker stands on, made of its settings: the store and the log, clock, counts, limits
and who is who."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass

from broker import __version__
from broker.administration import Administration
from broker.bootstrap import enrol_first_operator, enrol_second_operator
from broker.compose.stored import Stored, open_store, retention_policy
from broker.config import Settings
from broker.core.retention import RetentionPolicy
from broker.heritage import Heritage
from broker.limits import Limits
from broker.ports import Clock
from broker.registry import Registry
from broker.rpc.identity import Identity
from broker.telemetry import Telemetry


@dataclass(frozen=True, slots=True)
class Ground:
    """What every use case stands on."""

    settings: Settings
    store: Stored
    administration: Administration
    registry: Registry
    heritage: Heritage
    clock: Clock
    telemetry: Telemetry
    identity: Identity
    limits: Limits
    kept_for: RetentionPolicy


async def open_ground(settings: Settings, clock: Clock, stack: AsyncExitStack) -> Ground:
    """Open until the stack ends, with the first operator enrolled and all read that decisions read.

    Raises SetupError.
    """
    kept_for = retention_policy(settings.retention)
    store = await open_store(settings, stack)
    limits = Limits(settings.agency_per_second)
    administration = Administration(store.log, clock, limits.look)
    registry = Registry(administration, store.reference, clock)
    if settings.bootstrap_operator is not None:
        await enrol_first_operator(settings.bootstrap_operator, registry, store.reference, clock)
    if settings.second_operator is not None:
        await enrol_second_operator(settings.second_operator, registry, store.reference, clock)
    await store.reference.refresh()
    identity = Identity(settings.trust_domain, store.reference, clock.now)
    store.reference.changed = identity.review
    return Ground(
        settings,
        store,
        administration,
        registry,
        Heritage(store.reference, clock),
        clock,
        Telemetry(__version__, lambda name: name in store.reference.current.record_types),
        identity,
        limits,
        kept_for,
    )
