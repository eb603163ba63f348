# shellcheck shell=bash
# For scripts that do several things at once, with several GPUs; sourced by them.

gpus() { # the names of the GPUs, as CUDA_VISIBLE_DEVICES takes them
  if [ -n "${CUDA_VISIBLE_DEVICES+set}" ]; then
    echo "${CUDA_VISIBLE_DEVICES//,/ }"
  elif command -v nvidia-smi >/dev/null; then
    nvidia-smi --query-gpu=index --format=csv,noheader 2>/dev/null || true
  fi
}

on_gpu() { # N COMMAND...: a command that takes one GPU, on the Nth
  local number=$1 all
  shift
  read -ra all <<<"$(gpus | tr '\n' ' ')"
  if [ ${#all[@]} -gt 1 ]; then
    (
      export CUDA_VISIBLE_DEVICES=${all[number % ${#all[@]}]}
      "$@"
    )
  else
    "$@"
  fi
}

from_gpu() { # N COMMAND...: a command that spreads what it does over the GPUs, and begins with the Nth
  local number=$1 all
  shift
  read -ra all <<<"$(gpus | tr '\n' ' ')"
  if [ ${#all[@]} -gt 1 ]; then
    number=$((number % ${#all[@]}))
    all=("${all[@]:number}" "${all[@]:0:number}")
    (
      CUDA_VISIBLE_DEVICES=$(IFS=, && echo "${all[*]}")
      export CUDA_VISIBLE_DEVICES
      "$@"
    )
  else
    "$@"
  fi
}

all_of() { # PID...: waits for all; fails if any of them has failed
  local pid failed=0
  for pid; do wait "$pid" || failed=1; done
  return "$failed"
}

as_a_word() { # FOLDER...: ends the script if one is called what neither a list of words nor an override of Hydra can hold
  local LC_ALL=C folder
  for folder; do
    case $folder in
    *[!A-Za-z0-9_./+@:%~-]*)
      echo "$0: the folder '$folder' is to be called by letters of English, digits and _ . / + @ : % ~ - alone" >&2
      exit 2
      ;;
    esac
  done
}
