"""Identity tokens in the shape of Google's, for local use only.

The key is made when a token is first needed and lives as long as the process. Nobody else trusts
it: the tokens let a push endpoint run its claim checks, and prove nothing.
"""

import base64
import functools
import json
import time
from collections.abc import Callable, Mapping

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

ISSUER = "https://accounts.google.com"
TOKEN_LIFETIME_SECONDS = 3600
_KEY_ID = "local-pubsub"


class TokenSigner:
    """Signs RS256 JSON web tokens with a key of its own."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock

    @functools.cached_property
    def _key(self) -> rsa.RSAPrivateKey:
        return rsa.generate_private_key(public_exponent=65537, key_size=2048)

    @property
    def public_key(self) -> rsa.RSAPublicKey:
        """What verifies the tokens of this process."""
        return self._key.public_key()

    def token(self, service_account_email: str, audience: str) -> str:
        """A token that says the caller is the service account."""
        now = int(self._clock())
        claims = {
            "iss": ISSUER,
            "sub": service_account_email,
            "email": service_account_email,
            "email_verified": True,
            "aud": audience,
            "iat": now,
            "exp": now + TOKEN_LIFETIME_SECONDS,
        }
        header = {"alg": "RS256", "kid": _KEY_ID, "typ": "JWT"}
        signed = f"{_encode_json(header)}.{_encode_json(claims)}"
        signature = self._key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        return f"{signed}.{_encode(signature)}"


def _encode_json(value: Mapping[str, object]) -> str:
    return _encode(json.dumps(value, separators=(",", ":")).encode())


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
