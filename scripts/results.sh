#!/usr/bin/env bash
# One table of docs/results, or another part of it, from raw files to the table with its intervals: on CLS reviews or
# PAWS-X, with an encoder and a translator that are there already. What is done is not done again, so the same command
# goes on where it was stopped.
set -euo pipefail
if [ $# -ne 5 ]; then
  cat >&2 <<USAGE
usage: $0 PART SET RAW OUTPUT SIZE
  PART    read: corpora; neither ENCODER nor TRANSLATOR need be there yet
          prepare: corpora, their translations, data-bins; every other part does it first if it is not done
          grid: learning rate x lambda for each loss, picked on validation data; 3, 4 and 5 take what it picked
          3, 4, 5: the table for each number of ROWS, and paired intervals for what it claims
          figure, probe, calibration, weights: Figure 1, original against translated text, calibration errors, and the
          ensemble's weight for each language, all of the runs of Table 3
  SET     cls_books, cls_dvd, cls_music, pawsx, or the name of a data set of your own; no part 4 for pawsx and others
          without original training text in other languages
  RAW     its raw files; of your own: the folder of SET.data.yaml and SET.yaml that fairseq-musc init has written
  SIZE    tiny: a few rows, to see that the joints hold; full: all of them, on a GPU
environment: ENCODER, TRANSLATOR (folders; of encoder_small.sh and m2m_small.sh), ROWS (of training data: "all", or e.g.
             "250 500 1000 all"), SEEDS (1 2 3 4 5), GRID_SEEDS (1 2), LRS, LAMS, JOBS (trainings at a time; 8),
             LOSSES (of the grid; all five of Table 5), EPOCHS, OPTIONS (further overrides of the recipe)
writes OUTPUT/SET: corpora, data-bin*, grid, runs/ROWS, runs/ROWS-original for Table 4, and results, which is what to read
USAGE
  exit 2
fi
part=$1 set=$2 raw=$3 out=$4/$2 size=$5
scripts=$(dirname "$0")
: "${ENCODER:?is to be the folder of an encoder}" "${TRANSLATOR:?is to be the folder of a translator}"
# shellcheck source=scripts/side_by_side.sh
source "$scripts/side_by_side.sh"
as_a_word "$4" "$ENCODER"
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-passive} TOKENIZERS_PARALLELISM=false
rows=${ROWS:-all} results=$out/results
case $size in
tiny)
  seeds=${SEEDS:-1 2} grid_seeds=${GRID_SEEDS:-1} jobs=${JOBS:-1} lrs=${LRS:-0.002} lams=${LAMS:-0.5} epochs=${EPOCHS:-1}
  decoding=(--beam 1 --longest 60 --max-len-b 6)
  limit=(--limit 20) hold_out=10 length=32 options=(common.cpu=true) probe=(--cpu)
  ;;
full)
  seeds=${SEEDS:-1 2 3 4 5} grid_seeds=${GRID_SEEDS:-1 2} jobs=${JOBS:-8} lrs=${LRS:-5e-5 1e-4 3e-4}
  lams=${LAMS:-0.1 0.5 0.9} epochs=${EPOCHS:-6}
  decoding=(--beam 2 --longest 60 --max-len-a 1.3 --max-len-b 10 --batch-tokens 60000 --precision fp16)
  limit=() hold_out=400 length=128 options=(model.precision=bfloat16) probe=()
  ;;
*)
  echo "$0: SIZE is '$size'; it is tiny or full" >&2
  exit 2
  ;;
esac
case $set in
cls_books | cls_dvd | cls_music)
  recipe=(--config-name musc_marc) reading=(--dataset "$set" --input "$raw" --hold-out "$hold_out")
  ;;
pawsx)
  recipe=(--config-name musc_pawsx)
  reading=(--dataset pawsx --input "$raw" --hold-out "$hold_out" --train-file dev_2k --missing drop)
  ;;
*)
  if [ ! -e "$raw/$set.data.yaml" ]; then
    echo "$0: SET is '$set'; it is cls_books, cls_dvd, cls_music, pawsx, or NAME where RAW holds NAME.data.yaml" >&2
    exit 2
  fi
  recipe=(--config-dir "$raw" --config-name "$set") reading=(--dataset "$raw/$set.data.yaml")
  ;;
esac
case $part in
read | prepare | grid | 3 | 5 | figure | probe | calibration | weights) ;;
4)
  if [ "$set" = pawsx ]; then
    echo "$0: PART 4 is not for pawsx, which has no original training text but English; take a set of CLS" >&2
    exit 2
  fi
  ;;
*)
  echo "$0: PART is '$part'; it is read, prepare, grid, 3, 4, 5, figure, probe, calibration or weights" >&2
  exit 2
  ;;
