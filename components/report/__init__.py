"""The report of a run: an HTML page that opens anywhere, offline, and what it shows when asked.

`contents` is what the page tells, as plain data; `products` and `explorer` make its data of single
products and of slices; `sections`, `charts` and `page` draw it and need no TFX; `browser/` is what
runs in the browser: the template, the style and our own few scripts. `gather` and `runs` read a
run's artifacts into it; `component` and `executor` are the step of the pipeline. Figures are
computed in `components.evaluation` and judged in `components.judge`, never here.
"""
