"""The package; also what Beam workers are handed as `--setup_file`."""

from setuptools import find_packages, setup

setup(
    name="equipoise",
    version="0.1.0",
    description="Multi-scenario, multi-task ranking on TensorFlow Extended, "
    "where no scenario or task gains at another's cost.",
    license="Apache-2.0",
    python_requires=">=3.10,<3.11",
    packages=find_packages(
        include=[
            f"{package}{below}"
            for package in ("tfx_pipeline", "transforms", "keras_models", "serving")
            for below in ("", ".*")
        ]
    ),
    package_data={"": ["py.typed"], "tfx_pipeline": ["**/*.html", "**/*.md"]},
    entry_points={"console_scripts": ["equipoise = tfx_pipeline.cli:main"]},
    # Logs in S3 and what speaks its language.
    extras_require={"s3": ["boto3>=1.28,<2"]},
    # Ranges that a run was seen to work in; requirements/base.txt has the exact versions.
    install_requires=[
        "apache-beam>=2.61,<2.75",
        "cryptography>=50,<51",
        "dill==0.3.1.1",
        "grpcio-health-checking>=1.48,<2",
        "jinja2>=3.1,<4",
        "matplotlib>=3.8,<4",
        "numpy>=1.26,<2",
        "prometheus-client>=0.20,<1",
        "protobuf>=3.20.3,<4",
        "pyarrow>=10.0.1,<11",
        "pydantic>=2.8,<3",
        "pyyaml>=6,<7",
        "rich>=13,<16",
        "scipy>=1.11,<2",
        "setuptools<81",
        "tensorflow>=2.16.2,<2.17",
        "tensorflow-data-validation>=1.16.1,<1.17",
        "tensorflow-model-analysis>=0.47.1,<0.48",
        "tensorflow-serving-api>=2.16.1,<2.17",
        "tensorflow-transform>=1.16,<1.17",
        "tf-keras>=2.16,<2.17",
        "tfx>=1.16,<1.17",
        "tornado>=6.5.10,<7",
        "typer>=0.12,<1",
    ],
)
