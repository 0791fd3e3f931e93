"""The report of a run: one HTML page that opens anywhere, offline, and can be mailed.

`contents` is what the page tells, as plain data; `charts` and `page` draw it and need no TFX;
`gather` reads a run's artifacts into it; `component` and `executor` are the step of the pipeline.
Figures are computed in `components.evaluation`, never here.
"""
