"""The pipeline on Kubeflow Pipelines: the same DAG, compiled, submitted, and run step by step.

`spec` turns a config into the two documents that the backend takes, by TFX's own compiler and what
that leaves out; `entrypoint` is what every step's container starts, and makes of what the backend
hands over what TFX's executors expect; `submit` starts runs and follows them. What a step does, and
what depends on where it runs, does not belong here: a step knows paths and URLs alone.
"""
