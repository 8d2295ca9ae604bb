#!/bin/sh
# Builds the Python agent: build.sh OUTPUT.wasm
# Needs componentize-py (`pip install componentize-py`), exit status 3 if it is not there.
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
command -v componentize-py >/dev/null || exit 3
cd "$here"
exec componentize-py --wit-path ../../../wit/agent.wit --world agent componentize app --output "$1"
