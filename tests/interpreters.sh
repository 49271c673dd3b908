#!/bin/sh
# Prints "VERSION PATH" of one interpreter each for Python 3.13, 3.12 and 3.11, the preferred one first. Where none
# of them is found, the plain python3 if it is newer. Nothing is printed for what does not run (a shim of pyenv
# may point nowhere) or cannot make virtual environments (Debian has that in python3-venv).
set -eu

# The interpreter's own path, if it runs, has version $2 ("newer" for any from 3.11 on) and can make environments.
probe() {
    "$1" -c "import ensurepip, sys, venv
version = '%d.%d' % sys.version_info[:2]
if version == '$2' or '$2' == 'newer' and sys.version_info >= (3, 11):
    print(version, sys.executable)" 2>/dev/null || true
}

find_version() {
    for directory in $directories; do
        [ -x "$directory/python$1" ] || continue
        found=$(probe "$directory/python$1" "$1")
        [ -z "$found" ] || break
    done
    printf '%s' "$found"
}

directories=$(printf '%s' "$PATH" | tr ':' '\n')
if command -v pyenv >/dev/null 2>&1; then
    directories="$directories
$(find "$(pyenv root)/versions" -path '*/bin' -prune 2>/dev/null || true)"
fi
IFS='
'

any=''
for version in 3.13 3.12 3.11; do
    found=''
    found=$(find_version "$version")
    [ -z "$found" ] || printf '%s\n' "$found"
    any="$any$found"
done
[ -n "$any" ] || probe python3 newer
