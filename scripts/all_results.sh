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
environment: SETS (cls_books pawsx cls_music cls_dvd), JOBS (trainings at a time; full: 14), MINUTES (of training, of the
             translator and of the encoder, which are trained side by side; full: 10), LANGUAGES (of the translator), and
             those of results.sh (SEEDS, LRS, LAMS, EPOCHS, OPTIONS)
writes OUTPUT/translator, OUTPUT/scores, OUTPUT/encoder, and OUTPUT/SET/results for every set; OUTPUT/log has a file for
each step
USAGE
  exit 2
fi
data=$1 out=$2 size=$3
case $size in
tiny) jobs=${JOBS:-1} minutes=${MINUTES:-} ;;
full) jobs=${JOBS:-14} minutes=${MINUTES:-10} ;;
*)
  echo "$0: SIZE is '$size'; it is tiny or full" >&2
  exit 2
  ;;
esac
sets=${SETS:-cls_books pawsx cls_music cls_dvd}
export LANGUAGES=${LANGUAGES:-en de fr es ja zh ru it ko}
scripts=$(dirname "$0")
mkdir -p "$out/log"

step() { # NAME COMMAND...: what it prints goes into a file, of which the end is shown if it fails
  local name=$1 begun=$SECONDS
  shift
  "$@" >"$out/log/$name.txt" 2>&1 || {
    echo "$name failed after $((SECONDS - begun)) s; the end of $out/log/$name.txt:" >&2
    tail -n 15 "$out/log/$name.txt" >&2
    return 1
  }
  echo "$name: $((SECONDS - begun)) s"
}

side_by_side() { # waits for all that was begun with &
  local pid failed=0
  for pid in $(jobs -p); do wait "$pid" || failed=1; done
  return "$failed"
}

raw_of() {
  case $1 in
  cls_*) echo "$data/cls" ;;
  pawsx) echo "$data/pawsx/x-final" ;;
  *) echo "$data/$1" ;;
  esac
}

encoder() { # from the training text of all sets, and of the parallel text
  local set
  [ ! -d "$out/encoder" ] || return 0
  for set in $sets; do results read "$set"; done
  # shellcheck disable=SC2086  # sets are words
  MINUTES=$minutes OPTIONS=${ENCODER_OPTIONS:-} "$scripts/encoder_small.sh" "$data/mbert/vocab.txt" "$data/parallel" \
      "$out" "$size" $(printf "$out/%s/corpora " $sets)
}

translator() {
  MINUTES=$minutes OPTIONS='' "$scripts/m2m_small.sh" "$data/parallel" "$data/flores" "$out" "$size"
}

results() { # PART SET
  ENCODER=$out/encoder TRANSLATOR=$out/translator JOBS=$jobs "$scripts/results.sh" "$1" "$2" "$(raw_of "$2")" "$out" "$size"
}

rest() { # SET: what takes no card to speak of, while the next set trains
  local part
  for part in figure probe calibration weights; do step "$1-$part" results "$part" "$1"; done
}

step translator translator &
step encoder encoder &
side_by_side
for set in $sets; do step "$set-prepare" results prepare "$set" & done
side_by_side
picked=
for set in $sets; do
  if [[ $set == cls_* && -n $picked ]]; then # the domains of CLS are alike: what one of them picks serves them all
    if [ ! -d "$out/$set/grid" ]; then
      rm -rf "$out/$set/grid.part"
      cp -r "$picked" "$out/$set/grid.part"
      mv "$out/$set/grid.part" "$out/$set/grid"
    fi
  else
    step "$set-grid" results grid "$set"
  fi
  if [[ $set == cls_* ]]; then picked=$out/$set/grid; fi
  for table in 5 3 4; do
    [ "$table" != 4 ] || compgen -G "$out/$set/corpora/T_trn.*.json" >/dev/null || continue
    step "$set-$table" results "$table" "$set"
  done
  rest "$set" &
done
side_by_side
