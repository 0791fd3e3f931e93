"""The schema that a run holds its data against, as an artifact.

TFX's own ImportSchemaGen takes a file's path, which means something on one machine alone, and knows
it by its name. This step gets the text: the same schema is the same step, whoever runs it, and
where. What a catalog's schema is, `schema.catalog` says.
"""
