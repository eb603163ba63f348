"""What the documentation's command blocks find in their folder: small inputs, under the names that a page uses.

A page whose blocks are run has a row in :data:`PAGES`.
"""

import gzip
import hashlib
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import slurm_stand_in
import test_read_forms as forms
from made_up_runs import BT, TRN, write_run
from page_world import write_log
from translator_fixture import sentences, tiny_arguments, write_parallel

from fairseq_musc.cli import main
from fairseq_musc.data.corpus import Corpus, Row, write_corpus
from fairseq_musc.evaluate.ensemble import average
from fairseq_musc.evaluate.table import Signature, list_predictions, read_predictions, write_predictions

PAWSX = ("en", "de", "es", "fr", "ja", "ko", "zh")
XNLI = ("en", "ar", "bg", "de", "el", "es", "fr", "hi", "ru", "sw", "th", "tr", "ur", "vi", "zh")
MLDOC = ("english", "german", "spanish", "french", "italian", "japanese", "russian", "chinese")
MARC = ("en", "de", "es", "fr", "ja", "zh")
ROOT = Path(__file__).parents[1]
SCRIPTS = ROOT / "scripts"


def predicted(checkpoint, data, folder, corpora=("T_tst", "S_tst_MT")):
    """Predictions by the real verbs, with their ensemble."""
    options = ["--checkpoint", checkpoint, "--data", data, "--predictions", folder, "--corpora", *corpora]
    assert main(["predict", *map(str, options)]) == 0
    assert main(["ensemble", "--predictions", str(folder)]) == 0


def as_another(folder, output, seed, corpora=("T_tst", "S_tst_MT"), checkpoint=None, translator=None):
    """The tables of a folder as those of another run, or of another translator: its probabilities moved by chance."""
    rng = np.random.default_rng(seed)
    members = {}
    for corpus, language in list_predictions(folder):
        if corpus not in corpora:
            continue
        table = read_predictions(folder, corpus, language)
        changes = {"seed": seed, "checkpoint_sha256": checkpoint} if checkpoint else {"translator": translator}
        p = table.probabilities
        if checkpoint or corpus != "T_tst":
            p = 0.8 * p + 0.2 * rng.dirichlet(np.ones(p.shape[1]), size=len(p))
        changed: Signature = replace(table.signature, **changes)
        members.setdefault(language, []).append(replace(table, signature=changed, probabilities=p))
    for tables in members.values():
        for table in tables:
            write_predictions(output, table)
        if checkpoint:
            tables.sort(key=lambda table: corpora.index(table.signature.corpus))
            write_predictions(output, average(tables, [1 / len(tables)] * len(tables), "Ens"))


def demo(folder, world, checkpoint):
    """What ``make demo`` leaves, and the further runs that docs/analysis.md names."""
    made = folder / "demo"
    for name, source in (("encoder", world.encoder), ("data-bin", world.data), ("corpora", world.corpora)):
        shutil.copytree(source, made / name)
    (made / "checkpoints").mkdir()
    shutil.copy(checkpoint, made / "checkpoints" / "checkpoint_best.pt")
    ours = made / "checkpoints" / "checkpoint_best.predictions"
    predicted(checkpoint, world.data, ours)
    for name, seed in (("ce_mu_sc_musc-4", 4), ("ce-3", 3), ("ce-4", 4)):
        digest = f"{len(name)}{seed}" * 32
        as_another(ours, made / "runs" / name / "checkpoint_best.predictions", seed, checkpoint=digest[:64])
    as_another(ours, made / "predictions-2", 1, translator="another (SHA-256 0123456789ab)")
    write_run(folder / "runs" / "ce", terms="ce")
    (folder / "corpora").mkdir()


def report_page(folder, world, checkpoint):
    """A run with its log and corpora, and runs of three losses with two seeds."""
    shutil.copytree(world.corpora, folder / "corpora")
    predicted(checkpoint, world.data, folder / "checkpoints" / "musc_pawsx" / "checkpoint_best.predictions")
    for terms in ("ce", "ce+sc", "ce+mu+sc+musc"):
        for seed in (1, 2):
            run = write_run(folder / "runs" / terms / f"seed{seed}", terms=terms, seed=seed)
            tables = list_predictions(run)
            write_log(run / "train.log", read_predictions(run, *tables[0]).signature.training, seed)


