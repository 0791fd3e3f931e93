"""The catalog made searchable by pictures: every product's vector, an index, and how good it is.

`build` makes the vectors of the model's answers (`components.predictions`) and of the pictures'
colors, chooses nothing by the products that it is judged by, and writes the folder that
`serving.search.catalog` opens; `quality` measures what a search finds; `component` and `executor`
are the step around them. What a vector consists of and how it is searched is `serving.search`'s to
say; nothing here answers anybody.
"""
