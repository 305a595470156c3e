"""`python -m tests.support.verify PROOF ENTRY VKEY OPENING RECORD`: what `broker audit verify` runs.

Imports nothing that could reach a broker or a database, and says so if it could.
"""

from __future__ import annotations

import sys
from pathlib import Path

from broker.cli.audit_verify import verify_files

if __name__ == "__main__":
    code, verdict = verify_files(*map(Path, sys.argv[1:]))
    sys.stdout.write(f"{verdict}\n")
    if "grpc" in sys.modules or "asyncpg" in sys.modules:
        sys.exit(9)
    sys.exit(code)