def tables(folder, world, checkpoint):
    """Runs for Tables 3 and 5."""
    for terms in ("ce", "ce+mu+sc+musc"):
        for seed in (1, 2, 3):
            write_run(folder / "runs" / "marc" / terms / f"seed{seed}", "marc", terms=terms, seed=seed, languages=MARC)


def reviews(folder, world, checkpoint):
    """What ``scripts/cls.sh ... small`` leaves of predictions."""
    for seed in (1, 2):
        for name, corpora in (("T_trn_MT", ("S_trn", "T_trn_MT")), ("T_trn", TRN), ("T_trn_BT", BT)):
            where = folder / "small" / "runs" / f"S_trn+{name}_ce_seed={seed}" / "predictions"
            write_run(where, "cls_books", corpora=corpora, seed=seed, languages=("en", "de", "fr", "ja"))


def repository_of_debian(folder, world, checkpoint):
    """A repository as apt reads it, of packages that are made up, with descriptions in the languages of the page."""
    from test_debian_descriptions import Lists, made_up

    (folder / "scripts").symlink_to(SCRIPTS)
    suite = folder / "repository" / "dists" / "bookworm"
    lines = ["Suite: bookworm", "Codename: bookworm", "Components: main", "Architectures: amd64", "SHA256:"]
    for name, stanzas in made_up(Lists("de", "fr", "it", "ja")).stanzas.items():
        place = f"main/binary-amd64/{name}" if name == "Packages" else f"main/i18n/{name}"
        # Which apt wants to know of every package.
        known = [stanza.replace("\n", "\nVersion: 1\nArchitecture: all\nFilename: x\n", 1) for stanza in stanzas]
        text = "\n".join(known if name == "Packages" else stanzas).encode()
        (suite / place).parent.mkdir(parents=True, exist_ok=True)
        (suite / place).write_bytes(text)
        lines.append(f" {hashlib.sha256(text).hexdigest()} {len(text)} {place}")
    (suite / "Release").write_text("".join(f"{line}\n" for line in lines))
    # Not the caches of this machine, and no other user, who could not look into the folder.
    settings = {"Dir::Cache": folder / "cache", "APT::Sandbox::User": "root", "APT::Architecture": "amd64"}
    (folder / "cache" / "archives" / "partial").mkdir(parents=True)
    (folder / "apt.conf").write_text("".join(f'{name} "{value}";\n' for name, value in settings.items()))


def english_pairs(rows, classes):
    return [(f"first {row}", f"second {row}", classes[row % len(classes)]) for row in range(rows)]


def xtreme_translations(folder, languages, pairs, tests, label):
    """XTREME's translate-train and translate-test, from the English train rows and the test rows of each language."""
    for language in languages[1:]:
        rows = [(*pair, f"{language} {pair[0]}", f"{language} {pair[1]}", label(value)) for *pair, value in pairs]
        forms.write_cells(folder / "translate-train", f"en-{language}-translated.tsv", rows)
        rows = [(a, b, f"back {a}", f"back {b}", label(value)) for a, b, value in tests(language)]
        forms.write_cells(folder / "translate-test", f"test-{language}-en-translated.tsv", rows)


def raw_files(folder, world, checkpoint):
    """The published files of every data set, a few rows each, in all languages."""
    head = ("id", "sentence1", "sentence2", "label")

    def pawsx_tests(language):
        return [(f"{language} t{row}", f"{language} u{row}", str(row % 2)) for row in range(6)]

    train = english_pairs(8, "01")
    x_final = folder / "x-final"
    forms.write_cells(x_final, "en/train.tsv", [head, *((str(n + 1), *row) for n, row in enumerate(train))])
    for language in PAWSX:
        rows = [(str(n + 1), f"{language} v{n}", f"{language} w{n}", str(n % 2)) for n in range(800)]
        forms.write_cells(x_final, f"{language}/dev_2k.tsv", [head, *rows])
        rows = [(str(n + 1), *row) for n, row in enumerate(pawsx_tests(language))]
        forms.write_cells(x_final, f"{language}/test_2k.tsv", [head, *rows])
    xtreme_translations(folder, PAWSX, train, pawsx_tests, str)
    json_folder = folder / "json"
    forms.write_marc(json_folder, MARC)
    for split in ("train", "dev", "test"):
        (json_folder / split).mkdir()
        for path in json_folder.glob(f"*_{split}.json"):
            path.rename(json_folder / split / path.name)
    for word in MLDOC:
        for name in ("train.1000", "dev", "test"):
            rows = [f"{label}\t{word} {name} {n}" for n in range(2) for label in ("CCAT", "ECAT", "GCAT", "MCAT")]
            forms.write(folder / "mldoc", f"{word}.{name}", rows)
    (folder / "cls").mkdir()
    reviews_of(folder / "cls", "books")


