"""Google's services in memory, for simulating days in seconds.

Held to the contract tests of the real ones.
"""
