"""How good a model is: the figures, the TFMA metrics around them, the EvalConfig, and reading back.

`figures` holds the arithmetic, `metrics` hands it to TFMA, `eval_config` says what TFX's Evaluator
computes, `baseline` finds the model to compare with, `results` reads what was written. TFX's own
Evaluator does the work in between; who decides is the Judge. Nothing that trains, serves or draws
belongs here.
"""
