"""Who is answered: the model server, a catalog system's client, and deployment files.

Stands on `schema` alone. Everything a caller needs (`serving.client`) imports without TensorFlow;
only `serving.model_server` loads it. Nothing that trains, judges or pushes a model belongs here.
"""
