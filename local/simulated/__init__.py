"""Google's services in memory, for simulating days in seconds: held to the contract tests of the
real ones."""
