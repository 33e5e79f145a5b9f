#!/usr/bin/env bash
# The steps of action.yml: latency.sh prepare | install | check. Inputs are environment variables.
set -euo pipefail
set -f # options are words, not patterns

action=$(cd "$(dirname "$0")" && pwd)
package=${PACKAGE:-$(cd "$action/../../.." && pwd)}
venv="$RUNNER_TEMP/depthopt"

# Where the environment lies, and what it depends on: Python, the package, and whether torch is in it.
prepare() {
  local what python kind
  what=$(
    if [ -d "$package" ]; then
      cat "$package/pyproject.toml"
      find "$package/depthopt" -name '*.py' -print0 | sort -z | xargs -0 cat
    else
      echo "$package"
    fi | sha256sum | cut -c1-16
  )
  python=$(python -c 'import sys; print(*sys.version_info[:3], sep=".")')
  kind=light
  [ -z "${DATA:-}" ] || kind=full
  {
    echo "venv=$venv"
    echo "key=depthopt-${RUNNER_OS:-Linux}-$python-$kind-$what"
  } >>"$GITHUB_OUTPUT"
}

install() {
  python -m venv "$venv"
  # shellcheck disable=SC1091
  source "$venv/bin/activate"
  if [ -n "${DATA:-}" ]; then # the metric is worked out by torch; a runner has no GPU
    pip install --quiet --no-compile --extra-index-url https://download.pytorch.org/whl/cpu "$package"
    return
  fi
  pip install --quiet --no-compile numpy onnx onnxruntime psutil pydantic pyyaml rich typer
  pip install --quiet --no-deps "$package"
}

# The file that the baseline is, in $baseline; empty if there is none yet.
find_baseline() {
  local wanted=${BASELINE:-$MODEL}
  baseline=""
  if [ -n "${BASELINE:-}" ] && [ -f "$BASELINE" ]; then
    baseline=$BASELINE
    return
  fi
  if [ -z "${BASE:-}" ]; then
    echo "::error::name what to check against: \`base\`, such as origin/main, or a \`baseline\` that is there"
    exit 2
  fi
  if ! git rev-parse --verify --quiet "$BASE^{commit}" >/dev/null; then
    echo "::error::$BASE is not fetched; give actions/checkout fetch-depth: 0"
    exit 2
  fi
  if ! git cat-file -e "$BASE:./$wanted" 2>/dev/null; then
    return
  fi
  baseline="$RUNNER_TEMP/baseline.${wanted##*.}"
  git show "$BASE:./$wanted" >"$baseline"
  if head -c 100 "$baseline" | grep -q '^version https://git-lfs'; then
    git lfs smudge <"$baseline" >"$baseline.whole"
    mv "$baseline.whole" "$baseline"
  fi
}

check() {
  local baseline code=0 junit="$RUNNER_TEMP/latency.xml"
  if [ ! -f "$MODEL" ]; then
    echo "::error::$MODEL is not in the workspace; export it in a step before"
    exit 2
  fi
  find_baseline
  if [ -z "$baseline" ]; then
    echo "::notice::there is no ${BASELINE:-$MODEL} on $BASE yet: nothing to check against, until this is merged"
    echo "latency: there is no \`${BASELINE:-$MODEL}\` on $BASE yet, so there was nothing to check against." >>"$GITHUB_STEP_SUMMARY"
    echo "outcome=none" >>"$GITHUB_OUTPUT"
    return
  fi
  local call=(check)
  case $baseline in
    *.json) call+=(--against "$baseline" "$MODEL") ;;
    *) call+=("$baseline" "$MODEL") ;;
  esac
  call+=(--tolerance "${TOLERANCE:-5%}" --junit "$junit")
  [ -z "${DATA:-}" ] || call+=(--data "$DATA")
  # shellcheck disable=SC2206 # as above
  call+=(${OPTIONS:-})
  PATH="$venv/bin:$PATH" depthopt "${call[@]}" || code=$?
  case $code in
    0) echo "outcome=pass" ;;
    1) echo "outcome=regression" ;;
    3) echo "outcome=inconclusive" ;;
  esac >>"$GITHUB_OUTPUT"
  [ ! -f "$junit" ] || echo "junit=$junit" >>"$GITHUB_OUTPUT"
  if [ "$code" = 3 ] && [ "${STRICT:-false}" != true ]; then
    echo "::warning::the latency check is inconclusive, see the summary"
    code=0
  fi
  exit "$code"
}

case ${1:-} in
  prepare | install | check) "$1" ;;
  *) echo "usage: latency.sh prepare | install | check" >&2 && exit 2 ;;
esac
