"""Passwords: argon2id, at most two at once, since each takes 64 MiB and a core for a third of a second."""

from __future__ import annotations

import threading

from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher
from pydantic import SecretStr

from contracts.members import WeakPassword

HASHER = PasswordHash((Argon2Hasher(time_cost=3, memory_cost=64 << 10, parallelism=4),))
TURNS = threading.BoundedSemaphore(2)
NOBODY = "$argon2id$v=19$m=65536,t=3,p=4$Vjy1wpCdIcHMfFsuhFOrPQ$" + "A" * 43  # takes as long as a real one, fits none


def hash_password(password: SecretStr, name: str) -> str:
    """Hash a password for storage.

    Raises
    ------
    WeakPassword : nearly the name, or one character repeated.
    """
    text = password.get_secret_value()
    if (name.casefold() in text.casefold() and len(text) - len(name) < 8) or len(set(text)) < 4:
        raise WeakPassword("the password is too easy to guess", field="password")
    with TURNS:
        return HASHER.hash(_bytes(text))


def fits(password: SecretStr, stored: str | None) -> bool:
    """Whether the password is the stored one. Without a stored one it takes as long to say no."""
    with TURNS:
        right = HASHER.verify(_bytes(password.get_secret_value()), stored or NOBODY)
    return right and stored is not None


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")  # JSON may hold lone surrogates
