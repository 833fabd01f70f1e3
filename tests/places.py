"""Where the project and the data beside it lie."""

from pathlib import Path

ROOT = Path(__file__).parent.parent
SHARED = ROOT.parent / "shared"
"""Text and curves for measurements, beside a checkout; tests that use them skip where they are absent."""
