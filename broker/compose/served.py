"""The use cases made of the store and of each other, and the services that put them on the wire."""

from __future__ import annotations

import grpc

from broker.access import Accesses
from broker.agreements import Agreements
from broker.audits import Audits
from broker.complaints import Complaints
from broker.compose.ground import Ground
from broker.compose.jobs import Beside
from broker.directives import Directives
from broker.disputes import Disputes
from broker.erasable import Finder
from broker.erasing import ErasurePlans
from broker.erasures import Erasures
from broker.exchange import Exchange
from broker.explanations import Explanations
from broker.exports import Exports
from broker.figures import Figures
from broker.holds import Holds
from broker.late import LateRecords
from broker.links import Links
from broker.overrides import Overrides
from broker.partitions import Partitions
from broker.pki.identity import server_uri
from broker.plans import Plans
from broker.referrals import Referrals
from broker.referring import Referring
from broker.replays import Replays
from broker.reports import Reports
from broker.retention import Retention
from broker.rotations import Rotations
from broker.routes import RouteBook
from broker.rpc.adapter import AdapterServicer
from broker.rpc.adapter import add_to as add_adapter
from broker.rpc.agreement import AgreementServicer
from broker.rpc.audit import AuditServicer
from broker.rpc.directive import DirectiveServicer
from broker.rpc.directory import DirectoryServicer
from broker.rpc.door import Door
from broker.rpc.exchange import ExchangeServicer
from broker.rpc.exchange import add_to as add_exchange
from broker.rpc.keeping import KeepingServicer
from broker.rpc.override import OverrideServicer
from broker.rpc.referral import ReferralServicer
from broker.rpc.report import ReportServicer
from broker.rpc.rotation import RotationServicer
from broker.rpc.routing import RoutingServicer
from broker.rpc.standing import StandingServicer
from broker.scrubbing import Scrubs
from broker.searches import Searches
from broker.signing import SigningKeys
from broker.standing import Standing
from broker.store.agreements import AgreementReader
from broker.store.directives import DirectiveReader
from broker.store.dropped import DroppedRows
from broker.store.erasureplans import ErasurePlanRows
from broker.store.scrub import Scrubber
from broker.suspensions import Suspensions
from broker.v1 import (
    agreement_pb2_grpc,
    audit_pb2_grpc,
    directive_pb2_grpc,
    directory_pb2_grpc,
    keeping_pb2_grpc,
    override_pb2_grpc,
    referral_pb2_grpc,
    report_pb2_grpc,
    rotation_pb2_grpc,
    routing_pb2_grpc,
    standing_pb2_grpc,
)
from broker.workers import Workers


