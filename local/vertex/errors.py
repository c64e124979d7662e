"""The failures this server replies with: one function for each text that Google sends."""

from __future__ import annotations

from collections.abc import Iterable

import grpc


class ApiError(Exception):
    """A refusal that becomes the RPC's status."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def invalid_argument(message: str) -> ApiError:
    """A request that Vertex would refuse whatever its state."""
    return ApiError(grpc.StatusCode.INVALID_ARGUMENT, message)


def not_found(message: str) -> ApiError:
    """A resource that does not exist, or not yet."""
    return ApiError(grpc.StatusCode.NOT_FOUND, message)


def already_exists(message: str) -> ApiError:
    """A resource whose name or key is taken."""
    return ApiError(grpc.StatusCode.ALREADY_EXISTS, message)


def failed_precondition(message: str) -> ApiError:
    """A request that the resource's present state forbids."""
    return ApiError(grpc.StatusCode.FAILED_PRECONDITION, message)


def aborted(message: str) -> ApiError:
    """A stale etag."""
    return ApiError(grpc.StatusCode.ABORTED, message)


def permission_denied(message: str) -> ApiError:
    """Another project's resource."""
    return ApiError(grpc.StatusCode.PERMISSION_DENIED, message)


def unimplemented(message: str) -> ApiError:
    """Something Vertex can do and this server cannot."""
    return ApiError(grpc.StatusCode.UNIMPLEMENTED, message)


def quota_text(metrics: Iterable[str]) -> str:
    """Vertex's text for full metric names that are exceeded: a comma between them, no space."""
    return "The following quota metrics exceed quota limits: " + ",".join(metrics)


def quota_exceeded(metrics: Iterable[str]) -> ApiError:
    """A job that does not fit into the region's quotas."""
    return ApiError(grpc.StatusCode.RESOURCE_EXHAUSTED, quota_text(metrics))


def rate_limited(project_number: str) -> ApiError:
    """The API's own limit: the same status code as a full quota, another text."""
    return ApiError(
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "Quota exceeded for quota metric 'Custom job submissions' and limit "
        "'Custom job submissions per minute per region' of service 'aiplatform.googleapis.com' "
        f"for consumer 'project_number:{project_number}'.",
    )
