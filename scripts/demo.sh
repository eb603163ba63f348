#!/usr/bin/env bash
# The whole way on made-up data: a translator by the m2m_100 recipe, an encoder folder, and then the commands that a user
# of the published 418M translator and of mBERT gives; only paths and sizes differ.
set -euo pipefail
demo=${1:-demo}
began=$SECONDS
step() { printf '\n== %s  (%d:%02d)\n' "$1" $(((SECONDS - began) / 60)) $(((SECONDS - began) % 60)); }

step "made-up sentence pairs in the layout of PAWS-X, and parallel text"
fairseq-musc demo-data --output "$demo/raw"

step "a small translator, by the recipe of m2m_100"
[ -d "$demo/translator" ] || fairseq-musc train-translator --parallel "$demo/raw/parallel" --output "$demo/translator"

step "a small BERT folder"
[ -d "$demo/encoder" ] || fairseq-musc new-encoder --output "$demo/encoder" --text "$demo"/raw/parallel/*.tsv

step "raw files -> corpora"
fairseq-musc read --dataset pawsx --input "$demo/raw/x-final" --output "$demo/corpora"

step "S_trn -> T_trn^MT, T_val -> S_val^MT, T_tst -> S_tst^MT, by fairseq-generate"
"$(dirname "$0")/translate.sh" "$demo/corpora" "$demo/translator"

step "corpora -> data-bin"
fairseq-musc binarize --corpora "$demo/corpora" --data "$demo/data-bin" --tokenizer "$demo/encoder"

step "MUSC: fairseq-hydra-train --config-name musc_pawsx"
fairseq-hydra-train --config-name musc_pawsx \
    task.data="$demo/data-bin" model.pretrained="$demo/encoder" checkpoint.save_dir="$demo/checkpoints"

step "T_tst and S_tst^MT predicted, ensembled, reported"
"$(dirname "$0")/eval_translate_all.sh" "$demo/checkpoints/checkpoint_best.pt" "$demo/data-bin"

step "done"
echo "the table: $demo/checkpoints/checkpoint_best.predictions/results.md"
