"""Every option of Seamline: its type, its default and one sentence; a section, a file.

A catalog's config is one YAML file, read by `load_config`. Options that are not in the file have
the defaults of these classes; `--set section.option=value` on the command line overrides both. The
table of options in docs/options.md is made from them (`python -m pipeline.options_table`).
"""

from pipeline.config.augmentation import Augmentation
from pipeline.config.beam import Beam
from pipeline.config.catalog import Catalog
from pipeline.config.checks import Checks
from pipeline.config.config import Config
from pipeline.config.evaluation import Evaluation, Gate
from pipeline.config.label_review import LabelReview
from pipeline.config.loading import load_config
from pipeline.config.metadata import Metadata
from pipeline.config.model import Model
from pipeline.config.section import Section
from pipeline.config.serving import Serving
from pipeline.config.split import Split
from pipeline.config.training import Training
from pipeline.config.tuning import Range, Tuning

__all__ = [
    "Augmentation",
    "Beam",
    "Catalog",
    "Checks",
    "Config",
    "Evaluation",
    "Gate",
    "LabelReview",
    "Metadata",
    "Model",
    "Range",
    "Section",
    "Serving",
    "Split",
    "Training",
    "Tuning",
    "load_config",
]
