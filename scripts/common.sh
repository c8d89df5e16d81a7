# Sourced by the other scripts: where things are, and which Postgres is meant.
# shellcheck shell=bash

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
TARGET_DIR=${CARGO_TARGET_DIR:-$ROOT/target}
# The extension is compiled for one major version of Postgres.
PG_MAJOR=15

fail() {
  printf 'syncjournal: %s\n' "$*" >&2
  exit 1
}

say() {
  printf '\n==> %s\n' "$*"
}

# The server's own pg_config is preferred to the one in PATH: Debian's /usr/bin/pg_config
# belongs to libpq-dev and may speak of another version than the server's.
find_pg_config() {
  local candidate
  if [ -n "${PG_CONFIG:-}" ]; then
    command -v "$PG_CONFIG" || fail "PG_CONFIG=$PG_CONFIG is not a program"
    return
  fi
  for candidate in "/usr/lib/postgresql/$PG_MAJOR/bin/pg_config" pg_config; do
    if command -v "$candidate"; then
      return
    fi
  done
  fail "no pg_config found: install Postgres $PG_MAJOR, or set PG_CONFIG=/path/to/pg_config"
}

require_supported_version() {
  local version
  version=$("$1" --version)
  [[ $version =~ ^PostgreSQL\ ${PG_MAJOR}[^0-9] ]] ||
    fail "$1 belongs to $version, and this version of syncjournal is built for Postgres $PG_MAJOR:" \
      "set PG_CONFIG to the pg_config of a Postgres $PG_MAJOR"
}
