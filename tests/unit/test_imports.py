"""What importing a function costs, told by which modules it brings in."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.staged import FUNCTIONS, ROOT, run_alone, stage

#: Seconds and hundreds of megabytes each: only where a job is made or read, or never.
TOO_DEAR = {
    "google.cloud.aiplatform",
    "google.cloud.aiplatform_v1",
    "google.cloud.cloudquotas_v1",
    "google.cloud.pubsub_v1",
    "vertexai",
}

LOADED = "import json, sys, main; print(json.dumps(sorted(sys.modules)))"


@pytest.fixture(scope="module")
def staged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stage(tmp_path_factory.mktemp("imports") / "staged")


@pytest.mark.parametrize("name", FUNCTIONS)
def test_importing_a_function_loads_no_dear_library(staged: Path, name: str) -> None:
    loaded = set(run_alone(staged / name, LOADED))
    assert "google.cloud.storage" in loaded
    assert not loaded & TOO_DEAR


SIGNED = """
import json
import main
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.oauth2 import service_account

before = "Credentials" in vars(service_account)
key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
pem = key.private_bytes(encoding, form, serialization.NoEncryption()).decode()
account = service_account.Credentials.from_service_account_info(
    {"client_email": "a@b.example", "token_uri": "https://b.example", "private_key": pem}
)
print(json.dumps([before, account.service_account_email, len(account.sign_bytes(b"x"))]))
"""


def test_an_account_with_a_key_file_is_read_all_the_same(staged: Path) -> None:
    """What key files need is opened lazily, since none of ours has one; asked for, it is there."""
    assert run_alone(staged / "converter", SIGNED) == [False, "a@b.example", 256]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_an_entry_point_stays_under_sixty_lines(name: str) -> None:
    lines = (ROOT / "functions" / name / "main.py").read_text().splitlines()
    assert len(lines) < 60
