"""The least function there is: what functions-framework itself costs."""

import functions_framework
from cloudevents.http import CloudEvent


@functions_framework.cloud_event  # type: ignore[untyped-decorator]
def answer(event: CloudEvent) -> None:
    """Do nothing."""
