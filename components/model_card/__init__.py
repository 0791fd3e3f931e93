"""What travels with a pushed model: its card, for people and for programs.

`gather` reads the run's artifacts into `contents.Contents`, `markdown` writes them as Markdown with
Hugging Face's front matter, and `bom` as a CycloneDX ML-BOM. Nothing is told that no artifact says.
"""
