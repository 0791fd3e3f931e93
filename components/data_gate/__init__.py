"""Stops the run when the data are not what the schema says, in words a person can act on.

`findings` turns TFDV's anomalies into sentences and needs no TFX; `component` and `executor` hang
it into the pipeline. Nothing here validates: ExampleValidator has done that.
"""
