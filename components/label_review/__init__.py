"""Labels that are probably wrong, for people to look at: a list, a page, and what they decide.

`frozen` computes features of every picture once, by a network that has seen no label of the
catalog. `folds`, `heads` and `neighbors` say of each product what it seems to be, without having
seen it or what looks like it; `final_model` adds the trained model where that is out of sample.
`confident`, `judging` and `suspects` make of it which labels are suspected and why, `review` the
whole of it, `page` what people work through, `effect` what their decisions did to the figures.

Nothing here changes a label: the ingest applies what people have decided
(`components.catalog_example_gen.corrections`). And nothing here asks the trained model about
products that it was trained on, nor its backbone about any: both have seen the labels.
"""
