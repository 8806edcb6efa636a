"""Packaging of recbole-universal. The tools' settings are in pyproject.toml."""

from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = "0.1.0"

TEST = [
    "pytest>=7.4",
    "pytest-xdist>=3.5",
    "pytest-cov>=4",
    "hypothesis>=6.80",
    "hyperopt>=0.2.5",
    "pyarrow>=14",
    "polars>=1.0",
]

setup(
    name="recbole-universal",
    version=VERSION,
    description="Universal interaction statistics for every RecBole model: zero-shot recommendation as a plugin",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.10,<3.14",
    packages=[*find_packages(include=["recbole_universal", "recbole_universal.*"]), "recbole_universal.properties"],
    package_dir={"recbole_universal.properties": "properties"},
    package_data={
        "recbole_universal": ["py.typed", "pretrained/*/*"],
        "recbole_universal.properties": ["*.yaml", "model/*.yaml", "quick_start_config/*.yaml"],
    },
    install_requires=[
        "recbole>=1.2.0,<1.3",
        "torch>=2.1",
        "torch-geometric>=2.4",
        "numpy>=1.26",
        "pandas>=2.0",
        "scipy>=1.11",
        "scikit-learn>=1.3",
        "pyyaml>=6.0",
        "tqdm>=4.60",
        "safetensors>=0.4",
        "threadpoolctl>=3.0",
        "duckdb>=1.2",
        # RecBole imports these without declaring them for every Python.
        "psutil>=5.9",
        "setuptools; python_version >= '3.12'",
    ],
    extras_require={
        "test": TEST,
        "dev": [*TEST, "powerlaw>=1.5", "ruff>=0.5", "mypy>=1.10", "types-PyYAML", "pandas-stubs", "build>=1.0"],
        "hyperopt": ["hyperopt>=0.2.5"],
        "parquet": ["pyarrow>=14"],
        "analysis": ["powerlaw>=1.5"],
        "docs": ["mkdocs>=1.6,<2", "mkdocstrings[python]>=0.27"],
    },
    classifiers=[
        "License :: OSI Approved :: MIT License",
        "Programming Language :: Python :: 3",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
