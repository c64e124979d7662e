"""A durable Pub/Sub server on loopback that Google's own clients talk to unmodified.

Not offered, and answered with UNIMPLEMENTED: schemas, IAM, detaching a subscription, exports
(BigQuery, Cloud Storage, Bigtable), message transforms and unwrapped push. Subscriptions never
expire for want of use, whatever their policy says. A key has one message outstanding at a time,
where Google may send several in order. Push goes to loopback endpoints only.
"""

from local.pubsub.errors import PubSubError, StartError
from local.pubsub.server import PubSubServer

__all__ = ["PubSubError", "PubSubServer", "StartError"]
