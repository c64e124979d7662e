"""Keys and tokens that their issuers gave a recognisable form, and those that a name announces.

A row of the table is a kind, some literals (in lower case) of which a text with such a token has
one, and the form. Where a form has a group, the group is the secret and the rest its context.

Every quantifier is bounded, and a form starts where a run of its characters starts: the time on
any text stays proportional to its length.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

from tuner.dataset.secrets.model import Found


class _Form(NamedTuple):
    kind: str
    literals: tuple[str, ...]
    #: Compiled when a text has one of the literals: all of them cost a start 20 ms.
    pattern: str


def _form(kind: str, literals: str, pattern: str) -> _Form:
    """A token that has a form of its own and does not go on in either direction."""
    whole = rf"(?<![A-Za-z0-9])(?:{pattern})(?![A-Za-z0-9])"
    return _Form(kind, tuple(literals.split()), whole)


def _beside(kind: str, names: str, pattern: str, announcement: str = "key|token|secret") -> _Form:
    """A token that looks like any other: its issuer's name and a word for it stand before it."""
    announced = (
        rf"(?i:(?:{'|'.join(names.split())})[^\x00]{{0,40}}?(?:{announcement}))[^\x00]{{0,24}}?"
        rf"(?<![A-Za-z0-9+/_-])({pattern})(?![A-Za-z0-9+/_-])"
    )
    return _Form(kind, tuple(names.split()), announced)


_HEX = "[0-9a-f]"
_UUID = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
# An upper-case letter and a digit tell a random token from a commit's hash and from words.
_MIXED = r"(?=[a-z0-9_-]{0,39}[A-Z])(?=[A-Za-z_-]{0,39}[0-9])"

