"""What a model is asked in production, held against what it was trained on.

No step of the pipeline: `seamline drift` calls it, whenever somebody or a scheduler wants to know.
"""
