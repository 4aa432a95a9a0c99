# For scripts of tests, which set `out` to a directory: runs one test after the other and counts.
passed=0
failed=0

# t NAME COMMAND…: one test; its output is shown when it fails.
t() {
    name=$1
    shift
    if "$@" >"$out/log" 2>&1; then
        passed=$((passed + 1))
        echo "ok    $name"
    else
        failed=$((failed + 1))
        echo "FAIL  $name: $*"
        sed 's/^/      /' "$out/log"
    fi
}

# finish: the sum; fails where a test has failed.
finish() {
    echo "$passed passed, $failed failed"
    [ "$failed" -eq 0 ]
}
