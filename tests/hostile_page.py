"""Runs of which every text is out to run something on the report page; each is there once, and knows its number."""

import hashlib
import json

import numpy as np

from fairseq_musc.data.corpus import Corpus, Row, write_corpus
from fairseq_musc.evaluate.ensemble import average
from fairseq_musc.evaluate.table import Predictions, Signature, Training, write_predictions

#: What a text could break out of: an element, an attribute in either quotes or in none, a script, a comment, a style, a
#: template; and what would be run where it stands for an address. ``NNN`` becomes a number.
PAYLOADS = (
    "<script>hacked(NNN)</script>",
    "</script><script>hacked(NNN)</script>",
    "'\"><img src=x onerror=hacked(NNN)>",
    '" onmouseover="hacked(NNN)" autofocus onfocus="hacked(NNN)" x="',
    "' onclick='hacked(NNN)' tabindex='1' onfocus='hacked(NNN)",
    " onfocus=hacked(NNN) autofocus tabindex=0 x=`",
    "javascript:hacked(NNN)",
    '<a href="javascript:hacked(NNN)">here</a>',
    '<iframe srcdoc="<script>parent.hacked(NNN)</script>"></iframe>',
    "\u2028hacked(NNN)//\u2029",
    '";hacked(NNN);//\\";\\u0022',
    "--><svg/onload=hacked(NNN)><!--",
    "]]></style><style>@import 'javascript:hacked(NNN)';*{display:none}</style>",
    "{{ hacked(NNN) }}{% for x in y %}${hacked(NNN)}",
    "<math><mtext></table><mglyph><style><img src=x onerror=hacked(NNN)>",
    '<base href="javascript:/hacked(NNN);//"><meta http-equiv=refresh content="0;url=javascript:hacked(NNN)">',
    "&lt;script&gt;hacked(NNN)&lt;/script&gt;&#x22;&quot;&NewLine;",
)
#: Those that can stand in the name of a file, as languages and runs do.
IN_NAMES = [at for at, text in enumerate(PAYLOADS) if "/" not in text and "\\" not in text]
ROWS = 3 * len(PAYLOADS)


class Payloads:
    """Hands them out, each time with another number, and remembers for what."""

    def __init__(self, texts):
        self.texts = texts
        self.given = {}
        """text -> what it stands for."""

    def take(self, what, place):
        """The payload of that place, in turn, as the text of what is named."""
        text = self.texts[place % len(self.texts)].replace("NNN", str(1000 + len(self.given)))
        self.given[text] = what
        return text


def write_hostile(root, number, settings=1, payloads=PAYLOADS):
    """Corpora, predictions and logs of so many settings on one data set; ``number`` says which payloads stand where.

    Returns the folders of corpora and of predictions, and what was handed out.
    """
    payloads = Payloads(payloads)
    take = payloads.take
    labels = tuple(take("label", 3 * number + at) for at in range(3))
    languages = ("en", *(take("language", IN_NAMES[(2 * number + at) % len(IN_NAMES)]) for at in range(2)))
    ids = [take("id", row) for row in range(ROWS)]
    of_all = (take, labels, languages, ids, take("dataset", number))
    folders = [write_run(root / str(at), number + at, ("ce", "ce+mu")[at], *of_all) for at in range(settings)]
    return [corpora for corpora, _ in folders], [predictions for _, predictions in folders], payloads.given


def write_run(root, number, terms, take, labels, languages, ids, dataset):
    run = take("run", IN_NAMES[(3 + number) % len(IN_NAMES)])
    translator, checkpoint, encoder = (
        take(f"{what}", number + at) for at, what in enumerate(("translator", "checkpoint", "encoder"), 1)
    )
    training = Training(
        corpora=("S_trn", "T_trn_MT"),
        paired=True,
        rows={"S_trn.en": 10, **{f"T_trn_MT.{language}": 10 for language in languages[1:]}},
        terms=terms,
        lam=0.5,
        lr=0.001,
        normalisation=take("normalisation", 4 + number),
        encoder=encoder,
        translators=(translator,),
    )
    classes = np.arange(ROWS) % len(labels)
    predictions = root / run / "predictions"
    for language in languages:
        members = []
        for seed, name in enumerate(("T_tst", "S_tst_MT") if language != "en" else ("T_tst",)):
            rows = [
                Row(row_id, labels[of], take("text", row), take("second text", row + 7))
                for row, (row_id, of) in enumerate(zip(ids, classes, strict=True))
            ]
            provenance = {take("key of provenance", 1): [take("provenance", 3)]}
            corpus = Corpus(name, language, language, dataset, labels, rows, provenance)
            path = write_corpus(root / "corpora", corpus)
            logits = np.random.default_rng([number, seed]).normal(size=(ROWS, len(labels)))
            logits[np.arange(ROWS), classes] += 1.0
            e = np.exp(logits)
            signature = Signature(
                **{"dataset": dataset, "corpus": name, "language": language, "labels": labels, "update": 20},
                checkpoint=checkpoint,
                checkpoint_sha256=hashlib.sha256(run.encode()).hexdigest(),
                seed=1,
                version=take("version", 6) if (language, seed) == ("en", 0) else "0.1.0",
                corpus_sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
                translator=translator if name == "S_tst_MT" else None,
                training=training,
                settings={"task.data": take("setting", 7)},
            )
            members.append(Predictions(signature, ids, classes, e / e.sum(axis=1, keepdims=True)))
        for table in members:
            write_predictions(predictions, table)
        write_predictions(predictions, average(members, [1 / len(members)] * len(members), "Ens"))
    write_log(predictions.parent / "train.log", training)
    return root / "corpora", predictions


def write_log(path, training):
    """A log whose lines have hostile names among those that are read."""
    config = {
        "_name": None,
        "model": {"pretrained": training.encoder},
        "criterion": {"terms": training.terms, "lam": training.lam},
    }
    config = {**config, "task": {"train_corpora": list(training.corpora)}, "optimization": {"lr": [training.lr]}}
    config["common"] = {"seed": 1}
    lines = [f"[x][fairseq_cli.train][INFO] - {config}"]
    for update in range(10, 40, 10):
        hostile = {text.replace("NNN", "0"): str(update) for text in PAYLOADS}
        inner = {"num_updates": str(update), "loss": "1.5", "L_ce": "1", **{f"L_{key}": "1" for key in hostile}}
        valid = {"valid_num_updates": str(update), "valid_loss": "1.0", "valid_accuracy": str(50 + update)}
        valid |= {f"valid_accuracy_{key}": "50" for key in hostile}
        lines += [f"[x][train_inner][INFO] - {json.dumps(inner)}", f"[x][valid][INFO] - {json.dumps(valid)}"]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
