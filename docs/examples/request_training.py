"""Asks for a run of a dataset: python request_training.py PROJECT PERSONA DATASET_ID

It is one run however often it is asked for; `rerun` asks for another. Needs google-cloud-pubsub.
"""

import json
import sys

from google.cloud import pubsub_v1

project, persona, dataset_id = sys.argv[1:4]
request = {
    "schema_version": 1,
    "persona": persona,
    "dataset_id": dataset_id,
    "preset": "smollm2-135m",
    "rerun": 0,
    "priority": 5,
    "budget_usd": 5.0,
    "requested_by": {"kind": "system", "reference": "request_training.py"},
}
publisher = pubsub_v1.PublisherClient()
topic = publisher.topic_path(project, "training-requests")
print(publisher.publish(topic, json.dumps(request).encode()).result(timeout=60))
