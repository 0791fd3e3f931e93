"""Who is answered: a model server, a catalog system's client, the search, deployment files.

Stands on `schema` alone. What a caller needs (`serving.client`) and `serving.search` import without
TensorFlow; only `serving.model_server` loads it. Nothing that trains, judges or pushes a model
belongs here.
"""