def raw_files_and_xnli(folder, world, checkpoint):
    """The same, and those of XNLI in a folder of their own, for two data sets have translations by the same names."""
    raw_files(folder, world, checkpoint)
    xnli(folder / "xnli", world, checkpoint)


def reviews_of(folder, domain):
    forms.write_cls(folder)
    for path in folder.glob("dvd.*"):
        path.rename(folder / path.name.replace("dvd", domain))


def xnli(folder, world, checkpoint):
    """XNLI 1.0, MultiNLI, and XTREME's translations of both."""
    head = ("language", "gold_label", "sentence1_binary_parse", "sentence1", "sentence2", "promptID", "pairID", "genre")
    labels = ("contradiction", "entailment", "neutral")

    def rows_of(split, language):
        return [(f"{language} {split} p{n}", f"{language} {split} h{n}", labels[n % 3]) for n in range(6)]

    for split in ("dev", "test"):
        rows = [
            (language, label, "( x )", first, second, "1", str(100 + n), "fiction")
            for language in XNLI
            for n, (first, second, label) in enumerate(rows_of(split, language))
        ]
        forms.write_cells(folder / "XNLI-1.0", f"xnli.{split}.tsv", [head, *rows])
    train = english_pairs(9, labels)
    head = ("gold_label", "sentence1", "sentence2", "pairID")
    rows = [(label, first, second, f"{n}c") for n, (first, second, label) in enumerate(train)]
    forms.write_cells(folder / "multinli_1.0", "multinli_1.0_train.txt", [head, *rows])
    published = {"contradiction": "contradictory"}
    xtreme_translations(
        folder, XNLI, train, lambda language: rows_of("test", language), lambda label: published.get(label, label)
    )


def every_data_set(folder, world, checkpoint):
    """All raw files, an encoder, and a translator of all their languages that has learned next to nothing."""
    raw_files(folder, world, checkpoint)
    xnli(folder / "xnli", world, checkpoint)
    encoder_and_translator(folder, world, {*PAWSX, *XNLI, *MARC, "it"})


def parallel_lines(folder, languages, number=40):
    """Lines in English and another language, for each of the others."""
    folder.mkdir()
    for language in sorted(languages - {"en"}):
        lines = [f"first {n} train.1000 of {n}\t{language} {n} second test w{n}\n" for n in range(number)]
        (folder / f"en-{language}.tsv").write_text("".join(lines), encoding="utf-8")


def encoder_and_translator(folder, world, languages):
    """An encoder, and a translator that has learned next to nothing but knows its languages."""
    shutil.copytree(world.encoder, folder / "encoder")
    parallel = folder / "parallel"
    parallel_lines(parallel, languages)
    size = ["--dim", "8", "--ffn-dim", "8", "--heads", "1", "--encoder-layers", "1", "--decoder-layers", "1"]
    training = ["--updates", "2", "--vocabulary", "60", "--held-out", "1", "--beam", "1", "--max-len-b", "2", "--cpu"]
    options = ["--parallel", parallel, "--output", folder / "translator", *size, *training]
    assert main(["train-translator", *map(str, options)]) == 0


def of_marc(folder, world, checkpoint):
    """An encoder and a translator for reviews in the languages of MARC."""
    encoder_and_translator(folder, world, {*MARC})


def of_mldoc(folder, world, checkpoint):
    """The same for news."""
    encoder_and_translator(folder, world, {"de", "es", "fr", "it", "ja", "ru", "zh"})


