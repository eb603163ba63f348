"""Predictions folders of made-up runs: random probabilities, written as `predict` and `ensemble` write theirs."""

import hashlib
from dataclasses import replace

import numpy as np

from fairseq_musc.evaluate.ensemble import average
from fairseq_musc.evaluate.table import Predictions, Signature, Training, write_predictions

LANGUAGES = {
    "marc": ("en", "zh", "fr", "de", "es", "ja"),
    "mldoc": ("en", "zh", "fr", "de", "ru", "es", "it", "ja"),
    "pawsx": ("en", "zh", "fr", "de", "es", "ko", "ja"),
    "xnli": ("en", "ar", "bg", "zh", "fr", "de", "el", "hi", "ru", "es", "sw", "th", "tr", "ur", "vi"),
}
LABELS = {"marc": "12345", "mldoc": ("CCAT", "ECAT", "GCAT", "MCAT"), "pawsx": "01", "xnli": "cen"}
TRANSLATOR = "fairseq-generate with model.pt (SHA-256 0123456789ab)"
MT, TRN, BT, ALONE = ("S_trn", "T_trn_MT"), ("S_trn", "T_trn"), ("S_trn", "T_trn_BT"), ("S_trn",)


def write_run(
    folder,
    dataset="pawsx",
    corpora=MT,
    terms="ce",
    seed=1,
    size=1000,
    predicted=("T_tst", "S_tst_MT"),
    languages=None,
    ensemble=True,
    rows=40,
    skill=2.0,
    checkpoint=None,
    right=None,
    weight=0.5,
    translator=TRANSLATOR,
    settings=None,
    **training,
):
    """One run with random predictions of some skill, or with exactly ``right(corpus, language)`` rows right."""
    languages = languages or LANGUAGES.get(dataset, ("en", "de", "fr"))
    labels = tuple(LABELS.get(dataset, "01"))
    translated = [f"{c}.{language}" for c in corpora[1:] for language in languages if language != "en"]
    about = Training(
        corpora=corpora,
        paired="T_trn_MT" in corpora,
        rows={"S_trn.en": size, **dict.fromkeys(translated, size)},
        terms=terms,
        **{
            "lam": 0.5,
            "lr": 3e-5,
            "normalisation": "released",
            "encoder": "bert-base-multilingual-cased",
            "translators": (TRANSLATOR,) if len(corpora) > 1 else (),
            **training,
        },
    )
    name = f"{folder.name}{dataset}{corpora}{terms}{seed}{size}{training}{settings or ''}"
    signature = Signature(
        dataset=dataset,
        corpus="",
        language="",
        labels=labels,
        checkpoint="checkpoint_best.pt",
        checkpoint_sha256=checkpoint or hashlib.sha256(name.encode()).hexdigest(),
        update=300 * seed,
        seed=seed,
        version="0.2.0",
        training=about,
        settings=settings or {},
    )
    random = np.random.default_rng(int(hashlib.sha256(name.encode()).hexdigest()[:8], 16))
    for language in languages:
        classes = np.arange(rows) % len(labels)
        members = []
        for corpus in predicted if language != "en" else ["T_tst"]:
            logits = random.normal(size=(rows, len(labels)))
            logits[np.arange(rows), classes] += skill
            probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
            if right is not None:
                said = np.where(np.arange(rows) < right(corpus, language), classes, (classes + 1) % len(labels))
                probabilities = np.eye(len(labels))[said]
            its = replace(
                signature,
                corpus=corpus,
                language=language,
                translator=translator if corpus == "S_tst_MT" else None,
                corpus_sha256="cd" * 32,
            )
            members.append(Predictions(its, [f"{language}{row}" for row in range(rows)], classes, probabilities))
        for table in members:
            write_predictions(folder, table)
        if ensemble:
            weights = [1.0] if len(members) == 1 else [1 - weight, weight]
            table = average(members, weights, "Ens")
            if right is not None:
                said = np.where(np.arange(rows) < right("Ens", language), classes, (classes + 1) % len(labels))
                table = replace(table, probabilities=np.eye(len(labels))[said])
            write_predictions(folder, table)
    return folder


def write_everything(root, seeds=(1, 2, 3), rows=40):
    """Runs for every table of the paper, one folder a checkpoint."""
    sizes = {"marc": (200000,), "mldoc": (1000, 10000), "pawsx": (49401,), "xnli": (392702,)}
    losses = ["ce", "ce+sc", "ce+mu", "ce+mu+sc", "ce+mu+sc+musc"]
    for seed in seeds:
        for dataset, its_sizes in sizes.items():
            for size in its_sizes:
                where = root / f"{dataset}{size}" / f"seed{seed}"
                given = {"dataset": dataset, "size": size, "seed": seed, "rows": rows}
                for terms in losses:
                    write_run(where / terms, terms=terms, **given)
                if dataset in ("marc", "mldoc"):
                    for corpora in (TRN, BT):
                        write_run(where / corpora[1], corpora=corpora, ensemble=False, **given)
                write_run(where / "zsxl", corpora=ALONE, predicted=("T_tst",), ensemble=False, **given)
                english = {"predicted": ("S_tst_MT",), "encoder": "bert-base-cased", "ensemble": False}
                write_run(where / "translate_test", corpora=ALONE, **english, **given)
