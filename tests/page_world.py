"""A run whose corpora are out to break the page that shows them, and the log of its training."""

import hashlib

import numpy as np
from made_up_runs import MT, TRANSLATOR

from fairseq_musc.data.corpus import Corpus, Row, write_corpus
from fairseq_musc.evaluate.ensemble import average
from fairseq_musc.evaluate.table import Predictions, Signature, Training, write_predictions

LABELS = ("</script><script>hacked()</script>", '"><img src=x onerror=hacked()>', "{{ 7 * 7 }}")
LANGUAGES = ("en", "de", "ar", "ja")
ROWS = 60
#: What stands in a text, besides its number.
TEXTS = (
    "<script>hacked()</script>",
    '<img src="https://example.org/pixel.png" onerror="hacked()">',
    "<!-- not closed",
    "&lt;b&gt; is no markup & neither is this; T_tst and S_tst^MT stay as they are",
    "</dd></dl></section><style>* { display: none }</style>",
    "<svg onload=hacked()><a href='javascript:hacked()'>click</a></svg>",
    "\u202eright to left\u202c \u0645\u0631\u062d\u0628\u0627 \u4f60\u597d\nin two lines\tand a tab",
    "averylongwordwithoutanyspacewhichthephonehastobreaksomewhere" * 3,
)


def text_of(corpus, row):
    """The text of a row, different in every row and corpus."""
    return f"{corpus} {row}: {TEXTS[row % len(TEXTS)]}"


def write_world(root, seed=1, terms="ce+mu", skill=1.2):
    """Corpora, predictions and a log below ``root``; returns the folder of the predictions."""
    labels = np.arange(ROWS) % len(LABELS)
    ids = [f"{row}<b onclick='hacked()'>\u2029" for row in range(ROWS)]
    rng = np.random.default_rng(seed)
    predictions = root / f"run<i>{seed}" / "predictions"
    training = Training(
        corpora=MT,
        paired=True,
        rows={"S_trn.en": 1000, "T_trn_MT.de": 1000},
        terms=terms,
        lam=0.5,
        lr=0.001,
        normalisation="released",
        encoder="<u>encoder</u>",
        translators=(TRANSLATOR,),
    )
    for language in LANGUAGES:
        members = []
        for name in ("T_tst", "S_tst_MT") if language != "en" else ("T_tst",):
            rows = [
                Row(row_id, LABELS[label], text_of(f"{name}.{language}", number), text_of("second", number))
                for number, (row_id, label) in enumerate(zip(ids, labels, strict=True))
            ]
            text_language = "en" if name == "S_tst_MT" else language
            provenance = {"made_by": "<script>hacked()</script>"}
            path = write_corpus(
                root / "corpora", Corpus(name, language, text_language, "<b>set</b>", LABELS, rows, provenance)
            )
            logits = rng.normal(size=(ROWS, len(LABELS)))
            logits[np.arange(ROWS), labels] += skill
            e = np.exp(logits)
            signature = Signature(
                dataset="<b>set</b>",
                corpus=name,
                language=language,
                labels=LABELS,
                checkpoint="checkpoint_best.pt",
                checkpoint_sha256=hashlib.sha256(f"{seed}{terms}".encode()).hexdigest(),
                update=20,
                seed=seed,
                version="0.1.0",
                corpus_sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
                translator=TRANSLATOR if name == "S_tst_MT" else None,
                training=training,
            )
            members.append(Predictions(signature, ids, labels, e / e.sum(axis=1, keepdims=True)))
        for table in members:
            write_predictions(predictions, table)
        write_predictions(predictions, average(members, [1 / len(members)] * len(members), "Ens"))
    write_log(predictions.parent / "train.log", training, seed)
    return predictions


def write_log(path, training, seed):
    """A log of three validations, as fairseq-hydra-train writes it, of a training with these settings."""
    config = {
        "_name": None,
        "common": {"seed": seed},
        "criterion": {"terms": training.terms, "lam": training.lam},
        "optimization": {"lr": [training.lr]},
        "task": {"train_corpora": list(training.corpora)},
        "model": {"pretrained": training.encoder},
    }
    head = "[2026-01-02 03:04:05,678]"
    lines = [f"{head}[fairseq_cli.train][INFO] - {config}"]
    for update in range(1, 31):
        terms = ", ".join(f"L_{term}={2 / update:.4f}" for term in training.terms.split("+"))
        lines.append(
            f"{head}[train_inner][INFO] - epoch 001:  {update:5d} / 30 {terms}, loss={3 / update:.4f}, "
            f"num_updates={update}, lr=0.001"
        )
        if update % 10 == 0:
            lines.append(
                f"{head}[valid][INFO] - epoch 001 | valid on 'valid' subset | loss {1 / update:.4f} "
                f"| accuracy_T_val {50 + update} | accuracy_S_val_MT {51 + update} | accuracy_Ens {52 + update} "
                f"| accuracy {52 + update} | accuracy_de {49 + update} | num_updates {update}"
            )
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
