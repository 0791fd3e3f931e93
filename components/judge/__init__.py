"""Judges a model by every product's answer: how good, how sure that is, and better than which.

`answers` puts the tables of two models side by side, `measures` says what is counted, as sums over
products, `intervals` how sure a figure is that comes of such sums, and `certainty` brings the three
together. On them stand `gates`, which decide, `overview`, all figures with their intervals, and
`automatic`, what needs no person. `judgement` is the verdict in words and as a file; `component`
and `executor` are the step around it. All but the last two are arithmetic on arrays and import
neither TensorFlow nor TFX. What TFX's Evaluator computes belongs to `components.evaluation`;
nothing that trains, serves or draws belongs here.
"""
