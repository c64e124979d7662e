"""Resource names: who may ask for what, and where.

Like Google, the server takes a project's id or its number and always answers with the number, so a
client that compares names by prefix with what it asked for is wrong here too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from .errors import invalid_argument, permission_denied

REGIONS = (
    "asia-east1",
    "asia-northeast1",
    "asia-southeast1",
    "europe-west1",
    "europe-west2",
    "europe-west3",
    "europe-west4",
    "us-central1",
    "us-east1",
    "us-east4",
    "us-west1",
    "us-west2",
)

SERVICE = "aiplatform.googleapis.com"

_LOCATION = re.compile(r"projects/([^/]+)/locations/([^/]+)")
_CUSTOM_JOB = re.compile(r"(projects/[^/]+/locations/[^/]+)/customJobs/([^/]+)")
_QUOTA_INFO = re.compile(r"(projects/[^/]+/locations/[^/]+)/services/([^/]+)/quotaInfos/([^/]+)")
_QUOTA_SERVICE = re.compile(r"(projects/[^/]+/locations/[^/]+)/services/([^/]+)")
_PREFERENCE = re.compile(r"(projects/[^/]+/locations/[^/]+)/quotaPreferences/([^/]+)")


@dataclass(frozen=True, kw_only=True)
class Project:
    """The one project that the server holds; `project_id` None accepts every id."""

    number: str
    project_id: str | None = None

    def region(self, parent: str) -> str:
        """Return the region of a job's parent.

        Raises:
            ApiError: the parent is malformed, foreign, or not in a region that trains.
        """
        location = self._location(parent, "projects/{project}/locations/{region}")
        if location not in REGIONS:
            raise invalid_argument(f"Unsupported region for Vertex AI custom jobs: {location!r}.")
        return location

    def job_name(self, name: str) -> str:
        """Return the canonical name of the job that `name` means."""
        match = _CUSTOM_JOB.fullmatch(name)
        if match is None:
            raise _malformed(name, "projects/{project}/locations/{region}/customJobs/{id}")
        return f"{self.parent(self.region(match[1]))}/customJobs/{match[2]}"

    def parent(self, location: str) -> str:
        """Return the canonical parent of a location's resources."""
        return f"projects/{self.number}/locations/{location}"

    def quota_service(self, parent: str) -> str:
        """Check the parent of quota infos and return its service."""
        shape = "projects/{project}/locations/global/services/{service}"
        match = _QUOTA_SERVICE.fullmatch(parent)
        if match is None:
            raise _malformed(parent, shape)
        self.check_global(match[1])
        return match[2]

    def quota_info(self, name: str) -> tuple[str, str]:
        """Return service and quota id of a quota info's name."""
        match = _QUOTA_INFO.fullmatch(name)
        if match is None:
            raise _malformed(
                name, "projects/{project}/locations/global/services/{service}/quotaInfos/{id}"
            )
        self.check_global(match[1])
        return match[2], match[3]

    def preference_id(self, name: str) -> str:
        """Return the id of a quota preference's name."""
        match = _PREFERENCE.fullmatch(name)
        if match is None:
            raise _malformed(name, "projects/{project}/locations/global/quotaPreferences/{id}")
        self.check_global(match[1])
        return match[2]

    def preference_name(self, preference_id: str) -> str:
        """Return the canonical name of a quota preference."""
        return f"{self.parent('global')}/quotaPreferences/{preference_id}"

    def check_global(self, parent: str) -> None:
        """Refuse a Cloud Quotas parent that is not the project's global location."""
        if self._location(parent, "projects/{project}/locations/global") != "global":
            raise invalid_argument("The location of a Cloud Quotas resource must be 'global'.")

    def _location(self, parent: str, shape: str) -> str:
        match = _LOCATION.fullmatch(parent)
        if match is None:
            raise _malformed(parent, shape)
        if self.project_id is not None and match[1] not in (self.project_id, self.number):
            raise permission_denied(f"Permission denied on resource project {match[1]}.")
        return match[2]


def _malformed(name: str, shape: str) -> Exception:
    return invalid_argument(f"Malformed resource name {name!r}: expected {shape}.")
