"""A durable Pub/Sub server on loopback that Google's own clients talk to unmodified.

Not offered, and answered with UNIMPLEMENTED: snapshots, seek, schemas, IAM, exactly-once delivery,
exports (BigQuery, Cloud Storage, Bigtable), message transforms and unwrapped push. Subscriptions
never expire for want of use. Push goes to loopback endpoints only.
"""

from local.pubsub.errors import PubSubError, StartError
from local.pubsub.server import PubSubServer

__all__ = ["PubSubError", "PubSubServer", "StartError"]
