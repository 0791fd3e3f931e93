"""The pipeline's own steps, one folder each: what TFX has no component for.

In a step's folder `component.py` says what goes in and out, `executor.py` runs it, and plain
modules beside them hold the logic, which needs no TFX and is tested without it. Stands on `schema`;
imports nothing of `pipeline` or `trainer`. What is learned or served does not belong here.
"""
