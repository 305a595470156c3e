"""What an integration engineer imports.

Write `async def answer(question) -> Found | NotFound | ManyMatch`, then `serve(answer, [Provides(...)])`.
A source that cannot be read raises `ProviderUnavailable`; the rest (mutual TLS, dialling out, batching,
deadlines, cancelling, draining) is done here.
"""

from adapters.sdk.answer import Answer, AnswerFunction, Found, ManyMatch, NotFound
from adapters.sdk.provides import Provides
from adapters.sdk.question import Asker, Place, Question, SubjectRef, Traits
from adapters.sdk.serve import run, serve
from adapters.sdk.settings import AdapterSettings
from broker.errors import InvalidRequest, MappingError, ProviderTimeout, ProviderUnavailable, SetupError

__all__ = [
    "AdapterSettings",
    "Answer",
    "AnswerFunction",
    "Asker",
    "Found",
    "InvalidRequest",
    "ManyMatch",
    "MappingError",
    "NotFound",
    "Place",
    "ProviderTimeout",
    "ProviderUnavailable",
    "Provides",
    "Question",
    "SetupError",
    "SubjectRef",
    "Traits",
    "run",
    "serve",
]
