# What all scripts here share; sourced, never run. Sets `root` (the repository) and `cache` (what is
# fetched or built once), and puts our own tools on the path.
# shellcheck shell=bash
# shellcheck disable=SC2034  # The variables are for those who source this.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache=${QIANLI_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/qianli}
mkdir -p "$cache"
export PATH=$cache/tools/bin:$PATH

viewer_version=3.13.2
s3_server_version=0.14.1
playwright_version=1.65.1
oidc_provider_version=9.13.3 # An OpenID provider, for the logins by one.
dcmjs_dimse_version=0.3.3 # A DIMSE library, for the interoperability matrix.
axe_core_version=4.14.1 # The rules of accessibility that the pages are checked by.
dicomweb_client_version=0.11.3 # The npm library; the Python one is in requirements.txt.

# Prints a line of ours, set apart from what the tools print.
say() { printf '==> %s\n' "$*" >&2; }

# Prints why we stop, and stops.
die() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

has() { command -v "$1" >/dev/null 2>&1; }

# What a build needs; said before cargo says it less clearly.
need_toolchain() {
    has cargo || die "cargo is missing; install Rust 1.95 or later (https://rustup.rs)"
    has cc || die "a C compiler is missing; install gcc (Debian: apt-get install gcc libc6-dev)"
}

# Where cargo puts what it builds.
target_dir() {
    local manifest=$root/Cargo.toml
    if [[ -n ${CARGO_TARGET_DIR:-} ]]; then
        (cd "$root" && realpath -m "$CARGO_TARGET_DIR")
    else
        cargo metadata --manifest-path "$manifest" --format-version 1 --no-deps --locked |
            sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p'
    fi
}

# A TCP port of loopback that was free a moment ago.
free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# The folder of PostgreSQL's server programs, the newest version; empty when there is none.
postgres_bin() {
    local found
    found=$(compgen -G '/usr/lib/postgresql/*/bin/initdb' | sort -V | tail -n 1 || true)
    if [[ -n $found ]]; then
        dirname "$found"
    elif has initdb; then
        dirname "$(command -v initdb)"
    fi
}
