"""Stops the run when the data are not what they should be, in words a person can act on.

`findings` turns TFDV's anomalies into sentences and needs no TFX; `component` and `executor` hang
it into the pipeline. What is wrong with a split has been found by ExampleValidator; that a part is
unlike another one is found here (`distances`), for ExampleValidator is given one part at a time.
"""