_FORMS = (
    # Clouds
    _form("aws-access-key", "akia asia abia acca", r"(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}"),
    _beside(
        "aws-secret-key",
        "aws",
        r"(?=[a-z0-9+/]{0,39}[A-Z])[A-Za-z0-9+/]{40}",
    ),
    _beside(
        "aws-secret-key",
        "secret",
        r"(?=[a-z0-9+/]{0,39}[A-Z])[A-Za-z0-9+/]{40}",
        "access[ _-]?key",
    ),
    _form("gcp-api-key", "aiza", r"AIza[A-Za-z0-9_-]{35}(?![_-])"),
    _form("gcp-oauth-token", "ya29.", r"ya29\.[A-Za-z0-9_-]{20,2048}+"),
    _form("gcp-oauth-secret", "gocspx-", r"GOCSPX-[A-Za-z0-9_-]{28}(?![_-])"),
    _form("azure-storage-key", "accountkey=", r"(?i:AccountKey)=[\"']?([A-Za-z0-9+/]{86}==)"),
    _form("azure-sas-signature", "sig=", r"(?i:sig)=[\"']?([A-Za-z0-9%+/]{43,120}+={0,2})"),
    _form(
        "azure-client-secret", "q~", r"[A-Za-z0-9_~.]{3}[0-9]Q~[A-Za-z0-9_~.-]{30,33}[A-Za-z0-9_~]"
    ),
    _form("digitalocean-token", "_v1_", rf"do[opr]_v1_{_HEX}{{64}}"),
    _form("heroku-key", "hrku-", r"HRKU-[A-Za-z0-9_-]{36,64}"),
    _beside("heroku-key", "heroku", rf"(?i:{_UUID})"),
    _beside("cloudflare-token", "cloudflare", rf"{_MIXED}[A-Za-z0-9_-]{{40}}|{_HEX}{{37}}"),
    _beside("fastly-token", "fastly", rf"{_MIXED}[A-Za-z0-9_-]{{32}}"),
    _form("vercel-token", "vcp_ vck_ vca_", r"vc[pka]_[A-Za-z0-9]{24,80}"),
    _beside("vercel-token", "vercel", rf"{_MIXED}[A-Za-z0-9]{{24}}"),
    _form("netlify-token", "nfp_", r"nfp_[A-Za-z0-9]{36,40}"),
    _form("planetscale-token", "pscale_", r"pscale_(?:tkn|pw|oauth)_[A-Za-z0-9_.-]{31,64}[\w]"),
    _form("supabase-token", "sbp_", rf"sbp_(?:v0_)?{_HEX}{{40}}"),
    _form("terraform-token", ".atlasv1.", r"[A-Za-z0-9]{14}\.atlasv1\.[A-Za-z0-9_-]{60,80}"),
    _form("vault-token", "hvs. hvb. hvr.", r"hv[sbr]\.[A-Za-z0-9_-]{20,300}+"),
    _form("doppler-token", "dp.", r"dp\.(?:pt|st|ct|sa|scim|audit)\.[A-Za-z0-9_.-]{39,80}\w"),
    _form("databricks-token", "dapi", rf"dapi{_HEX}{{32}}(?:-[0-9])?"),
    # Code and packages
    _form("github-token", "ghp_ gho_ ghu_ ghs_ ghr_", r"gh[pousr]_[A-Za-z0-9]{36,255}+"),
    _form("github-fine-grained-token", "github_pat_", r"github_pat_[A-Za-z0-9_]{36,255}+"),
    _form(
        "gitlab-token",
        "glpat- gldt- glrt- glptt- glft- glsoat- glagent-",
        r"gl(?:pat|dt|rt|ptt|ft|soat|agent)-[A-Za-z0-9_-]{20,300}+",
    ),
    _form("bitbucket-token", "atbb", r"ATBB[A-Za-z0-9_=]{20,40}"),
    _form("atlassian-token", "atatt3", r"ATATT3[A-Za-z0-9_=-]{60,300}+"),
    _form("npm-token", "npm_", r"npm_[A-Za-z0-9]{36}"),
    _form("pypi-token", "pypi-ageichl5 pypi-agei", r"pypi-AgEI[A-Za-z0-9_-]{50,1000}+"),
    _form("rubygems-key", "rubygems_", rf"rubygems_{_HEX}{{48}}"),
    _form("docker-token", "dckr_", r"dckr_[po]at_[A-Za-z0-9_-]{27,40}"),
    _form("sourcegraph-token", "sgp_", rf"sgp_(?:[A-Za-z0-9]{{1,16}}_)?{_HEX}{{40}}"),
    _form("postman-key", "pmak-", rf"PMAK-{_HEX}{{24}}-{_HEX}{{34}}"),
    # Chat and mail
    _form(
        "slack-token",
        "xoxa xoxb xoxc xoxd xoxe xoxo xoxp xoxr xoxs xapp-",
        r"(?:xox[abcdeoprs](?:\.xox[bp])?|xapp)-[A-Za-z0-9%-]{10,300}+",
    ),
    _form(
        "slack-webhook",
        "hooks.slack.com",
        r"https://hooks\.slack\.com/(?:services|workflows|triggers)/[A-Za-z0-9_/+-]{20,200}+",
    ),
    _form(
        "discord-bot-token",
        ".",
        r"[MNO][A-Za-z0-9_-]{23,27}+\.[A-Za-z0-9_-]{6}\.[A-Za-z0-9_-]{27,45}(?![_-])",
    ),
    _form(
        "discord-webhook",
        "/api/webhooks/",
        r"https://(?:[a-z]{1,10}\.)?discord(?:app)?\.com/api/webhooks/[0-9]{17,20}/[A-Za-z0-9_-]{60,80}",
    ),
    _form("telegram-bot-token", ":aa", r"[0-9]{8,10}:AA[A-Za-z0-9_-]{33}(?![_-])"),
    _form("twilio-key", "ac sk", rf"(?:AC|SK){_HEX}{{32}}"),
    _beside("twilio-key", "twilio", rf"{_HEX}{{32}}"),
    _form("sendgrid-key", "sg.", r"SG\.[A-Za-z0-9_-]{20,24}\.[A-Za-z0-9_-]{39,50}"),
    _form("mailgun-key", "key-", rf"key-{_HEX}{{32}}"),
    _form("mailchimp-key", "-us", rf"{_HEX}{{32}}-us[0-9]{{1,2}}"),
    _beside("postmark-token", "postmark", rf"(?i:{_UUID})"),
    _form("resend-key", "re_", r"re_[A-Za-z0-9]{8}_[A-Za-z0-9]{24}"),
    # Models
    _form("anthropic-key", "sk-ant-", r"sk-ant-[A-Za-z0-9_-]{20,200}+"),
    _form("openrouter-key", "sk-or-", rf"sk-or-v1-{_HEX}{{64}}"),
    _form(
        "openai-key",
        "sk-",
        r"sk-(?:proj|svcacct|admin|None)-[A-Za-z0-9_-]{20,250}+|sk-[A-Za-z0-9]{20,100}+",
    ),
    _form("hugging-face-token", "hf_", r"(?:hf|api_org)_[A-Za-z0-9]{30,40}"),
    _form("replicate-token", "r8_", r"r8_[A-Za-z0-9]{37,40}"),
    _form("groq-key", "gsk_", r"gsk_[A-Za-z0-9]{40,64}"),
    _form("xai-key", "xai-", r"xai-[A-Za-z0-9]{60,100}"),
    _form("perplexity-key", "pplx-", r"pplx-[A-Za-z0-9]{40,64}"),
    _beside("cohere-key", "cohere", rf"{_MIXED}[A-Za-z0-9]{{40}}"),
    _form("langsmith-key", "lsv2_", rf"lsv2_(?:pt|sk)_{_HEX}{{32}}_{_HEX}{{10}}"),
    _form("pinecone-key", "pcsk_", r"pcsk_[A-Za-z0-9]{5,6}_[A-Za-z0-9]{60,70}"),
    _form("tavily-key", "tvly-", r"tvly-(?:dev-|prod-)?[A-Za-z0-9]{32}"),
    _form("elevenlabs-key", "sk_", rf"sk_{_HEX}{{48}}"),
    # Money and shops
    _form("stripe-key", "_live_ _test_", r"[sr]k_(?:live|test)_[A-Za-z0-9]{16,250}+"),
    _form("stripe-webhook-secret", "whsec_", r"whsec_[A-Za-z0-9+/]{24,64}={0,2}"),
    _form(
        "braintree-token",
        "access_token$",
        rf"access_token\$(?:production|sandbox)\$[0-9a-z]{{16}}\${_HEX}{{32}}",
    ),
    _form(
        "square-token",
        "sq0atp- sq0csp- eaaa",
        r"sq0atp-[A-Za-z0-9_-]{22}|sq0csp-[A-Za-z0-9_-]{43}|EAAA[A-Za-z0-9_-]{60}",
    ),
    _form("shopify-token", "shpat_ shpss_ shpca_ shppa_", r"shp(?:at|ss|ca|pa)_[0-9a-fA-F]{32}"),
    # Work
    _form("linear-key", "lin_api_", r"lin_api_[A-Za-z0-9]{40}"),
    _form("notion-token", "secret_ ntn_", r"secret_[A-Za-z0-9]{43}|ntn_[A-Za-z0-9]{40,50}"),
    _form("airtable-token", "pat", rf"pat[A-Za-z0-9]{{14}}\.{_HEX}{{64}}"),
    _form("figma-token", "figd_", r"figd_[A-Za-z0-9_-]{38,48}"),
    _form("dropbox-token", "sl.", r"sl\.(?:u\.)?[A-Za-z0-9_-]{120,1500}+"),
    # Watching
    _form(
        "grafana-token",
        "glc_ glsa_",
        rf"glc_[A-Za-z0-9+/]{{32,400}}+={{0,2}}|glsa_[A-Za-z0-9]{{32}}_{_HEX}{{8}}",
    ),
    _form(
        "sentry-token",
        "sntrys_ sntryu_",
        rf"sntrys_[A-Za-z0-9+/=_-]{{40,500}}+|sntryu_{_HEX}{{64}}",
    ),
    _form("new-relic-key", "nrak- nrii- nrjs-", r"NR(?:AK|II|JS)-[A-Za-z0-9_-]{19,40}"),
    _beside("datadog-key", "datadog", rf"{_HEX}{{40}}|{_HEX}{{32}}"),
    # Wallets and files
    _form("age-secret-key", "age-secret-key-1", r"AGE-SECRET-KEY-1[A-Z0-9]{58}"),
    _beside(
        "bitcoin-private-key",
        "bitcoin btc wallet wif",
        r"[5KL][1-9A-HJ-NP-Za-km-z]{50,51}",
        "key|wif|wallet|is|:|=",
    ),
    _beside("ethereum-private-key", "private", r"0x[0-9a-fA-F]{64}|[0-9a-fA-F]{64}", "key"),
    _form(
        "json-web-token",
        "eyj",
        r"(?<![_-])eyJ[A-Za-z0-9_-]{8,4096}+\.eyJ[A-Za-z0-9_-]{8,8192}+\.[A-Za-z0-9_-]{8,2048}+",
    ),
)

