"""Signatures of files, beside those of openssl."""

import shutil
import subprocess

import pytest

from storage.artifacts.signed import signed, verified

KEY, LABEL, CONTENT = b"0123456789abcdef" * 2, "graphs for torch 2", b"any bytes" * 100


def test_a_signature_is_openssls() -> None:
    """HMAC-SHA256 of the label's length, the label and the content."""
    if not shutil.which("openssl"):
        pytest.skip("no openssl")
    message = len(LABEL).to_bytes(8, "big") + LABEL.encode() + CONTENT
    command = ["openssl", "dgst", "-sha256", "-mac", "HMAC", "-macopt", f"hexkey:{KEY.hex()}", "-binary"]
    done = subprocess.run(command, input=message, capture_output=True, check=True)
    assert signed(KEY, LABEL, CONTENT) == done.stdout + CONTENT


def test_what_was_signed_comes_back() -> None:
    for content in (b"", b"1", CONTENT):
        assert verified(KEY, LABEL, signed(KEY, LABEL, content)) == content


def test_any_other_key_label_or_bit_is_refused() -> None:
    file = signed(KEY, LABEL, CONTENT)
    assert verified(KEY[:-1], LABEL, file) is None
    assert verified(KEY, LABEL + "x", file) is None
    assert verified(KEY, "", file) is None
    for place in (0, 31, 32, len(file) - 1):
        assert verified(KEY, LABEL, file[:place] + bytes([file[place] ^ 4]) + file[place + 1 :]) is None
    for cut in (file[:-1], file + b"1", file[32:], file[:31], b""):
        assert verified(KEY, LABEL, cut) is None


def test_no_part_of_the_label_can_be_moved_into_the_content() -> None:
    file = signed(KEY, "graphs for torch", b" 2" + CONTENT)
    assert verified(KEY, "graphs for torch 2", file[:32] + CONTENT) is None
