"""Defaults that the arguments of functions and commands show; they import nothing."""

from __future__ import annotations

#: Encoders of texts that need nothing but this package.
DEFAULT_ENCODERS = ("tfidf", "distil")
#: Smallest z-score of content that is used, unless the user sets another (``content_join_z``).
LEAST_JOIN_Z = 3.0
