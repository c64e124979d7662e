"""The trainings that `bench.trainer` measures, a process each; all run in .venv-bench-trainer.

`python -m bench.trainings NAME TASK ORDERS` prints one JSON object. Everyone gets the same rows,
seed, effective batch, learning rate, number of epochs and LoRA shape, on one thread.
"""
