"""The search of a catalog by pictures, over HTTP: an API, and a page that uses it.

    python -m serving.app workspace/demo/serving --server localhost:8500

It holds the indexes that were pushed beside the models, or asks the Qdrant that they were brought
to, and asks a model server about the pictures that come in, over gRPC. So it needs no TensorFlow,
and there may be as many of it as callers need. `finder` answers, one version of a model at a time;
`models` knows which versions there are and which answers by default; `api` is HTTP around the two;
`page` is what a browser shows.

Measures and vectors are no business of this package: `serving.search` knows them. What is measured
on a picture is the model's, which is asked by `serving.client`.
"""
