"""Blue Light Broker: routes consent-checked records between agencies, with evidence before release.

TLS 1.3 only: gRPC has no minimum-version setting, but it reads its TLS 1.2 cipher suites from this variable
before it is first imported. The one suite named needs an RSA key and every server key here is ECDSA, so a
TLS 1.2 hello finds no usable suite, however the process was started. `broker.pki` checks it at start.
"""

import os

os.environ["GRPC_SSL_CIPHER_SUITES"] = "ECDHE-RSA-AES256-GCM-SHA384"

__version__ = "0.1.0"
