"""What runs, in what order, where: the config, the DAG, its runners and the command line.

Nothing here reads a picture, computes a metric or knows Keras: `pipeline` wires the steps of
`components` and the functions of `trainer` together and gives them paths and options.
"""
