"""A local stand-in for Vertex AI's JobService and for Cloud Quotas; it really runs its jobs."""