esac
losses=(ce ce+sc ce+mu ce+sc+mu ce+mu+sc+musc)
# shellcheck disable=SC2206  # options are words
options+=(model.pretrained="$ENCODER" optimization.max_epoch="$epochs" ${OPTIONS:-})

data_of() { # the data-bin for a number of rows
  [ "$1" = all ] && echo "$out/data-bin" || echo "$out/data-bin-$1"
}

runs_for() { # ROWS [NUMBER]: where the runs of a table go; Table 4 shares none with 3 and 5, and may be made beside them
  [ "${2:-}" = 4 ] && echo "$out/runs/$1-original" || echo "$out/runs/$1"
}

runs_of() { # RUN ROWS: the folders of a run's seeds
  local seed folder=$out/runs/$2
  [ "$1" = "${mt}_${1##*_}" ] || folder=$(runs_for "$2" 4)
  for seed in $seeds; do printf '%s ' "$folder/$1_seed=$seed/predictions"; done
}

read_raw() {
  fairseq-musc read "${reading[@]}" --output "$out/corpora" ${limit[@]+"${limit[@]}"}
}

translate() { # the two ways from the original text, side by side if trainings may be
  local ways=(translate) way at_once=()
  if compgen -G "$out/corpora/T_trn.*.json" >/dev/null; then ways+=(back_translate); fi
  for way in "${ways[@]}"; do
    if [ "$jobs" -lt 5 ]; then
      "$scripts/$way.sh" "$out/corpora" "$TRANSLATOR" "${decoding[@]}"
    else
      on_gpu "${#at_once[@]}" "$scripts/$way.sh" "$out/corpora" "$TRANSLATOR" "${decoding[@]}" &
      at_once+=($!)
    fi
  done
  all_of ${at_once[@]+"${at_once[@]}"}
}

prepare() {
  local count
  if [ ! -e "$out/corpora/.done" ]; then
    read_raw
    translate
    touch "$out/corpora/.done"
  fi
  for count in $rows; do
    fairseq-musc binarize --corpora "$out/corpora" --data "$(data_of "$count")" --tokenizer "$ENCODER" \
        --max-length "$length" $([ "$count" = all ] || echo --train-rows "$count")
  done
}

search() { # TERMS JOBS: the grid of one loss; lambda is nothing to losses without contrastive terms
  local axis="--lam $lams"
  [[ $1 == *sc* ]] || axis=criterion.lam=0.5
  # shellcheck disable=SC2086  # numbers are words
  fairseq-musc grid "${recipe[@]}" --output "$out/grid/$1" --lr $lrs --seeds $grid_seeds --jobs "$2" \
      --keep none $axis task.data="$(data_of "${rows##* }")" "${options[@]}" criterion.terms="$1" || return 1
  mkdir -p "$results"
  cp "$out/grid/$1/grid.md" "$results/grid-$1.md"
}

grid() { # TERMS...: the losses side by side if trainings may be: one by one, most would wait for the last of a few
  local terms pids=() lambdas all=0 number=0 share
  # shellcheck disable=SC2086  # numbers are words
  lambdas=$(set -- $lams && echo $#)
  for terms; do all=$((all + $(weight "$terms"))); done
  for terms; do
    if [ "$jobs" -lt 5 ]; then
      search "$terms" "$jobs"
    else
      share=$(((jobs * $(weight "$terms") + all - 1) / all))
      from_gpu "$number" search "$terms" "$share" &
      pids+=($!) number=$((number + share))
    fi
  done
  all_of ${pids[@]+"${pids[@]}"}
}

weight() { [[ $1 == *sc* ]] && echo "$lambdas" || echo 1; } # of a loss, by how many trainings its grid has

picked() { # TERMS...: whether their grids have come to their end; side by side, any of them may be the last
  local terms
  for terms; do [ -e "$out/grid/$terms/best.yaml" ] || return 1; done
}

all_searched() { # TERMS...: whether their grids have ended well here, with no cell to be tried again
  local terms
  picked "$@" || return 1
  for terms; do [ -e "$results/grid-$terms.md" ] || return 1; done
}

table() { # NUMBER: the trainings for each number of rows, and one table of all
  local count needed=(ce)
  [ "$1" != 5 ] || needed=("${losses[@]}")
  picked "${needed[@]}" || grid "${needed[@]}"
  for count in $rows; do
    # shellcheck disable=SC2086  # seeds are words
    fairseq-musc run-table --table "$1" "${recipe[@]}" --data "$(data_of "$count")" \
        --output "$(runs_for "$count" "$1")" --seeds $seeds --jobs "$jobs" --hyperparameters "$out/grid" "${options[@]}"
    fairseq-musc report --table "$1" --predictions "$(runs_for "$count" "$1")" --output "$results/$count" --paper
  done
}

translated() { # the languages of the original training text
  local file
  for file in "$out"/corpora/T_trn.*.json; do basename "$file" .json | cut -d. -f2; done
}

compare() { # NAME ROWS FIRST SECOND CORPORA... [OPTION...]: paired by seed, with its interval
  local name=$1 count=$2 first=$3 second=$4
  shift 4
  # shellcheck disable=SC2046  # folders are words
  fairseq-musc compare --first $(runs_of "$first" "$count") --second $(runs_of "$second" "$count") --corpora "$@" \
      --output "$results/$count/$name"
}

calibration() { # SEED
  local folder=$out/runs/$rows/${mt}_ce_seed=$1/predictions ending
  fairseq-musc calibrate --predictions "$folder" || return 1
  for ending in md tsv; do cp "$folder/calibration.$ending" "$results/calibration-seed=$1.$ending"; done
}

weights() { # SEED
  local run=$out/runs/$rows/${mt}_ce_seed=$1
  fairseq-musc predict --checkpoint "$run/checkpoints/checkpoint_best.pt" --data "$(data_of "$rows")" \
      --predictions "$run/predictions" --corpora T_val S_val_MT ${probe[@]+"${probe[@]}"} || return 1
  fairseq-musc ensemble --predictions "$run/predictions" --weight validation
}

pids=()
mt=S_trn+T_trn_MT bt=S_trn+T_trn_BT original=S_trn+T_trn
# shellcheck disable=SC2206  # losses are words
of_grid=(${LOSSES:-"${losses[@]}"})
if [ "$part" = grid ] && all_searched "${of_grid[@]}"; then
  echo "the grids of ${of_grid[*]} are done: see $results/grid-*.md; to search anew, remove $out/grid first"
  exit
fi
[ "$part" = read ] || prepare
case $part in
read) read_raw ;;
prepare) ;;
grid) grid "${of_grid[@]}" ;;
3)
  table 3
  for count in $rows; do
    compare ens-t_tst "$count" ${mt}_ce ${mt}_ce Ens T_tst & pids+=($!)
    compare ens-s_tst_mt "$count" ${mt}_ce ${mt}_ce Ens S_tst_MT & pids+=($!)
  done
  all_of "${pids[@]}"
  ;;