_BEARER = _Form(
    "bearer-token",
    ("bearer",),
    (
        r"(?i:(?<![a-z])bearer)[ \t:=]{1,3}[\"'`]?"
        r"((?=[A-Za-z_.~+/-]{0,60}[0-9])[A-Za-z0-9_.~+/-]{19,2048}[A-Za-z0-9_-]={0,2})"
    ),
)

_HOST = r"[A-Za-z0-9.-]{0,252}[A-Za-z0-9](?::[0-9]{1,5})?"
_LOGIN = r"[^\s/:@\x00\"'<>`]{0,64}:[^\s/\x00\"'<>`]{1,128}@"
_DATABASES = (
    r"postgres(?:ql)?|mysql2?|mariadb|mongodb|rediss?|amqps?|mssql|sqlserver|oracle|clickhouse"
    r"|cockroachdb|neo4j|bolt|cassandra|jdbc:[a-z0-9]{1,20}"
)
_URLS = (
    _Form(
        "database-url",
        ("://",),
        (
            rf"(?i:(?<![a-z0-9])(?:{_DATABASES})(?:\+[a-z0-9]{{1,20}})?)://{_LOGIN}{_HOST}"
            r"(?:[^\s\x00\"'<>`]{0,256}[A-Za-z0-9/_=-])?"
        ),
    ),
    _Form(
        "url-with-password",
        ("://",),
        rf"(?<![A-Za-z0-9+.-])[A-Za-z][A-Za-z0-9+.-]{{1,20}}+://{_LOGIN}{_HOST}",
    ),
)

KINDS = tuple(dict.fromkeys(form.kind for form in (*_FORMS, *_URLS)))
GENERIC_KINDS = (_BEARER.kind,)


def find(text: str) -> Iterator[Found]:
    """The keys and tokens in a text."""
    return _matches(text, (*_FORMS, _BEARER))


def find_urls(text: str) -> Iterator[Found]:
    """The URLs in a text that hold a password, through the host or, for a database, whole."""
    return _matches(text, _URLS)


def _matches(text: str, forms: tuple[_Form, ...]) -> Iterator[Found]:
    lowered = text.lower()
    for form in forms:
        for literal in form.literals:
            if literal in lowered:
                pattern = _compiled(form.pattern)
                for match in pattern.finditer(text):
                    yield Found(form.kind, *match.span(pattern.groups))
                break


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)