class Served:
    """All services of a broker, to be put on as many servers as it has."""

    def __init__(
        self,
        ground: Ground,
        beside: Beside,
        exchange: Exchange,
        rotations: Rotations,
        links: Links,
        workers: Workers,
    ) -> None:
        self._ground = ground
        self._rotations = rotations
        self._links = links
        self._workers = workers
        store, administration, clock = ground.store, ground.administration, ground.clock
        self._audits = Audits(
            administration, store.reader, ground.heritage, clock, beside.witnessing, beside.anchoring
        )
        self._searches = Searches(administration, store.index, ground.heritage)
        self._replays = Replays(administration, store.past)
        self._explanations = Explanations(
            administration,
            self._audits,
            store.reader,
            store.facts,
            store.reference,
            store.past,
            self._replays,
            clock,
        )
        self.exchange = ExchangeServicer(
            exchange,
            beside.acknowledgements,
            ground.identity,
            ground.telemetry,
            Door(ground.identity, ground.limits, ground.settings.system_streams),
            self._explanations,
        )

    def add(self, server: grpc.aio.Server) -> None:
        """Every service, to one server."""
        add_exchange(server, self.exchange)
        self._add_directory(server)
        self._add_terms(server)
        self._add_humans(server)
        self._add_log(server)

    def _add_directory(self, server: grpc.aio.Server) -> None:
        """Who takes part, by what, for whom and where."""
        g, store = self._ground, self._ground.store
        uri = server_uri(g.settings.trust_domain, "broker")
        add_adapter(
            server,
            AdapterServicer(
                self._links,
                store.reference,
                g.identity,
                g.telemetry,
                uri,
                self._workers,
                self.exchange.door,
                g.registry,
            ),
        )
        signing = SigningKeys(g.administration, store.reference, g.clock)
        directory_pb2_grpc.add_DirectoryServiceServicer_to_server(
            DirectoryServicer(g.registry, store.reference, g.clock, g.identity, g.telemetry, signing),
            server,
        )
        book = RouteBook(g.administration, store.reference, g.clock)
        routing_pb2_grpc.add_RoutingServiceServicer_to_server(
            RoutingServicer(book, store.reference, g.clock, g.identity, g.telemetry), server
        )
        standing = Standing(
            g.administration, store.reference, g.clock, store.rows.referrals, store.rows.overrides
        )
        standing_pb2_grpc.add_StandingServiceServicer_to_server(
            StandingServicer(standing, g.clock, g.identity, g.telemetry), server
        )

    def _add_terms(self, server: grpc.aio.Server) -> None:
        """What was agreed, and what people have said."""
        g, store = self._ground, self._ground.store
        agreements = Agreements(
            g.administration, store.reference, AgreementReader(store.database), g.clock, g.kept_for.classes
        )
        suspensions = Suspensions(g.administration, store.reference, g.clock)
        plans = Plans(g.administration, agreements, store.reference, store.past, g.clock)
        agreement_pb2_grpc.add_AgreementServiceServicer_to_server(
            AgreementServicer(agreements, suspensions, g.identity, g.telemetry, plans), server
        )
        said = DirectiveReader(store.database, store.blind)
        directives = Directives(g.administration, store.facts, said, store.reference, g.clock)
        directive_pb2_grpc.add_DirectiveServiceServicer_to_server(
            DirectiveServicer(directives, g.clock, g.identity, g.telemetry, g.limits), server
        )

    def _add_humans(self, server: grpc.aio.Server) -> None:
        """What named humans decide and answer for: referrals, overrides, reports, what is kept."""
        g, store, rows = self._ground, self._ground.store, self._ground.store.rows
        on = (store.facts, store.reference, g.clock)
        referrals = Referrals(g.administration, rows.referrals, *on)
        referring = Referring(store.log, *on, store.blind.content)
        referral_pb2_grpc.add_ReferralServiceServicer_to_server(
            ReferralServicer(referrals, referring, g.clock, g.identity, g.telemetry, g.limits), server
        )
        overrides = Overrides(g.administration, rows.overrides, *on)
        override_pb2_grpc.add_OverrideServiceServicer_to_server(
            OverrideServicer(overrides, g.identity, g.telemetry), server
        )
        reports = Reports(
            g.administration,
            self._searches,
            rows.overrides,
            rows.breaches,
            rows.complaints,
            store.reference,
            g.clock,
            Figures(g.administration, rows.figures, store.facts, g.clock),
            g.telemetry.took,
        )
        accesses = Accesses(g.administration, rows.accesses, self._searches, store.reader, *on)
        complaints = Complaints(g.administration, rows.complaints, store.facts, g.clock, g.heritage)
        report_pb2_grpc.add_ReportServiceServicer_to_server(
            ReportServicer(reports, accesses, complaints, g.clock, g.identity, g.telemetry), server
        )
        holds = Holds(g.administration, store.keeping, *on, self._searches)
        finder = Finder(store.index, store.keeping, holds, g.clock)
        erasures = Erasures(g.administration, finder, holds, store.facts)
        waiting = ErasurePlanRows(store.database, store.blind)
        disputes = Disputes(waiting, rows.overrides, store.reference, g.clock)
        plans = ErasurePlans(g.administration, erasures, finder, holds, waiting, disputes, store.facts, g.clock)
        retention = Retention(g.administration, store.destroying, store.facts, g.clock, g.kept_for)
        scrubs = Scrubs(g.administration, Scrubber(g.settings.database_url))
        keeping_pb2_grpc.add_KeepingServiceServicer_to_server(
            KeepingServicer(holds, erasures, plans, retention, scrubs, g.identity, g.telemetry), server
        )

    def _add_log(self, server: grpc.aio.Server) -> None:
        """The log: looked at, taken along, and turned over."""
        g, store = self._ground, self._ground.store
        partitions = Partitions(g.administration, DroppedRows(store.database, store.reader, store.notary))
        rotation_pb2_grpc.add_RotationServiceServicer_to_server(
            RotationServicer(self._rotations, partitions, g.identity, g.telemetry), server
        )
        exports = Exports(
            g.administration,
            store.reader,
            store.entries,
            self._searches,
            g.heritage,
            g.clock,
        )
        late = LateRecords(store.log, store.facts, store.reference, g.clock, store.blind.said)
        audit_pb2_grpc.add_AuditServiceServicer_to_server(
            AuditServicer(
                self._audits,
                self._searches,
                self._rotations,
                g.identity,
                g.telemetry,
                self._explanations,
                self._replays,
                exports,
                late,
                g.limits,
            ),
            server,
        )
