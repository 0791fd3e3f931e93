"""How good a model is: the figures, the TFMA metrics around them, the EvalConfig, and reading back.

`figures` holds the arithmetic, `metrics` hands it to TFMA, `eval_config` says what TFX's Evaluator
computes, `results` reads what was written. Which model to compare with is the ledger's to know, and
who decides is the Judge. Nothing that trains, serves or draws belongs here.
"""
