"""What the files of a card are called, in the artifact and in a pushed version."""

CARD_FILE = "model_card.md"
"""For people."""

BOM_FILE = "bom.cdx.json"
"""For programs."""
