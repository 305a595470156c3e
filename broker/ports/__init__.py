"""What the use cases need of the outside: Protocols, and the values that cross them.

`store/` and `links.py` implement these; a use case receives them and knows nothing else.
"""

from broker.ports.clock import Clock
from broker.ports.evidence import Hit, Hits, LogSearch, LogView, Remains, TimeStamps, Witnesses
from broker.ports.facts import Asked, Claimed, Facts, FactsSource
from broker.ports.log import Appended, Change, Claim, Draft, Halves, Log, NotAppended, Queued, Reads, Shown
from broker.ports.providers import Answer, Found, ManyMatch, NotFound, ProviderFailed, Providers, Question
from broker.ports.release import Disclosed, Release, Releases
from broker.ports.stored import (
    AgreementStore,
    DirectiveStore,
    RecordedDirective,
    ReferenceSource,
    StoredAgreement,
    StoredDirective,
)

__all__ = [
    "AgreementStore",
    "Answer",
    "Appended",
    "Asked",
    "Change",
    "Claim",
    "Claimed",
    "Clock",
    "DirectiveStore",
    "Disclosed",
    "Draft",
    "Facts",
    "FactsSource",
    "Found",
    "Halves",
    "Hit",
    "Hits",
    "Log",
    "LogSearch",
    "LogView",
    "ManyMatch",
    "NotAppended",
    "NotFound",
    "ProviderFailed",
    "Providers",
    "Question",
    "Queued",
    "Reads",
    "RecordedDirective",
    "ReferenceSource",
    "Release",
    "Releases",
    "Remains",
    "Shown",
    "StoredAgreement",
    "StoredDirective",
    "TimeStamps",
    "Witnesses",
]
