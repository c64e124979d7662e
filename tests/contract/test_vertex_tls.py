"""The self-signed certificate: made once, kept while it is good, replaced when it is not."""

from __future__ import annotations

import stat
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509

from local.vertex.tls import LIFETIME, MIN_TIME_LEFT, ensure_certificate

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def pair(tmp_path):
    paths = tmp_path / "tls" / "certificate.pem", tmp_path / "tls" / "private-key.pem"
    ensure_certificate(*paths, now=NOW)
    return paths


def contents(pair):
    return [path.read_bytes() for path in pair]


def test_the_certificate_is_for_localhost_by_name_and_address(pair):
    certificate = x509.load_pem_x509_certificate(pair[0].read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost"]
    assert [str(each) for each in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1"]


def test_the_key_file_is_the_owners_alone(pair):
    assert stat.S_IMODE(pair[1].stat().st_mode) == 0o600


def test_a_good_certificate_is_kept(pair):
    before = contents(pair)
    ensure_certificate(*pair, now=NOW + LIFETIME - MIN_TIME_LEFT)
    assert contents(pair) == before


@pytest.mark.parametrize("time", [NOW - timedelta(days=1), NOW + LIFETIME])
def test_a_certificate_that_is_not_valid_is_replaced(pair, time):
    before = contents(pair)
    ensure_certificate(*pair, now=time)
    assert contents(pair) != before


@pytest.mark.parametrize("damaged", [0, 1])
def test_a_damaged_file_is_replaced_together_with_the_other(pair, damaged):
    before = contents(pair)
    pair[damaged].write_text("not PEM")
    ensure_certificate(*pair, now=NOW)
    assert all(new != old for new, old in zip(contents(pair), before, strict=True))


def test_a_key_of_another_certificate_is_replaced(pair, tmp_path):
    other = tmp_path / "other.pem", tmp_path / "other-key.pem"
    ensure_certificate(*other, now=NOW)
    pair[1].write_bytes(other[1].read_bytes())
    ensure_certificate(*pair, now=NOW)
    assert pair[1].read_bytes() != other[1].read_bytes()
