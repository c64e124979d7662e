"""The library that the three functions, the trainer and the command line share.

Nothing here reads the environment, builds a client or looks at a clock: those come in as
arguments, so that every module can be tested against real servers and a fixed time.
"""
