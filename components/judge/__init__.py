"""Judges a model by every product's answer: how good, how sure that is, and better than which.

`measures` says what is counted, as sums over products; `intervals` how sure a figure is that comes
of such sums. Both are arithmetic on arrays that anybody may use: they import neither TensorFlow nor
TFX. What the Evaluator computes and reads back belongs to `components.evaluation`; nothing that
trains, serves or draws belongs here.
"""