def of_xnli(folder, world, checkpoint):
    """The same for pairs in 15 languages."""
    encoder_and_translator(folder, world, {*XNLI})


def of_cls(folder, world, checkpoint):
    """The same for reviews in the languages of CLS, the raw reviews, and parallel text."""
    (folder / "CLS").mkdir()
    reviews_of(folder / "CLS", "books")
    encoder_and_translator(folder, world, {"en", "de", "fr", "ja"})
    shutil.copytree(folder / "parallel", folder / "PARALLEL")
    packed(folder / "PARALLEL")


def packed(folder):
    """Every file of a folder as one of gzip."""
    for path in list(folder.iterdir()):
        (folder / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()


def pawsx(folder, world, checkpoint):
    """PAWS-X as it is published, a vocabulary, and parallel text in its languages."""
    raw_files(folder, world, checkpoint)
    parallel_lines(folder / "parallel", {*PAWSX}, 60)
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *PAWSX, *"tuvw0123456789", *(f"##{n}" for n in range(10))]
    (folder / "vocab.txt").write_text("".join(f"{piece}\n" for piece in pieces))


def predictions(folder, world, checkpoint):
    """Predictions of a run."""
    predicted(checkpoint, world.data, folder / "predictions")


def data_bin(folder, world, checkpoint):
    """A data-bin and the encoder that it is for."""
    shutil.copytree(world.data, folder / "data-bin")
    shutil.copytree(world.encoder, folder / "encoder")


def with_slurm(folder, world, checkpoint):
    """The same, and what submitit calls of Slurm."""
    data_bin(folder, world, checkpoint)
    slurm_stand_in.install(folder / "programs")


