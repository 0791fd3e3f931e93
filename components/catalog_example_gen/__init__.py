"""From `labels.csv` and a folder of pictures to Examples, and to what was rejected and why.

`rows` reads the CSV, `deepfashion` the annotation files of that data set, `sources` says which of
them a catalog has; `folder` reads the pictures' names, `pictures` one picture, `splits` says who is
learned from and who judges and `division` applies it to all products, `examples` writes, `rejects`
names every reason. `ingestion` joins them in one Beam pipeline, between whose stages records go
through files (`spill`); `catalog` runs it and judges the counts.
All of these start without TFX and TensorFlow, because every Beam worker imports them; only
`component`, `executor` and `artifacts` know TFX. Statistics of the Examples are
StatisticsGen's and DataGate's business.
"""