4)
  if ! compgen -G "$out/corpora/T_trn.*.json" >/dev/null; then
    echo "$0: $out/corpora has no T_trn, original training text in other languages, which PART 4 is about" >&2
    exit 2
  fi
  table 4
  for count in $rows; do
    compare bt-original-on-s_tst_mt "$count" ${bt}_ce ${original}_ce S_tst_MT & pids+=($!)
    compare bt-original-on-t_tst "$count" ${bt}_ce ${original}_ce T_tst & pids+=($!)
    # What is read in English is the same text for both: without its column the difference is that of translated text.
    # shellcheck disable=SC2046  # languages are words
    compare bt-original-on-s_tst_mt-translated "$count" ${bt}_ce ${original}_ce S_tst_MT --languages $(translated) &
    pids+=($!)
    # shellcheck disable=SC2046
    compare bt-original-on-t_tst-translated "$count" ${bt}_ce ${original}_ce T_tst --languages $(translated) &
    pids+=($!)
  done
  all_of "${pids[@]}"
  ;;
5)
  table 5
  for count in $rows; do
    for terms in "${losses[@]:1}"; do
      compare "$terms-ce" "$count" "${mt}_$terms" ${mt}_ce Ens & pids+=($!)
    done
  done
  all_of "${pids[@]}"
  ;;
figure | probe | calibration | weights)
  rows=${rows##* }
  there=$results/$rows/table3.md
  for seed in $seeds; do [ -e "$out/runs/$rows/${mt}_ce_seed=$seed/done.json" ] || there=; done
  [ -e "$there" ] || table 3 # another table of the same runs may be at work
  mkdir -p "$results"
  ;;&
figure) fairseq-musc figure --predictions "$out/runs/$rows/${mt}_ce_seed=${seeds%% *}/predictions" --output "$results" ;;
probe)
  fairseq-musc probe --encoder "$ENCODER" ${probe[@]+"${probe[@]}"} --data "$(data_of "$rows")" --original T_tst \
      --translated S_tst_MT --checkpoint "$out/runs/$rows/${mt}_ce_seed=${seeds%% *}/checkpoints/checkpoint_best.pt" \
      --output "$results/probe"
  ;;
calibration)
  for seed in $seeds; do calibration "$seed" & pids+=($!); done
  all_of "${pids[@]}"
  ;;
weights)
  for seed in $seeds; do weights "$seed" >"$results/weights-seed=$seed.txt" & pids+=($!); done
  all_of "${pids[@]}"
  compare weights-half "$rows" ${mt}_ce ${mt}_ce Ens_w Ens
  ;;
esac
