"""Times prediction: the released code's way, and ``fairseq-musc predict``'s, in one go.

    python benchmarks/predicting.py --output FOLDER            # on a GPU: mBERT's shape, PAWS-X's number of test rows
    python benchmarks/predicting.py --output FOLDER --tiny     # on a CPU, in seconds: it shows that it runs

Makes test corpora of made-up words, an untrained encoder and a data-bin in FOLDER/predicting-world, trains one update
to have a checkpoint, and predicts T_tst and S_tst_MT in all languages. Prints rows a second, how far probabilities are
from those of the released way at most, and the share of rows with the same answer; writes it all to
FOLDER/predicting.json.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from made_up import LANGUAGES, MBERT, TINY, make_corpora, make_data_bin, make_encoder

WAYS = {
    "released: fp32, eager, padded to 128, 128 rows": None,
    "padded, fp32": (False, "float32"),
    "packed, fp32": (True, "float32"),
    "packed, bf16": (True, "bfloat16"),
}


def main() -> None:
    """Makes the world, predicts and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--output", type=Path, required=True, help="folder of the world and the table")
    parser.add_argument("--tiny", action="store_true", help="a small encoder and few rows, for a CPU")
    arguments = parser.parse_args()
    os.environ.update(TOKENIZERS_PARALLELISM="false", HF_HUB_OFFLINE="1")
    output = arguments.output.resolve()
    size, languages = (TINY, LANGUAGES[:1]) if arguments.tiny else (MBERT, LANGUAGES)
    world = output / "predicting-world"
    checkpoint = world / "run" / "checkpoint_last.pt"
    if not checkpoint.exists():
        rows = 20 if arguments.tiny else 2000
        counts = {"S_trn": 4, "T_trn_MT": 4, "T_val": 4, "S_val_MT": 4, "T_tst": rows, "S_tst_MT": rows}
        make_corpora(world / "corpora", size, counts, languages)
        make_encoder(world / "encoder", size)
        make_data_bin(world / "data-bin", world / "corpora", world / "encoder")
        train_once(world)
    results = measured(world, checkpoint, languages, size.longest)
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    print(f"\n{device}, torch {torch.__version__}, {results[0]['rows']} rows")
    print(f"{'':50s} {'rows/s':>9s} {'ratio':>7s} {'largest difference':>19s} {'same answer':>12s}")
    for r in results:
        print(
            f"{r['name']:50s} {r['rows_per_second']:9.0f} {r['ratio']:7.2f} {r['difference']:19.1e} {r['same']:12.4f}"
        )
    signature = {"device": device, "torch": torch.__version__, "tiny": arguments.tiny, "results": results}
    (output / "predicting.json").write_text(json.dumps(signature, indent=1) + "\n")


def train_once(world: Path) -> None:
    """One update by ``fairseq-hydra-train``, without the optimizer's state in the checkpoint."""
    command = [
        "fairseq-hydra-train",
        *("--config-name", "musc_pawsx"),
        f"task.data={world / 'data-bin'}",
        f"model.pretrained={world / 'encoder'}",
        f"checkpoint.save_dir={world / 'run'}",
        "checkpoint.no_save_optimizer_state=true",
        "optimization.max_update=1",
        "optimization.lr=[0.001]",
        "dataset.num_workers=0",
        *(() if torch.cuda.is_available() else ("common.cpu=true",)),
    ]
    with open(world / "train.log", "w") as log:
        code = "from fairseq_cli.hydra_train import cli_main; cli_main()"
        run = [sys.executable, "-c", code, *command[1:]]
        subprocess.run(run, stdout=log, stderr=subprocess.STDOUT, check=True, cwd=world)


def measured(world: Path, checkpoint: Path, languages: tuple[str, ...], length: int) -> list[dict[str, Any]]:
    """Every way, on all corpora; the first run of each on one corpus is not timed."""
    from released import released_model, released_predictions

    from fairseq_musc.data.databin import DataBinInfo, open_corpus
    from fairseq_musc.evaluate.predict import predict
    from fairseq_musc.models.checkpoint import load_classifier

    data = world / "data-bin"
    info = DataBinInfo.load(data)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    wanted = [("T_tst", "en"), *((name, xx) for xx in languages for name in ("T_tst", "S_tst_MT"))]
    trained = load_classifier(checkpoint).model
    eager = released_model(world / "encoder", torch.device(device)).eval()
    eager.load_state_dict(trained.state_dict())

    def way(how: tuple[bool, str] | None) -> Callable[[tuple[str, str]], np.ndarray]:
        if how is None:
            return lambda which: released_predictions(eager, data, *which, length, torch.device(device))

        def ours(which: tuple[str, str]) -> np.ndarray:
            trained.packed, precision = how
            trained.compute_in(precision)
            return predict(trained, open_corpus(data, *which), info, None, device, lambda count: None)

        return ours

    results: list[dict[str, Any]] = []
    reference: list[np.ndarray] = []
    for name, how in WAYS.items():
        predictions_of = way(how)
        predictions_of(wanted[0])
        start = time.perf_counter()
        predictions = [predictions_of(which) for which in wanted]  # each ends on the CPU
        seconds = time.perf_counter() - start
        reference = reference or predictions
        rows = sum(map(len, predictions))
        pairs = list(zip(reference, predictions, strict=True))
        results.append(
            {
                "name": name,
                "rows": rows,
                "rows_per_second": rows / seconds,
                "ratio": rows / seconds / (results[0]["rows_per_second"] if results else rows / seconds),
                "difference": max(float(np.abs(one - other).max()) for one, other in pairs),
                "same": float(np.mean(np.concatenate([one.argmax(1) == other.argmax(1) for one, other in pairs]))),
            }
        )
    return results


if __name__ == "__main__":
    main()
