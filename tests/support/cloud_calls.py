"""Which calls of Google's clients a staged source can come to, read from its syntax tree.

A function is taken for reached when its name is used by anything that is reached, from main.py or
train.py on: too many rather than too few. A call is told by its method's name and by what it is
called on, since our own classes have methods of the same names.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Call:
    """A method of a client: on what it is called, and the permissions that Google asks for."""

    on: str
    permissions: tuple[str, ...]


_BLOB = r"(blob|held|copied|existing|[Bb]lob\(.*\))$"
_BUCKET = r"(bucket|_work|_uploads|_bucket)$"
_JOBS = r"(_jobs_client\(.*\)|client)$"

#: Source: the permissions that Google's references name for each method.
CALLS: dict[str, Call] = {
    "get_blob": Call(on=_BUCKET, permissions=("storage.objects.get",)),
    "download_as_bytes": Call(on=_BLOB + r"|(receipt|owner|result|metrics|known)$",
                              permissions=("storage.objects.get",)),
    "download_to_file": Call(on=_BLOB, permissions=("storage.objects.get",)),
    "reload": Call(on=_BLOB, permissions=("storage.objects.get",)),
    "list_blobs": Call(on=r"client$", permissions=("storage.objects.list",)),
    "upload_from_string": Call(
        on=_BLOB, permissions=("storage.objects.create", "storage.objects.delete")
    ),
    "open": Call(on=_BLOB, permissions=("storage.objects.create", "storage.objects.delete")),
    "copy_blob": Call(on=_BUCKET, permissions=("storage.objects.get", "storage.objects.create")),
    "delete_blob": Call(on=_BUCKET, permissions=("storage.objects.delete",)),
    "publish": Call(on=r"_publisher$", permissions=("pubsub.topics.publish",)),
    "create_custom_job": Call(
        on=_JOBS, permissions=("aiplatform.customJobs.create", "iam.serviceAccounts.actAs")
    ),
    "get_custom_job": Call(on=_JOBS, permissions=("aiplatform.customJobs.get",)),
    "list_custom_jobs": Call(on=_JOBS, permissions=("aiplatform.customJobs.list",)),
    "cancel_custom_job": Call(on=_JOBS, permissions=("aiplatform.customJobs.cancel",)),
    "list_quota_infos": Call(on=r"_quotas$", permissions=("cloudquotas.quotas.get",)),
    "list_quota_preferences": Call(on=r"_quotas$", permissions=("cloudquotas.quotas.get",)),
    "create_quota_preference": Call(on=r"_quotas$", permissions=("cloudquotas.quotas.update",)),
    "update_quota_preference": Call(on=r"_quotas$", permissions=("cloudquotas.quotas.update",)),
}  # fmt: skip

#: What each role that deploy.sh gives holds of those permissions.
ROLES: dict[str, set[str]] = {
    "roles/storage.objectViewer": {"storage.objects.get", "storage.objects.list"},
    "roles/storage.legacyBucketReader": {"storage.objects.list"},
    "roles/storage.objectUser": {
        "storage.objects.get", "storage.objects.list", "storage.objects.create",
        "storage.objects.delete", "storage.objects.update",
    },
    "roles/pubsub.publisher": {"pubsub.topics.publish"},
    "roles/aiplatform.user": {
        "aiplatform.customJobs.create", "aiplatform.customJobs.get",
        "aiplatform.customJobs.list", "aiplatform.customJobs.cancel",
    },
    "roles/iam.serviceAccountUser": {"iam.serviceAccounts.actAs"},
    "roles/cloudquotas.viewer": {"cloudquotas.quotas.get"},
    "roles/cloudquotas.admin": {"cloudquotas.quotas.get", "cloudquotas.quotas.update"},
}  # fmt: skip


def _reached(folder: Path) -> Iterator[ast.AST]:
    """What may run: the entry's functions, and all whose name something reached uses."""
    functions: dict[str, list[ast.AST]] = {}
    coming: list[ast.AST] = []
    for file in sorted(folder.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                functions.setdefault(node.name, []).append(node)
                # Methods that Python calls by itself run wherever their class is used.
                if node.name.startswith("__") or file.name in ("main.py", "train.py"):
                    coming.append(node)
    seen: set[str] = set()
    while coming:
        node = coming.pop()
        yield node
        for each in ast.walk(node):
            name = {ast.Name: "id", ast.Attribute: "attr"}.get(type(each))
            used = getattr(each, name) if name else ""
            if used in functions and used not in seen:
                seen.add(used)
                coming.extend(functions[used])


@cache
def calls_of(folder: Path) -> set[str]:
    """Names of the client methods of CALLS that a staged source can come to."""
    found = set()
    for node in _reached(folder):
        for each in ast.walk(node):
            if isinstance(each, ast.Call) and isinstance(each.func, ast.Attribute):
                call = CALLS.get(each.func.attr)
                if call and re.search(call.on, ast.unparse(each.func.value)):
                    found.add(each.func.attr)
    return found


def permissions_of(methods: set[str]) -> set[str]:
    return {permission for method in methods for permission in CALLS[method].permissions}


@cache
def bucket_calls_elsewhere(folder: Path) -> set[str]:
    """Calls of methods in CALLS whose object is not recognised: the tables must learn them."""
    strangers = set()
    for file in sorted(folder.rglob("*.py")):
        for each in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(each, ast.Call) and isinstance(each.func, ast.Attribute):
                call, on = CALLS.get(each.func.attr), ast.unparse(each.func.value)
                ours = each.func.attr in ("open", "publish", "reload")
                if call and not ours and not re.search(call.on, on):
                    strangers.add(f"{file.name}: {on}.{each.func.attr}")
    return strangers
