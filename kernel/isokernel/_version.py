"""The version, for the build and for run time alike."""

from __future__ import annotations

__version__ = "0.1.0"
