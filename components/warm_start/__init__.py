"""Which earlier model a training starts from.

`base_model` is the pipeline's node that finds it; what is taken of its weights is
`trainer.warm_start`'s affair.
"""
