"""Signatures of files: proof that whoever wrote one holds the same key, for files whose reading can run code.

Whoever may write a study's files may put any bytes there. HMAC-SHA256 (RFC 2104), compared in constant time, tells them
from those of a holder of the key before anything looks into them.
"""

import hmac

_SIZE = 32
"""Bytes of a signature, which stands before the content."""


def signed(key: bytes, label: str, content: bytes) -> bytes:
    """Return the content behind its signature, which holds for this label alone: what the content is, and for whom."""
    return _signature(key, label, content) + content


def verified(key: bytes, label: str, file: bytes) -> bytes | None:
    """Return the content of what `signed` made with this key and label; None if it is anything else."""
    signature, content = file[:_SIZE], file[_SIZE:]
    return content if hmac.compare_digest(signature, _signature(key, label, content)) else None


def _signature(key: bytes, label: str, content: bytes) -> bytes:
    prefix = label.encode()
    # The label's length keeps it apart from the content: else a part of one could be moved into the other.
    return hmac.digest(key, len(prefix).to_bytes(8, "big") + prefix + content, "sha256")
