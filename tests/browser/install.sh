#!/bin/sh
# Puts a Chromium on the PATH for the tests in this folder, where that takes no question. It always ends well: without
# a browser those tests are skipped, and one line says why.
for name in chromium chromium-browser google-chrome; do
    "$name" --version >/dev/null 2>&1 && exit 0
done

skipped() {
    echo "browser tests will be skipped: no Chromium on the PATH, and $1"
    exit 0
}

command -v apt-get >/dev/null || skipped "no apt-get to install it with"
if [ "$(id -u)" = 0 ]; then
    root=""
elif sudo -n true 2>/dev/null; then
    root="sudo -n"
else
    skipped "installing it takes root or sudo without a password (apt-get install chromium)"
fi

log=$(mktemp) || skipped "no temporary file can be made"
trap 'rm -f "$log"' EXIT
apt="$root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Acquire::Retries=0 -o Acquire::http::Timeout=20"
# A stale list may still hold the package, so what counts is the second command.
$apt update >"$log" 2>&1
$apt install -y --no-install-recommends chromium >>"$log" 2>&1 ||
    skipped "apt-get could not install it ($(grep '^E:' "$log" | tail -n 1))"
exit 0
