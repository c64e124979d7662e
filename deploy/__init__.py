"""What deploy.sh has Python do: read what gcloud found, the table of deliveries, rights, hashes."""
