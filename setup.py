"""Installs fairseq_musc, with the three rooms that lie beside it in the repository as sub-packages.

``criterions/``, ``tasks/`` and ``configs/`` stand at the top level of the repository and are installed as
``fairseq_musc.criterions``, ``fairseq_musc.tasks`` and ``fairseq_musc.configs``, so that nothing but ``fairseq_musc``
and the Hydra namespace ``hydra_plugins`` becomes importable.
"""

from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
#: The releases of Python that the test suite was run with (docs/install.md); the first is what everything is made for.
TRIED = ("3.11", "3.12", "3.13")
VERSION = {}
exec((HERE / "fairseq_musc" / "version.py").read_text(encoding="utf-8"), VERSION)

setup(
    name="fairseq-musc",
    version=VERSION["__version__"],
    description="Multilingual sentence classification with machine translation (translate-all, MUSC): a fairseq plugin",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author="the fairseq-musc authors",
    license_expression="MIT",
    license_files=["LICENSE"],
    project_urls={
        "Paper": "https://arxiv.org/abs/2210.09588",
        "Code of the paper's authors": "https://github.com/jongwooko/MUSC",
    },
    keywords=[
        *("cross-lingual transfer", "fairseq", "machine translation", "mixup", "multilingual", "mBERT", "PAWS-X"),
        *("sentence classification", "supervised contrastive learning", "translate-test", "translate-train", "XNLI"),
    ],
    classifiers=[
        "Development Status :: 4 - Beta",
        "Environment :: Console",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3 :: Only",
        *(f"Programming Language :: Python :: {version}" for version in TRIED),
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Topic :: Text Processing :: Linguistic",
        "Typing :: Typed",
    ],
    python_requires=f">={TRIED[0]}",
    package_dir={
        "fairseq_musc": "fairseq_musc",
        "fairseq_musc.criterions": "criterions",
        "fairseq_musc.tasks": "tasks",
        "fairseq_musc.configs": "configs",
        "hydra_plugins.fairseq_musc_recipes": "hydra_plugins/fairseq_musc_recipes",
    },
    packages=[
        *find_packages(include=["fairseq_musc", "fairseq_musc.*"]),
        "fairseq_musc.criterions",
        "fairseq_musc.tasks",
        "fairseq_musc.configs",
        "hydra_plugins.fairseq_musc_recipes",
    ],
    package_data={
        "fairseq_musc.configs": ["*.yaml"],
        "fairseq_musc.page": ["templates/*"],
        "fairseq_musc": ["py.typed"],
    },
    # fairseq is neither asked for nor an extra: `fairseq-fixed` asks for torchaudio, and a torchaudio built for another
    # torch breaks transformers. `make venv` (and docs/install.md) installs it without its dependencies.
    install_requires=[
        "hydra-core==1.3.2",
        "omegaconf==2.3.0",
        "numpy>=1.26",
        "torch>=2.6",
        "transformers>=4.57",
        "sentencepiece>=0.2",
        "sentencex>=1.0",
        "protobuf>=4",  # transformers reads with it the SentencePiece models of encoders such as mDeBERTa
        "PyYAML",
        "sacremoses>=0.1.1",
        "sacrebleu>=2.4",
        "bitarray",
        "regex",
        "langcodes>=3.4",
        "cffi",
        "scikit-learn",
        "scipy",
        "tqdm>=4.66",
        "joblib>=1.3",
        "filelock>=3.24",  # earlier ones wait for ever where a file system has no locks
    ],
    extras_require={
        "datasets": ["datasets>=4.8", "pyarrow>=21"],
        "report": ["Jinja2>=3.1", "matplotlib>=3.9"],
        "pretrain": ["accelerate>=1.1"],
        "slurm": ["hydra-submitit-launcher>=1.2"],
        "ctranslate2": ["ctranslate2>=4.8.5"],
        "ray": ["ray>=2.40"],
        "easynmt": ["easynmt>=2.0.2", "transformers<5"],
        "tensorboard": ["tensorboard>=2.18"],
        "wandb": ["wandb>=0.31"],
        "dev": [  # what tests, checks and the documentation use; `make venv` installs it all, pinned
            *("pytest>=8", "pytest-timeout", "pytest-xdist", "hypothesis>=6", "pytorch-metric-learning>=2"),
            *("playwright>=1.50", "axe-playwright-python", "tensorboard>=2.18", "packaging", "lxml"),
            *("mypy>=1.15", "ruff>=0.12", "types-PyYAML"),
            *("Sphinx>=8", "sphinx-autoapi>=3.6", "myst-parser>=4", "furo", "docutils", "markdown-it-py>=3"),
        ],
    },
    entry_points={"console_scripts": ["fairseq-musc=fairseq_musc.cli:main"]},
)