def checkout(folder, world, checkpoint):
    """A copy of what git has of this repository, without the three rooms in the package."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)


def lists_and_wheel(folder, world, checkpoint):
    """The lists of versions, and a wheel of this project."""
    source = folder / "source"
    checkout(source, world, checkpoint)
    for path in source.glob("requirements*.txt"):
        shutil.copy(path, folder)
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", folder / "dist", source]
    command = [sys.executable, "-P", "-m", "pip", "wheel", *options]
    subprocess.run(command, check=True, env={**os.environ, "PIP_DRY_RUN": "0"})


def of_the_readme(folder, world, checkpoint):
    """A data-bin, predictions to compare, and texts to translate."""
    data_bin(folder, world, checkpoint)
    for name, seed in (("P1", 1), ("P2", 2)):
        write_run(folder / name, terms="ce", seed=seed)
    rows = sentences(4, seed=5)
    there = [("S_trn", "en"), *((name, xx) for name in ("T_trn", "T_val", "T_tst") for xx in ("de", "ja"))]
    for name, xx in there:
        content = [Row(f"{n}", str(n % 2), row[xx]) for n, row in enumerate(rows)]
        write_corpus(folder / "corpora", Corpus(name, xx, xx, "toy", ("0", "1"), content))
    (folder / "in.txt").write_text("".join(f"{row['ja']}\n" for row in rows), encoding="utf-8")


def own_data(folder, world, checkpoint):
    """Nothing but the scripts: the tutorial makes all it needs."""
    (folder / "scripts").symlink_to(SCRIPTS)


def texts_to_translate(folder, world, checkpoint):
    """Corpora of a few sentences that are not translated yet, and text that is no corpus."""
    rows = sentences(4, seed=5)
    for xx in ("de", "ja"):
        content = [Row(f"{n}", str(n % 2), row[xx]) for n, row in enumerate(rows)]
        write_corpus(folder / "corpora", Corpus("T_tst", xx, xx, "toy", ("0", "1"), content))
    (folder / "in.txt").write_text("".join(f"{row['ja']}\n" for row in rows), encoding="utf-8")
    with gzip.open(folder / "in.tsv.gz", "wt", encoding="utf-8") as stream:
        stream.write("id\tfirst\tsecond\n" + "".join(f"{n}\t{row['de']}\t\n" for n, row in enumerate(rows)))


def texts_of_engines(folder, world, checkpoint):
    """A text a line, and the benchmark."""
    (folder / "benchmarks").symlink_to(ROOT / "benchmarks")
    (folder / "FILE").write_text("".join(f"{row['en']}\n" for row in sentences(20, seed=5)))


def parallel_text(folder, world, checkpoint):
    """What a translator is trained on, and aligned text to score it by."""
    write_parallel(folder / "PARALLEL", 60)
    (folder / "TEXTS").mkdir()
    for xx in ("en", "de", "ja"):
        lines = [f"{row[xx]}\n" for row in sentences(2, seed=9)]
        (folder / "TEXTS" / f"devtest.{xx}").write_text("".join(lines), encoding="utf-8")


def translated_corpora(folder, world, checkpoint):
    """Corpora with their translations, and aligned text under the names of FLORES-200 and OPUS-MT."""
    (folder / "scripts").symlink_to(SCRIPTS)
    shutil.copytree(world.corpora, folder / "corpora")
    shutil.copytree(world.corpora, folder / "demo" / "corpora")
    for name in ("flores", "parallel"):
        (folder / name).mkdir()
    for xx in ("en", "de", "ja"):
        lines = [f"{row[xx]}\n" for row in sentences(12)]
        (folder / "flores" / f"devtest.{xx}").write_text("".join(lines), encoding="utf-8")
    with gzip.open(folder / "parallel" / "en-de.tsv.gz", "wt", encoding="utf-8") as stream:
        stream.write("".join(f"{row['en']}\t{row['de']}\n" for row in sentences(12)))


def hugging_face(folder, world, checkpoint):
    """A trained checkpoint with its predictions, and copies of data sets as they lie on the hub."""
    import datasets
    from test_own_data import PAWSX as PAWSX_COLUMNS
    from test_own_data import pawsx_rows, write_hub_folder

    run = folder / "checkpoints" / "musc_pawsx"
    run.mkdir(parents=True)
    shutil.copy(checkpoint, run)
    predicted(checkpoint, world.data, folder / "predictions")
    write_hub_folder(folder / "paws-x", PAWSX_COLUMNS, ("en", "de"), pawsx_rows)
    text = datasets.Value("string")
    classes = datasets.ClassLabel(names=["entailment", "neutral", "contradiction"])
    columns = {"premise": text, "hypothesis": text, "label": classes}

    def rows_of(language):
        return {
            split: [(f"{language} {split} {n}", "h", n % 3) for n in range(3)]
            for split in ("train", "validation", "test")
        }

    write_hub_folder(folder / "xnli", columns, ("en", "sw"), rows_of)
    write_hub_folder(folder / "NAME", columns, ("en", "de", "fr"), rows_of)
    both = {"text": ["a", "b", "c", "d"], "label": [0, 1, 0, 1], "lang": ["en", "en", "de", "de"]}
    made = {split: datasets.Dataset.from_dict(both) for split in ("train", "validation", "test")}
    datasets.DatasetDict(made).save_to_disk(folder / "reviews")


#: A training in seconds, for pages that train the recipes of the paper.
TINY_TRAINING = " model.pretrained=encoder optimization.max_epoch=1 common.cpu=true dataset.batch_size=8"

#: A grid of two such trainings.
TINY_GRID = f"--lr 1e-3 --lam 0.1 0.9 --seeds 1{TINY_TRAINING}"

#: A translation in no time, for pages that take the published m2m_100 and its default beam.
QUICKLY = "--cpu --beam 3 --max-len-b 20"


@dataclass(frozen=True)
class Stage:
    """Where the blocks of a page are run."""

    furnish: Callable[..., None]
    """Fills the folder; is given it, the tiny world of ``conftest.py``, and a checkpoint that was trained on it."""
    instead: dict[str, str] = field(default_factory=dict)
    """What stands for what in the commands: a model of the hub, a training of hours."""
    anew: tuple[str, ...] = ()
    """What is taken away before every block: where blocks are alternatives, and not steps."""
    translator: str | None = None
    """Under which name there is a small translator that was really trained (en, de, ja)."""
    for_long: Callable[..., None] | None = None
    """Adds to the folder what only the blocks that take long need."""
    needs: tuple[str, ...] = ()
    """Programs without which the page is skipped."""
    leaves: tuple[str, ...] = ()
    """What must be in the folder when all its blocks have been run, as patterns."""
    environment: dict[str, str] = field(default_factory=dict)
    """Variables of the environment; ``{folder}`` is the page's, there as in :attr:`instead`. What it has in a folder
    ``programs`` stands first on the path."""


#: The same of a whole table of the paper, which several seeds and losses would only make longer.
TINY_TABLE = {
    # Table 7 is about 1000 rows of MLDoc, of which there are a few here.
    "mldoc1000/runs --seeds 1 2 3 4 5 --hyperparameters table7": "mldoc1000/runs --seeds 1 2 3 4 5",
    "--table 5 ": "--table 5 --dry-run ",
    "--table 9 ": "--table 9 --dry-run ",
    " --seeds 1 2 3 4 5": " --seeds 1" + TINY_TRAINING,
    " m2m_100": " translator --beam 1 --max-len-b 2 --cpu",
    "bert-base-multilingual-cased": "encoder",
    "scripts/": f"{SCRIPTS}/",
}

#: What stands for the published models.
SMALL_MODELS = {
    " m2m_100": " translator --beam 1 --max-len-b 2 --cpu",
    "bert-base-multilingual-cased": "encoder",
    "scripts/": f"{SCRIPTS}/",
}

PAGES = {
    "README.md": Stage(
        of_the_readme,
        {
            "task.data=data-bin": f"task.data=data-bin{TINY_TRAINING}",
            "--output runs --seeds 1 2 3": f"--output runs --seeds 1{TINY_TRAINING}",
            "--output runs/grid": "--output runs/grid --lr 1e-3 --lam 0.1 0.9 --seeds 1",
            " m2m_100": " m2m_100 --cpu --beam 1 --max-len-b 20",
            "--to ko": "--to en",
            "scripts/": f"{SCRIPTS}/",
        },
        translator="m2m_100",
    ),
    "CONTRIBUTING.md": Stage(
        checkout,
        {"-m pytest -m": "-m pytest --collect-only -m", "--processes 16 --seconds 500": "--processes 1 --seconds 5"},
        environment={"PYTHONSAFEPATH": ""},  # a file that is started finds those beside it
    ),
    "docs/real-weights.md": Stage(
        every_data_set,
        {"--seeds 1 2 task.data": f"--lr 1e-3 --lam 0.1 --seeds 1{TINY_TRAINING} task.data", **TINY_TABLE},
    ),
    "docs/install.md": Stage(lists_and_wheel),
    "docs/pawsx.md": Stage(pawsx, {"scripts/pawsx_small.sh": f"ROWS=12 UPDATES=20 {SCRIPTS}/pawsx_small.sh"}),
    "docs/algorithms.md": Stage(data_bin, {"criterion.terms=ce ": f"criterion.terms=ce{TINY_TRAINING} "}),
    "docs/analysis.md": Stage(demo, {" --corpora corpora --output report.html": " --output report.html"}),
    "docs/cls.md": Stage(
        reviews,
        {
            **SMALL_MODELS,
            "--hold-out 400": "--hold-out 2",
            "CLS PARALLEL small small": "CLS PARALLEL made tiny",
            "--encoder small/encoder --checkpoint small/runs": "--encoder made/encoder --checkpoint made/runs",
            "--data small/data-bin": "--data made/data-bin",
            "JOBS=4 ": "JOBS=4 TABLES=3 ",
            "CLS PARALLEL full full": "CLS PARALLEL full tiny",
            "--output runs --seeds 1 2 3 4 5": f"--output runs --seeds 1{TINY_TRAINING}",
        },
        for_long=of_cls,
    ),
    "docs/debian.md": Stage(
        repository_of_debian,
        {
            "[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian": (
                "[trusted=yes] file:{folder}/repository"
            )
        },
        needs=("apt-get",),
        environment={"APT_CONFIG": "{folder}/apt.conf"},
    ),
    "docs/datasets.md": Stage(
        raw_files_and_xnli,
        {
            "--hold-out 200": "--hold-out 4",
            "multinli_1.0 translate-train translate-test": "multinli_1.0 xnli/translate-train xnli/translate-test",
            " XNLI-1.0 multinli_1.0": " xnli/XNLI-1.0 xnli/multinli_1.0",
        },
        anew=("corpora",),
    ),
    "docs/engines.md": Stage(
        texts_of_engines, {" --cpu": " --cpu --repeats 1 --beam 2 --max-len-b 20"}, translator="FOLDER"
    ),
    "docs/grid.md": Stage(
        with_slurm,
        {
            "runs/grid --launcher submitit_slurm": f"runs/slurm --launcher submitit_slurm {TINY_GRID}",
            "runs/grid\"'": "runs/by-hand\"'",
            "'optimization.lr=[1e-05],[3e-05],[5e-05]' criterion.lam=0.1,0.5,0.9 common.seed=1,2,3": (
                f"'optimization.lr=[1e-03]' criterion.lam=0.1,0.9 common.seed=1{TINY_TRAINING}"
            ),
            "--show --config-name musc_pawsx --output runs/grid": (
                f"--show --config-name musc_pawsx --output runs/by-hand {TINY_GRID}"
            ),
            "runs/grid task.data": f"runs/grid {TINY_GRID} task.data",
            "--output runs/marc": f"--output runs/marc --seeds 1{TINY_TRAINING}",
        },
        leaves=(
            *(f"runs/slurm/lr=0.001_lam={lam}_seed=1/checkpoints/checkpoint_best.pt" for lam in ("0.1", "0.9")),
            *(f"runs/by-hand/lr=0.001_lam={lam}_seed=1/checkpoints/checkpoint_best.pt" for lam in ("0.1", "0.9")),
            *(f"programs/jobs/{job}_{task}.state" for job in (1, 2) for task in (0, 1)),  # two arrays of two
        ),
    ),
    "docs/huggingface.md": Stage(
        hugging_face,
        {
            "--dataset pawsx": "--dataset pawsx --input paws-x --languages en de",
            "--dataset xnli": "--dataset xnli --input xnli --languages en sw",
            "--input NAME --text-column text ": "--input reviews --text-column text ",
        },
    ),
    "docs/marc.md": Stage(
        raw_files,
        {**SMALL_MODELS, "--output runs/marc": f"--output runs/marc --seeds 1{TINY_TRAINING}"},
        for_long=of_marc,
    ),
    "docs/mldoc.md": Stage(
        raw_files,
        {
            **SMALL_MODELS,
            # Table 7 is about 1000 rows, of which there are a few here.
            " --hyperparameters table7": "",
            "--output runs/mldoc1000": f"--output runs/mldoc1000 --seeds 1{TINY_TRAINING}",
        },
        for_long=of_mldoc,
    ),
    "docs/page.md": Stage(report_page),
    "docs/speed.md": Stage(data_bin, {" model.precision=": f"{TINY_TRAINING} model.precision="}),
    "docs/tables.md": Stage(tables),
    "docs/translation.md": Stage(
        texts_to_translate,
        {
            "--translator m2m_100 ": f"--translator m2m_100 {QUICKLY} ",
            "--to ko": "--to en",  # what the small translator knows
            "--to fr": "--to en",
        },
        translator="m2m_100",
    ),
    "docs/translation-quality.md": Stage(translated_corpora),
    "docs/translator.md": Stage(
        parallel_text,
        {
            " --output translator": f" --output translator {shlex.join(tiny_arguments('', '', '--updates', '20')[5:])}",
            "score-translator ": f"score-translator {QUICKLY} ",
        },
    ),
    "docs/tutorial.md": Stage(own_data, {"/path/to/fairseq-musc": str(ROOT)}),
    "docs/watching.md": Stage(
        data_bin, {"common.tensorboard_logdir=": f"{TINY_TRAINING} common.tensorboard_logdir=".lstrip()}
    ),
    "docs/promises.md": Stage(predictions),
    "docs/xnli.md": Stage(
        xnli,
        {
            **SMALL_MODELS,
            "musc_xnli task.data=data-bin": f"musc_xnli task.data=data-bin{TINY_TRAINING}",
            "--output runs/xnli": f"--output runs/xnli --seeds 1{TINY_TRAINING}",
        },
        for_long=of_xnli,
    ),
}
