#!/usr/bin/env bash
# Deploys ech0-tuner to a Google Cloud project. Not part of this release: it says so and changes nothing.
set -euo pipefail

cat >&2 <<'TEXT'
deploy.sh: this release runs on one machine only (`make demo`, `tuner local up`).

The functions, the trainer and the table of deliveries (docs/adr/0001-deliveries.md) are what will be
deployed, unchanged; creating buckets, topics, accounts and quotas in a project is not written yet.
Nothing was changed.
TEXT
exit 2
