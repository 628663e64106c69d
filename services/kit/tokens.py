"""Secrets: opaque tokens with a checksum, keyed digests for storage, and short-lived service tokens."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets
import time
import zlib
from pathlib import Path

from pydantic import SecretStr, ValidationError

from contracts.base import Caller, Contract, FiniteFloat
from contracts.errors import Unauthenticated
from services.kit.settings import SHORTEST_KEY

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
BODY_LENGTH = 43  # digits of 2**256 in base 62
CHECK_LENGTH = 6  # digits of 2**32
SERVICE_TOKEN_SECONDS = 60.0
SERVICE_PREFIX = "xsvc1"


def make_token(prefix: str) -> str:
    """Make an opaque token: `prefix_`, 32 random bytes and their CRC32, both in base 62."""
    body = f"{prefix}_{_base62(int.from_bytes(secrets.token_bytes(32)), BODY_LENGTH)}"
    return body + _checksum(body)


def is_token(text: str, prefix: str) -> bool:
    """Whether `text` has the form and the checksum of such a token; a typo is told without asking the database."""
    if not text.startswith(f"{prefix}_") or len(text) != len(prefix) + 1 + BODY_LENGTH + CHECK_LENGTH:
        return False
    if not text.isascii():
        return False
    return hmac.compare_digest(_checksum(text[:-CHECK_LENGTH]), text[-CHECK_LENGTH:])


def _checksum(body: str) -> str:
    return _base62(zlib.crc32(body.encode()), CHECK_LENGTH)


def _base62(number: int, length: int) -> str:
    digits = []
    for _ in range(length):
        number, digit = divmod(number, 62)
        digits.append(ALPHABET[digit])
    return "".join(reversed(digits))


class TokenKey:
    """The server's key. Tokens are stored as digests under it, so that a stolen database opens no door."""

    def __init__(self, key: bytes) -> None:
        if len(key) < SHORTEST_KEY:
            raise ValueError(f"XSYS_TOKEN_KEY: at least {SHORTEST_KEY} bytes; a short key can be guessed")
        self._key = key

    def digest(self, token: str, purpose: str) -> str:
        """HMAC-SHA256 of a token, hexadecimal; `purpose` keeps digests of different uses apart."""
        return hmac.new(self._key, f"{purpose}:{token}".encode(), hashlib.sha256).hexdigest()

    def matches(self, token: str, purpose: str, digest: str) -> bool:
        """Compare in constant time."""
        return hmac.compare_digest(self.digest(token, purpose).encode(), digest.encode())


def load_token_key(configured: SecretStr | None, home: Path) -> TokenKey:
    """Take the configured key, or the one in the data folder, made on first use and readable by its owner only."""
    if configured is not None:
        return TokenKey(configured.get_secret_value().encode())
    path = home / "token.key"
    home.mkdir(parents=True, exist_ok=True)
    temporary = home / f"token.key.{secrets.token_hex(8)}"
    if not path.exists():
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_hex(SHORTEST_KEY).encode())
        try:
            os.link(temporary, path)  # whoever comes first decides, and nobody reads a half-written key
        except FileExistsError:
            pass
        finally:
            temporary.unlink()
    return TokenKey(path.read_bytes())


class ServiceClaim(Contract):
    """What a service token says: for whom a call to `audience` is made, and until when."""

    audience: str
    caller: Caller
    expires: FiniteFloat


def sign_service_token(key: TokenKey, caller: Caller, audience: str, *, now: float | None = None) -> str:
    """Sign that a service may ask `audience` on behalf of `caller` for the next 60 s."""
    moment = time.time() if now is None else now
    claim = ServiceClaim(audience=audience, caller=caller, expires=moment + SERVICE_TOKEN_SECONDS)
    body = base64.urlsafe_b64encode(claim.model_dump_json().encode()).decode()
    return f"{SERVICE_PREFIX}.{body}.{key.digest(body, 'service')}"


def caller_of_service_token(key: TokenKey, token: str, audience: str, *, now: float | None = None) -> Caller:
    """Return the caller on whose behalf a service asks.

    Raises
    ------
    Unauthenticated : altered, made with another key, ended, or meant for another service.
    """
    prefix, _, rest = token.partition(".")
    body, _, digest = rest.partition(".")
    if prefix != SERVICE_PREFIX or not key.matches(body, "service", digest):
        raise Unauthenticated("the service token was not made with this installation's key")
    try:
        claim = ServiceClaim.model_validate_json(base64.urlsafe_b64decode(body))
    except ValidationError as error:
        raise Unauthenticated("the service token is of another version") from error
    if claim.audience != audience:
        raise Unauthenticated("the service token is meant for another service")
    if claim.expires < (time.time() if now is None else now):
        raise Unauthenticated("the service token has ended")
    return claim.caller
