#!/bin/sh
# Builds the JavaScript agent: build.sh OUTPUT.wasm
# Needs componentize-js (`npm install -g @bytecodealliance/componentize-js`), exit status 3 if
# it is not there. HTTP stays out: an agent has no network of its own.
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
command -v componentize-js >/dev/null || exit 3
cd "$here"
exec componentize-js agent.js --wit ../../../wit/agent.wit --world-name agent \
  --disable http fetch-event --out "$1"
