"""Sentences with a made-up secret in each, by the secret's kind.

The secrets are put together here, when the module is read, so that no scanner of this repository
takes the file itself for a leak. The random ones are the same each time.
"""

from __future__ import annotations

import random
import string
from typing import NamedTuple

HEX = "0123456789abcdef"
LETTERS = string.ascii_letters + string.digits
WORDLIKE = LETTERS + "_-"
BASE32 = string.ascii_uppercase + "234567"
BASE58 = "".join(sorted(set(LETTERS) - set("0OIl")))


class Planted(NamedTuple):
    """A sentence with one gap, and the secret for the gap."""

    sentence: str
    secret: str

    @property
    def text(self) -> str:
        return self.sentence.format(self.secret)


_random = random.Random("planted")


def _made(length: int, alphabet: str = LETTERS) -> str:
    """A random string with a digit, and with the letters its alphabet has."""
    while True:
        made = "".join(_random.choices(alphabet, k=length))
        if all(
            any(character in group for character in made)
            for group in (string.digits, string.ascii_lowercase, string.ascii_uppercase)
            if set(group) & set(alphabet)
        ):
            # No mark at an end, where a sentence's own would be cut off with it.
            return made if made[0].isalnum() and made[-1].isalnum() else _made(length, alphabet)


def _uuid() -> str:
    return "-".join(_made(length, HEX + "9") for length in (8, 4, 4, 4, 12))


def _card(prefix: str, length: int) -> str:
    """A card number with the right check digit."""
    body = prefix + "".join(_random.choices(string.digits, k=length - len(prefix) - 1))
    total = 0
    for place, digit in enumerate(reversed(body)):
        doubled = int(digit) * (2 if place % 2 == 0 else 1)
        total += doubled - 9 if doubled > 9 else doubled
    return body + str(-total % 10)


def _grouped(number: str, size: int = 4, mark: str = " ") -> str:
    return mark.join(number[place : place + size] for place in range(0, len(number), size))


def _iban(country: str, account: str) -> str:
    number = "".join(str(int(each, 36)) for each in account + country + "00")
    return f"{country}{98 - int(number) % 97:02}{account}"


def _pem(name: str) -> str:
    lines = "\n".join(_made(64, LETTERS + "+/") for _ in range(4))
    fence = "-" * 5
    return f"{fence}BEGIN {name}{fence}\n{lines}\n{_made(22)}==\n{fence}END {name}{fence}"


def _jwt() -> str:
    return ".".join(("ey" + "J" + _made(33, WORDLIKE), "ey" + "J" + _made(60, WORDLIKE), _made(43)))


_BARE = ("{}", "here it is {}", "use {} for now", "TOKEN={}")


def _everywhere(*secrets: str) -> list[Planted]:
    """A secret that nothing has to announce."""
    return [Planted(sentence, secret) for secret in secrets for sentence in _BARE]


def _said(*sentences_and_secrets: tuple[str, str]) -> list[Planted]:
    return [Planted(*each) for each in sentences_and_secrets]


_SEED_WORDS = tuple(
    word
    for line in (
        "abandon ability able about above absent absorb abstract absurd abuse access accident",
        "account accuse achieve acid acoustic acquire across act action actor actress actual",
    )
    for word in line.split()
)

