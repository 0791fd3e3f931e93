"""What is learned: labels to numbers, pictures to tensors, the network, its losses, the fit.

`augmentation`, `backbones`, `hierarchical_model` and `losses` import keras and never tensorflow, so
that the same model runs on every Keras back end. The rest is TensorFlow's side: reading Examples,
fitting inside a TFX Trainer or Tuner, and the SavedModel. Nothing here reads a catalog's files or
the config; options arrive as plain dicts, one for each section of `pipeline.config`.
"""
