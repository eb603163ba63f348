#!/usr/bin/env bash
# The whole way on made-up data: a translator by the m2m_100 recipe, an encoder folder, and then the commands that a user
# of the published 418M translator and of mBERT gives; only paths and sizes differ. What is done is not done again.
set -euo pipefail
demo=${1:-demo}
scripts=$(dirname "$0")
step() { printf '\n== %d:%02d  %s\n' $((SECONDS / 60)) $((SECONDS % 60)) "$1"; }
# Two threads that wait for each other by spinning are slow where others use the cores too.
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-passive} TOKENIZERS_PARALLELISM=false

step "made-up sentence pairs in the layout of PAWS-X, and parallel text"
fairseq-musc demo-data --output "$demo/raw" --train 1000 --valid 200 --test 400

step "a small many-to-many translator, by the recipe of m2m_100"
[ -d "$demo/translator" ] || fairseq-musc train-translator --parallel "$demo/raw/parallel" --output "$demo/translator" \
    --vocabulary 1500 --dim 128 --ffn-dim 256 --encoder-layers 2 --decoder-layers 2 --dropout 0 --label-smoothing 0.05 \
    --updates 700 --warmup 120 --lr 0.005 --max-tokens 1500 --held-out 50 --beam 1 --max-len-b 60

step "a small BERT folder, untrained"
[ -d "$demo/encoder" ] || fairseq-musc new-encoder --output "$demo/encoder" --text "$demo"/raw/parallel/*.tsv \
    --vocab-size 2500 --hidden-size 128 --layers 2 --heads 4 --intermediate-size 512

step "raw files -> corpora"
fairseq-musc read --dataset pawsx --input "$demo/raw/x-final" --output "$demo/corpora" --languages en de es fr ja

step "S_trn -> T_trn^MT, T_val -> S_val^MT, T_tst -> S_tst^MT, by fairseq's beam search"
"$scripts/translate.sh" "$demo/corpora" "$demo/translator" --beam 2 --max-len-b 60

step "corpora -> data-bin"
fairseq-musc binarize --corpora "$demo/corpora" --data "$demo/data-bin" --tokenizer "$demo/encoder"

step "MUSC: fairseq-hydra-train --config-name musc_pawsx"
fairseq-hydra-train --config-name musc_pawsx \
    task.data="'$demo/data-bin'" model.pretrained="'$demo/encoder'" checkpoint.save_dir="'$demo/checkpoints'" \
    optimization.lr='[0.001]' optimization.max_epoch=2 criterion.lam=0.1 common.log_interval=5 2>&1 |
    tee "$demo/train.log" | sed -unE 's/^\[[^]]*\]\[(train_inner|valid)\]\[INFO\] - //p' ||
    { tail -n 20 "$demo/train.log" >&2; exit 1; }

step "T_tst and S_tst^MT predicted, ensembled, reported"
"$scripts/eval_translate_all.sh" "$demo/checkpoints/checkpoint_best.pt" "$demo/data-bin"

step "done; the table and what it was made from:"
printf '%s\n' "$demo/checkpoints/checkpoint_best.predictions/results.md" "$demo"/{raw,translator,encoder,corpora,data-bin,train.log,checkpoints}
