"""Prints what becomes of every run: python follow_runs.py PROJECT SUBSCRIPTION

SUBSCRIPTION is one of your own to the topic run-events. Needs google-cloud-pubsub.
"""

import json
import sys

from google.cloud import pubsub_v1

latest: dict[str, int] = {}  # a run's newest change that was handled; keep it where you keep data


def handle(message) -> None:
    event, kind = json.loads(message.data), message.attributes["ce-type"]
    if kind == "alarm.raised":
        print(f"alarm {event['name']}: {event['reason']} {event.get('fix', '')}", flush=True)
    elif "seq" in event and event["seq"] > latest.get(event["run_id"], 0):
        latest[event["run_id"]] = event["seq"]  # else it was seen, or a newer one was
        print(f"{event['run_id']} {event['state']}: {event['reason']}", flush=True)
        if event.get("model_uri"):
            print(f"{event['run_id']} adapter: {event['model_uri']}", flush=True)
    message.ack()


subscriber = pubsub_v1.SubscriberClient()
subscriber.subscribe(subscriber.subscription_path(*sys.argv[1:3]), handle).result()
