"""What a recurring run starts each time: `seamline submit`, in the cluster.

A compiled pipeline is what it was compiled from: it would train on the catalog's old fingerprint,
and be compared with the old baseline, forever. So what recurs is one step that compiles and submits
the pipeline anew, from the config that travels in it.

`python -m pipeline.kubeflow.again [NAMESPACE]` is that step; it finds the config in
`SEAMLINE_CONFIG`, and a bearer token, where the API wants one, in `KFP_TOKEN`.
"""

from __future__ import annotations

import os
import sys

import yaml

from pipeline.config import Config
from pipeline.config.kubeflow import StepPod
from pipeline.kubeflow.spec import compiled, package, platform_spec, pod_of
from pipeline.kubeflow.submit import TOKEN, Host
from schema.errors import UserError

CONFIG = "SEAMLINE_CONFIG"

_NAME = "submit"


def recurring(config: Config, name: str, namespace: str | None = None) -> str:
    """The package of a pipeline of one step, which submits the pipeline of a config.

    Args:
        config: With its `kubeflow.image`, which this step runs in, too.
        name: The pipeline's, as Kubeflow allows it.
        namespace: Of the user, where the installation has several.
    """
    text = yaml.safe_dump(config.model_dump(mode="json"), allow_unicode=True)
    variables = config.kubeflow.env | {CONFIG: text}
    given = [namespace] if namespace else []
    pipeline = {
        "schemaVersion": "2.1.0",
        "pipelineInfo": {"name": f"{name[:121]}-again"},
        "components": {_NAME: {"executorLabel": _NAME}},
        "deploymentSpec": {
            "executors": {
                _NAME: {
                    "container": {
                        "image": config.kubeflow.image,
                        "command": ["python", "-m", "pipeline.kubeflow.again", *given],
                        "env": [{"name": key, "value": of} for key, of in variables.items()],
                    }
                }
            }
        },
        "root": {
            "dag": {
                "tasks": {
                    _NAME: {
                        "taskInfo": {"name": _NAME},
                        "componentRef": {"name": _NAME},
                        "cachingOptions": {},
                    }
                }
            }
        },
    }
    pod = pod_of(StepPod(), config.kubeflow)
    return package(pipeline, platform_spec({_NAME: pod} if pod else {}))


def main() -> int:
    """Submits once; returns the exit status."""
    namespace = sys.argv[1] if sys.argv[1:] else None
    try:
        config = Config.model_validate(yaml.safe_load(os.environ[CONFIG]))
        spec = compiled(config)
        print(Host(config.kubeflow.host, namespace, os.environ.get(TOKEN)).start(spec).page)
    except UserError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
