# For scripts of tests, which set `out` to a directory: runs tests and counts them.
mkdir -p "$out/results"
number=0
at_once=1
last=
before=

# t NAME COMMAND…: one test; its output is shown when it fails.
t() {
    number=$((number + 1))
    if [ "$at_once" = 1 ]; then
        one "$number" "$@"
        return
    fi
    # With the last one that makes two.
    [ -z "$before" ] || wait "$before"
    before=$last
    one "$number" "$@" &
    last=$!
}

# one NUMBER NAME COMMAND…
one() {
    result=$out/results/$1
    name=$2
    shift 2
    if "$@" >"$result.log" 2>&1; then
        : >"$result.passed"
        echo "ok    $name"
    else
        : >"$result.failed"
        # One write: another test may say something at the same time.
        echo "FAIL  $name: $*
$(sed 's/^/      /' "$result.log")"
    fi
}

# two_at_once: from here on tests may run beside each other, until `settle`.
two_at_once() {
    at_once=2
}

# settle: waits for all tests; from here on one runs after the other.
settle() {
    wait
    at_once=1
    last=
    before=
}

# finish: the sum; fails where a test has failed.
finish() {
    settle
    passed=$(find "$out/results" -name '*.passed' | wc -l)
    failed=$(find "$out/results" -name '*.failed' | wc -l)
    echo "$((passed)) passed, $((failed)) failed"
    [ "$failed" -eq 0 ] && [ "$((passed + failed))" -eq "$number" ]
}
