#!/usr/bin/env bash
# All that docs/results is made of, from raw files: a translator and an encoder made from nothing, then the grid, the
# tables and the rest of scripts/results.sh for every set. What is done is not done again and what was stopped goes on,
# so where a GPU is lent for minutes give the same command again and again, e.g. under `timeout 560`.
set -euo pipefail
if [ $# -ne 3 ]; then
  cat >&2 <<USAGE
usage: $0 DATA OUTPUT SIZE
  DATA    parallel/en-de.tsv.gz ..., flores/devtest.en ..., mbert/vocab.txt, and the sets: cls/, pawsx/x-final/,
          NAME/NAME.data.yaml for one of your own
  SIZE    tiny: a few rows, to see that the joints hold; full: on a GPU
environment: SETS (cls_books pawsx cls_music cls_dvd), TABLES (3 4 5), PARTS (figure probe calibration weights),
             FEWER (numbers of training rows for Table 5 beside all of them; none) of the sets FEWER_SETS (SETS),
             JOBS (trainings at a time of each set; full: a third of the processors),
             MINUTES (of training of the translator; full: 10), ENCODER_MINUTES (of the encoder, which is trained beside
             it; MINUTES), ENCODER_SETS (of whose training text; SETS), LANGUAGES (of the translator),
             TRANSLATOR_OPTIONS, ENCODER_OPTIONS (of train-translator and pretrain-encoder),
             and those of results.sh (SEEDS, LRS, LAMS, EPOCHS, OPTIONS)
writes OUTPUT/translator, OUTPUT/scores, OUTPUT/encoder, and OUTPUT/SET/results for every set; OUTPUT/log has a file for
each step. Sets go side by side. Of several GPUs the translator and the encoder get one each; translations and
trainings are spread over all.
USAGE
  exit 2
fi
data=$1 out=$2 size=$3
case $size in
tiny) jobs=${JOBS:-1} minutes=${MINUTES:-} ;;
full) jobs=${JOBS:-$((($(env -u OMP_NUM_THREADS nproc) + 2) / 3))} minutes=${MINUTES:-10} ;;
*)
  echo "$0: SIZE is '$size'; it is tiny or full" >&2
  exit 2
  ;;
esac
sets=${SETS:-cls_books pawsx cls_music cls_dvd} tables=${TABLES-3 4 5} parts=${PARTS-figure probe calibration weights}
encoder_sets=${ENCODER_SETS:-$sets} encoder_minutes=${ENCODER_MINUTES:-$minutes} fewer_sets=${FEWER_SETS-$sets}
export LANGUAGES=${LANGUAGES:-en de fr es ja zh ru it ko}
scripts=$(dirname "$0")
# shellcheck source=scripts/side_by_side.sh
source "$scripts/side_by_side.sh"
as_a_word "$out"
mkdir -p "$out/log"

step() { # NAME COMMAND...: what it prints goes into a file, of which the end is shown if it fails
  local name=$1 begun=$SECONDS
  shift
  "$@" >"$out/log/$name.txt" 2>&1 || {
    echo "$name failed after $((SECONDS - begun)) s; the end of $out/log/$name.txt:" >&2
    tail -n 15 "$out/log/$name.txt" >&2
    return 1
  }
  echo "$(date +%T) $name: $((SECONDS - begun)) s"
}

raw_of() {
  case $1 in
  cls_*) echo "$data/cls" ;;
  pawsx) echo "$data/pawsx/x-final" ;;
  *) echo "$data/$1" ;;
  esac
}

encoder() { # from the training text of the sets, and of the parallel text
  local set reading=()
  [ ! -d "$out/encoder" ] || return 0
  for set in $encoder_sets; do results read "$set" & reading+=($!); done
  all_of "${reading[@]}" || return 1
  # shellcheck disable=SC2086  # sets are words
  MINUTES=$encoder_minutes OPTIONS=${ENCODER_OPTIONS:-} "$scripts/encoder_small.sh" "$data/mbert/vocab.txt" \
      "$data/parallel" "$out" "$size" $(printf "$out/%s/corpora " $encoder_sets)
}

translator() { # TEXTS: what it is scored on
  MINUTES=$minutes OPTIONS=${TRANSLATOR_OPTIONS:-} "$scripts/m2m_small.sh" "$data/parallel" "$1" "$out" "$size"
}

results() { # PART SET [ROWS]
  ENCODER=$out/encoder TRANSLATOR=$out/translator JOBS=${few:-$jobs} ROWS=${3:-all} \
      "$scripts/results.sh" "$1" "$2" "$(raw_of "$2")" "$out" "$size"
}

lane() { # N SET...: the grid of the first, and the tables of all; of several GPUs it begins with the Nth
  local number=$1 first=$2 set begun=() others=()
  shift
  for set in "${@:2}"; do
    number=$((number + 1))
    from_gpu "$number" step "$set-prepare" results prepare "$set" &
    others+=($!)
  done
  number=$((number + 1))
  from_gpu "$number" step "$first-prepare" results prepare "$first" || return 1
  if [[ " $tables " == *" 5 "* ]]; then
    from_gpu "$number" step "$first-grid" results grid "$first" || return 1
  else # the tables of one loss need no more than its own
    LOSSES=ce from_gpu "$number" step "$first-grid" results grid "$first" || return 1
  fi
  all_of ${others[@]+"${others[@]}"} || return 1
  for set; do
    if [ ! -d "$out/$set/grid" ]; then
      rm -rf "$out/$set/grid.part"
      cp -r "$out/$first/grid" "$out/$set/grid.part"
      mv "$out/$set/grid.part" "$out/$set/grid"
    fi
    number=$((number + 1))
    from_gpu "$number" tables "$set" &
    begun+=($!)
  done
  all_of "${begun[@]}"
}

tables() { # SET
  local set=$1 table part count begun=() failed=0
  if [[ " $tables " == *" 5 "* && " $fewer_sets " == *" $set "* ]]; then
    for count in ${FEWER:-}; do
      few=$(((jobs + 1) / 2)) step "$set-5-$count" results 5 "$set" "$count" &
      begun+=($!)
    done
  fi
  if [[ " $tables " == *" 4 "* ]] && compgen -G "$out/$set/corpora/T_trn.*.json" >/dev/null; then
    step "$set-4" results 4 "$set" &
    begun+=($!)
  fi
  for table in $tables; do
    [ "$table" != 4 ] || continue
    step "$set-$table" results "$table" "$set" || failed=1
    if [ "$table" = 3 ]; then # what is made of Table 3 takes no card to speak of, so that the next table is trained beside
      (for part in $parts; do step "$set-$part" results "$part" "$set" || exit 1; done) &
      begun+=($!)
    fi
  done
  all_of ${begun[@]+"${begun[@]}"} && return "$failed"
}

on_gpu 0 step translator translator - &
begun=($!)
on_gpu 1 step encoder encoder &
begun+=($!)
all_of "${begun[@]}"
on_gpu 1 step scores translator "$data/flores" &
begun=($!)
number=0 reviews=()
for set in $sets; do
  if [[ $set == cls_* ]]; then # the domains of CLS are alike: what one of them picks serves them all
    reviews+=("$set")
  else
    lane "$number" "$set" &
    begun+=($!)
    number=$((number + 1))
  fi
done
if [ ${#reviews[@]} -gt 0 ]; then
  lane "$number" "${reviews[@]}" &
  begun+=($!)
fi
all_of "${begun[@]}"
