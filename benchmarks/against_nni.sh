#!/bin/sh
# Measure NNI 3.0 in an environment of its own (about 1 GB), and write the numbers where the page
# finds them. NNI has no release for this torch or a newer Lightning; these versions run together.
set -eu
cd "$(dirname "$0")/.."
env=${1:-.venvs/nni-3.0}
test -x "$env/bin/python" || {
    python3 -m venv "$env"
    "$env/bin/pip" install --quiet "$(grep '^torch==' constraints.txt)" 'setuptools<80'
    "$env/bin/pip" install --quiet --no-deps nni==3.0 pytorch-lightning==1.9.5 \
        torchmetrics==0.11.4 lightning-utilities==0.8.0
    "$env/bin/pip" install --quiet numpy packaging tqdm pyyaml fsspec cloudpickle schema \
        typeguard filelock json_tricks websockets psutil responses requests prettytable scipy \
        scikit-learn pandas hyperopt astor typing_extensions colorama
}
OMP_NUM_THREADS=1 "$env/bin/python" benchmarks/against_nni.py > benchmarks/results/nni.json
