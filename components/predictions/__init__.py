"""A model's answers about products, one row each, in Parquet: what judges, searches and shows read.

`answering` asks a model about a file of Examples through its signature `evaluate`, `table` says
what a row holds and reads it back, `component` and `executor` are the step around them. A second
pass over the pictures is the dearest thing there is, so whatever needs single products reads this
table. What is made of the answers, a figure or a verdict, belongs to those who make it.
"""