PLANTED: dict[str, list[Planted]] = {
    "aws-access-key": _everywhere("AK" + "IA" + _made(16, BASE32), "AS" + "IA" + _made(16, BASE32)),
    "aws-secret-key": _said(
        ("aws secret is {}", _made(40, LETTERS + "/+")),
        ("AWS_SECRET_ACCESS_KEY={}", _made(40, LETTERS + "/+")),
        ("my aws key: {}", _made(40)),
    ),
    "gcp-api-key": _everywhere("AI" + "za" + _made(35, WORDLIKE)),
    "gcp-oauth-token": _everywhere("ya" + "29." + _made(60, WORDLIKE)),
    "gcp-oauth-secret": _everywhere("GOC" + "SPX-" + _made(28, WORDLIKE)),
    "gcp-service-account-key": _said(
        ('{{"private_key": "{}"}}', _pem("PRIVATE KEY").replace("\n", "\\n"))
    ),
    "azure-storage-key": _said(
        ("AccountName=mine;AccountKey={}", _made(86, LETTERS + "+/") + "==")
    ),
    "azure-sas-signature": _said(("https://x.example/c?sv=2024&sig={}", _made(44) + "%3D")),
    "azure-client-secret": _everywhere(_made(3) + "8" + "Q~" + _made(34)),
    "digitalocean-token": _everywhere("do" + "p_v1_" + _made(64, HEX)),
    "heroku-key": [
        *_everywhere("HR" + "KU-" + _uuid()),
        *_said(("heroku api key {}", _uuid()), ("HEROKU_API_KEY={}", _uuid())),
    ],
    "cloudflare-token": _said(
        ("cloudflare token {}", _made(40)), ("the key for cloudflare: cloudflare key {}", _made(40))
    ),
    "fastly-token": _said(("fastly token {}", _made(32)), ("FASTLY_API_KEY={}", _made(32))),
    "vercel-token": [
        *_everywhere("vc" + "p_" + _made(56)),
        *_said(("vercel token is {}", _made(24))),
    ],
    "netlify-token": _everywhere("nf" + "p_" + _made(36)),
    "planetscale-token": _everywhere("psc" + "ale_tkn_" + _made(43)),
    "supabase-token": _everywhere("sb" + "p_" + _made(40, HEX)),
    "terraform-token": _everywhere(_made(14) + ".atl" + "asv1." + _made(67)),
    "vault-token": _everywhere("hv" + "s." + _made(90)),
    "doppler-token": _everywhere("dp" + ".pt." + _made(43)),
    "databricks-token": _everywhere("da" + "pi" + _made(32, HEX)),
    "github-token": _everywhere(*(f"gh{each}" + "_" + _made(36) for each in "pousr")),
    "github-fine-grained-token": _everywhere("github" + "_pat_" + _made(22) + "_" + _made(59)),
    "gitlab-token": _everywhere("gl" + "pat-" + _made(20, WORDLIKE)),
    "bitbucket-token": _everywhere("AT" + "BB" + _made(32)),
    "atlassian-token": _everywhere("ATA" + "TT3" + _made(180)),
    "npm-token": _everywhere("np" + "m_" + _made(36)),
    "pypi-token": _everywhere("pypi" + "-AgEI" + "cHlwaS5vcmc" + _made(80, WORDLIKE)),
    "rubygems-key": _everywhere("ruby" + "gems_" + _made(48, HEX)),
    "docker-token": _everywhere("dck" + "r_pat_" + _made(27)),
    "sourcegraph-token": _everywhere("sg" + "p_" + _made(40, HEX)),
    "postman-key": _everywhere("PM" + "AK-" + _made(24, HEX) + "-" + _made(34, HEX)),
    "slack-token": _everywhere(
        *(f"xox{each}-" + "123456789012-" + _made(24) for each in "abprs"),
    ),
    "slack-webhook": _everywhere(
        "https://hooks.sl" + "ack.com/services/T" + _made(8, BASE32) + "/B0" + "/" + _made(24)
    ),
    "discord-bot-token": _everywhere("M" + _made(25) + "." + _made(6) + "." + _made(38)),
    "discord-webhook": _everywhere(
        "https://disc" + "ord.com/api/webhooks/" + "123456789012345678/" + _made(68)
    ),
    "telegram-bot-token": _everywhere("1234567890" + ":AA" + _made(33)),
    "twilio-key": [
        *_everywhere("S" + "K" + _made(32, HEX), "A" + "C" + _made(32, HEX)),
        *_said(("twilio auth token {}", _made(32, HEX))),
    ],
    "sendgrid-key": _everywhere("S" + "G." + _made(22) + "." + _made(43)),
    "mailgun-key": _everywhere("ke" + "y-" + _made(32, HEX)),
    "mailchimp-key": _everywhere(_made(32, HEX) + "-us" + "12"),
    "postmark-token": _said(("postmark server token {}", _uuid())),
    "resend-key": _everywhere("re" + "_" + _made(8) + "_" + _made(24)),
    "anthropic-key": _everywhere("sk-" + "ant-api03-" + _made(93, WORDLIKE)),
    "openrouter-key": _everywhere("sk-" + "or-v1-" + _made(64, HEX)),
    "openai-key": _everywhere(
        "sk" + "-" + _made(48),
        "sk-" + "proj-" + _made(120, WORDLIKE),
        "sk-" + "svcacct-" + _made(120, WORDLIKE),
    ),
    "hugging-face-token": _everywhere("h" + "f_" + _made(34)),
    "replicate-token": _everywhere("r" + "8_" + _made(37)),
    "groq-key": _everywhere("gs" + "k_" + _made(52)),
    "xai-key": _everywhere("xa" + "i-" + _made(80)),
    "perplexity-key": _everywhere("pp" + "lx-" + _made(48)),
    "cohere-key": _said(("cohere key {}", _made(40)), ("COHERE_API_KEY={}", _made(40))),
    "langsmith-key": _everywhere("lsv" + "2_pt_" + _made(32, HEX) + "_" + _made(10, HEX)),
    "pinecone-key": _everywhere("pc" + "sk_" + _made(6) + "_" + _made(63)),
    "tavily-key": _everywhere("tv" + "ly-" + _made(32)),
    "elevenlabs-key": _everywhere("s" + "k_" + _made(48, HEX)),
    "stripe-key": _everywhere(
        "sk" + "_live_" + _made(24), "rk" + "_live_" + _made(40), "sk" + "_test_" + _made(99)
    ),
    "stripe-webhook-secret": _everywhere("wh" + "sec_" + _made(32)),
    "braintree-token": _everywhere(
        "access" + "_token$production$" + _made(16, HEX) + "$" + _made(32, HEX)
    ),
    "square-token": _everywhere(
        "sq0" + "atp-" + _made(22), "sq0" + "csp-" + _made(43), "EA" + "AA" + _made(60)
    ),
    "shopify-token": _everywhere(
        *(f"shp{each}" + "_" + _made(32, HEX) for each in ("at", "ss", "ca"))
    ),
    "linear-key": _everywhere("lin" + "_api_" + _made(40)),
    "notion-token": _everywhere("sec" + "ret_" + _made(43), "nt" + "n_" + _made(46)),
    "airtable-token": _everywhere("pa" + "t" + _made(14) + "." + _made(64, HEX)),
    "figma-token": _everywhere("fi" + "gd_" + _made(40)),
    "dropbox-token": _everywhere("s" + "l." + _made(135, WORDLIKE)),
    "grafana-token": _everywhere(
        "gl" + "c_" + _made(80), "gl" + "sa_" + _made(32) + "_" + _made(8, HEX)
    ),
    "sentry-token": _everywhere("snt" + "rys_" + _made(90), "snt" + "ryu_" + _made(64, HEX)),
    "new-relic-key": _everywhere("NR" + "AK-" + _made(27, string.ascii_uppercase + string.digits)),
    "datadog-key": _said(
        ("datadog api key {}", _made(32, HEX)), ("DATADOG_APP_KEY={}", _made(40, HEX))
    ),
    "age-secret-key": _everywhere("AGE-" + "SECRET-KEY-1" + _made(58, BASE32)),
    "bitcoin-private-key": _said(
        ("my bitcoin key is {}", "5" + _made(50, BASE58)),
        ("btc wallet wif: {}", "K" + _made(51, BASE58)),
    ),
    "ethereum-private-key": _said(("the private key is {}", "0x" + _made(64, HEX))),
    "json-web-token": _everywhere(_jwt()),
    "database-url": _everywhere(
        "postgres://" + "anna:s3cr3t" + "@db.example.com:5432/app",
        "mongodb+srv://" + "anna:s3cr3t" + "@cluster0.example.net/app?retryWrites=true",
        "redis://" + ":s3cr3t" + "@cache.example.com:6379/0",
    ),
    "url-with-password": _everywhere("https://" + "anna:s3cr3t" + "@example.com"),
    "bearer-token": _said(("Authorization: Bearer {}", _made(40)), ("bearer {}", _made(32))),
    "private-key": _everywhere(
        *(_pem(f"{each}PRIVATE KEY") for each in ("RSA ", "EC ", "OPENSSH ", "ENCRYPTED ", "")),
        _pem("RSA PRIVATE KEY").rpartition("\n")[0],
    ),
    "pgp-private-key": _everywhere(_pem("PGP PRIVATE KEY BLOCK")),
    "email": _everywhere("anna.b" + "@example.com", "lou+chat" + "@mail.example.co.uk"),
    "phone": [
        *_everywhere("+1 415 555 2671", "+4915123456789", "+44 20 7946 0958", "+33 6 12 34 56 78"),
        *_everywhere("(415) 555-2671", "415-555-2671", "1-800-555-0199", "06 12 34 56 78"),
        *_said(
            ("call me at {}", "4155552671"),
            ("text me {}", "555-0123"),
            ("my number is {}", "07911 123456"),
            ("phone: {}", "030 1234567"),
            ("mom's cell {}", "415 555 2671"),
            ("whatsapp me, {}", "9876543210"),
        ),
    ],
    "credit-card": _everywhere(
        _card("4", 16),
        _grouped(_card("51", 16)),
        _grouped(_card("2223", 16), mark="-"),
        _card("37", 15),
        _card("6011", 16),
        _card("3530", 16),
        _card("62", 17),
    ),
    "iban": _everywhere(
        _iban("DE", "370400440532013000"),
        _grouped(_iban("DE", "370400440532013000")),
        _grouped(_iban("GB", "WEST12345698765432")),
        _iban("FR", "20041010050500013M02606"),
        _iban("NO", "86011117947"),
    ),
    "us-ssn": [
        *_everywhere("078-05-" + "1120"),
        *_said(("my ssn is {}", "078051120"), ("social security number {}", "078 05 1120")),
    ],
    "password": _said(
        ("the password is {}", "hunter2" + "banana"),
        ("the wifi password is {}", "Blue" + "Giraffe42"),
        ("the wifi password's {}", "moon" + "pie77"),
        ("password is {}", "correcthorse" + "batterystaple"),
        ("the password to the guest wifi is {}", "tulip" + "#garden"),
        ("password for netflix (the old one) is still {}", "Pop" + "Corn1999"),
        ("my password is '{}'", "open " + "sesame please"),
        ("passwort ist {}", "geheim" + "123"),
        ("das wlan-passwort lautet {}", "Katzen" + "Klo9"),
        ("le mot de passe est {}", "soleil" + "88"),
        ("la contraseña es {}", "gatito" + "99"),
        ("a senha é {}", "praia" + "2020x"),
        ("DB_PASSWORD={}", "s3cr3t" + "s3cr3t"),
        ("i changed my password to {}", "hunter" + "22b"),
        ("{} is my password", "hunter2" + "banana"),
        ("use {} as the wifi password", "hunter2" + "banana"),
        ("**password:** {}", "p@ss" + "word!x"),
        ("user: anna pass: {}", "hunter" + "2x"),
        ("pw is {}", "let" + "mein"),
    ),
    "passcode": _said(
        ("passcode {}", "09" + "17"),
        ("the door code is {}", "48" + "21"),
        ("code for the gate is {}", "77" + "4411"),
        ("my passcode is {}", "blue" + "42x"),
    ),
    "pin": _said(
        ("PIN is {}", "48" + "21"),
        ("my pin's {}", "09" + "17"),
        ("the pin for my card is {}", "55" + "0912"),
        ("pin: {}", "31" + "41"),
        ("{} is my pin", "48" + "21"),
    ),
    "security-code": _said(
        ("security code is {}", "1" + "23"),
        ("CVV {}", "4" + "56"),
        ("the cvc is {}", "78" + "90"),
    ),
    "one-time-code": _said(
        ("your verification code is {}", "493" + "021"),
        ("otp: {}", "1234" + "56"),
        ("{} is your confirmation code", "G-49" + "3021"),
    ),
    "api-key": _said(
        ("api key is {}", "abcd1234" + "efgh5678"),
        ("the access token: {}", _made(30)),
        ("client_secret={}", _made(28)),
        ("my api key {}", _made(20)),
    ),
    "secret-token": _said(
        ("the token is {}", _made(24)), ("secret = {}", _made(32)), ("key: {}", _made(16))
    ),
    "login": _said(
        ("login is {}", "anna / hunter" + "2"),
        ("the login for work is {}", "anna.b/Sun" + "Flower"),
        ("creds: {}", "admin:hunter" + "22"),
    ),
    "seed-phrase": _said(
        ("my seed phrase is {}", " ".join(_SEED_WORDS[:12])),
        ("recovery phrase: {}", " ".join(_SEED_WORDS)),
        ("the wallet seed phrase: {}", ", ".join(_SEED_WORDS[3:15])),
    ),
}  # fmt: skip
