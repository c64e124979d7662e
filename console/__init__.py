"""The `tuner` command line: reads the ledger and the events, on one machine or on a cloud."""
