#!/usr/bin/env bash
# venv.sh ENV LOCK...: makes the environment ENV and installs exactly the locks into it, then this
# project (editable). Run by `make`, .venv first, since the others take uv from it; PYTHON names
# another interpreter of version 3.10.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=$1
shift
locks=("${@/%/.txt}")
locks=("${locks[@]/#/requirements/}")
uv=.venv/bin/uv

say() { printf '==> %s\n' "$*" >&2; }

# A pyenv shim exists even when its version is not active, so being on PATH is not enough.
is_310() {
  "$1" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info[:2] != (3, 10))' 2>/dev/null
}

find_python() {
  if [ -n "${PYTHON:-}" ]; then
    is_310 "$PYTHON" && echo "$PYTHON" && return
    say "PYTHON=$PYTHON is not a working Python 3.10 with venv and ensurepip."
    return 1
  fi
  local candidate
  for candidate in python3.10 $(ls -d ~/.pyenv/versions/3.10.*/bin/python 2>/dev/null | sort -rV); do
    is_310 "$candidate" && echo "$candidate" && return
  done
  fetch_python
}

install_uv() {
  "$1/bin/pip" install -q --disable-pip-version-check "$uv_pin"
}

# No 3.10 here: uv knows where to get one; any Python 3 can install uv.
fetch_python() {
  local uv=uv
  if ! command -v uv >/dev/null; then
    uv="$venv-uv/bin/uv"
    python3 -m venv "$venv-uv" >&2 && install_uv "$venv-uv" >&2 || return 1
  fi
  say "No Python 3.10 found; letting uv fetch one."
  "$uv" python install 3.10 >&2 && "$uv" python find --managed-python 3.10
}

# Two dependencies come as C++ sources. Where there is no compiler, PyPI has one.
ensure_compiler() {
  [ -n "${CXX:-}" ] || { command -v c++ && command -v cc; } >/dev/null && return
  say "No C++ compiler found; building with the one in the ziglang package."
  "$uv" pip install -q ziglang
  export CC="$PWD/$venv/bin/python -m ziglang cc"
  export CXX="$PWD/$venv/bin/python -m ziglang c++"
}

uv_pin=$(grep '^uv==' requirements/dev.txt)
export VIRTUAL_ENV="$PWD/$venv"

if ! is_310 "$venv/bin/python"; then
  python=$(find_python) || {
    say "No Python 3.10. Install one (python3.10 with venv, pyenv or uv), or set PYTHON to its path."
    exit 1
  }
  say "Making $venv with $python"
  rm -rf "$venv"
  "$python" -m venv "$venv"
fi
[ "$("$uv" --version 2>/dev/null | cut -d' ' -f2)" = "${uv_pin#uv==}" ] || install_uv .venv

ensure_compiler
say "Installing $(sort -u "${locks[@]}" | wc -l) pinned packages into $venv"
# Without bytecode `import tfx` takes three times as long.
"$uv" pip sync -q --compile-bytecode "${locks[@]}"
"$uv" pip install -q --no-deps --no-build-isolation -e .
