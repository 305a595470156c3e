"""What a partner imports: `from broker.client import Broker`.

One noun per module:

- `broker`: the object a partner holds: ask, and be told, with evidence.
- `asking`: a request's words as they go over the wire, checked before they leave.
- `flights`: what was asked and is not answered yet, and what waits to be sent.
- `stream`, `unary`: the two ways to the broker; both end in the same evidence.
- `evidence`: refuses every answer that its receipt does not bear out.
- `trail`, `memory`, `watch`: what the log has shown us, kept, and held to it.
- `failures`: what a gRPC status means, in `broker.errors`.
- `channel`, `settings`: certificates, addresses, the log's key.

Refused here: an answer without evidence, whoever asks for it and however. There is no option.
"""

from broker.client.broker import Broker
from broker.client.disclosure import Decision, Disclosure
from broker.core.model import Actor, Assurance, Override, Place, Reason, Traits
from broker.core.redaction import Withheld
from broker.core.subject import SubjectRef

__all__ = [
    "Actor",
    "Assurance",
    "Broker",
    "Decision",
    "Disclosure",
    "Override",
    "Place",
    "Reason",
    "SubjectRef",
    "Traits",
    "Withheld",
]
