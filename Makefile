# syncjournal: `make demo` shows it, `make test` checks it, `make install` installs it.
#
#   PG_CONFIG   the server to build for (default: the distribution's Postgres 15)
#   PREFIX      where the agent goes (default: /usr/local)
#   DESTDIR     put before every installed path, for packagers

PREFIX ?= /usr/local
export PG_CONFIG DESTDIR ONLY PEERS SCALE ROUNDS

TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)
LIBRARY = $(TARGET_DIR)/release/libsyncjournal.so
BINDIR = $(DESTDIR)$(PREFIX)/bin
UNITDIR = $(DESTDIR)$(PREFIX)/lib/systemd/system

.PHONY: help deps build demo test bench converge install

help:
	@sed -n 's/^# \{0,1\}//; 1,5p' Makefile
	@echo
	@echo "make deps      install what is missing to build and test (Debian, Ubuntu)"
	@echo "make demo      two private clusters, a live link, a sync set by file: one screen"
	@echo "make test      everything that is tested"
	@echo "make install   extension into the server of PG_CONFIG, agent into PREFIX"
	@echo "make converge  three nodes written at once, in every topology under every policy; SECONDS=60"
	@echo "make bench     figures beside other systems, on this machine (ONLY=help lists them)"

deps:
	@scripts/deps

build:
	@scripts/build --release

bench: deps
	@scripts/bench

# Topologies and policies can be chosen, see tests/src/bin/converge.
SECONDS ?= 60
converge: deps
	@SYNCJOURNAL_CONVERGE_SECONDS=$(SECONDS) scripts/converge

demo: deps
	@scripts/demo

test: deps
	@scripts/test

# `sudo make install` after `make build` builds nothing as root.
install:
	@if [ -z "$$SUDO_USER" ]; then scripts/build --release; fi
	@test -f $(LIBRARY) || { echo 'run "make build" first, as yourself' >&2; exit 1; }
	scripts/install-extension $(LIBRARY)
	install -d "$(BINDIR)" "$(UNITDIR)" "$(DESTDIR)$(PREFIX)/share/syncjournal"
	install -m 0755 $(TARGET_DIR)/release/syncjournal-agent "$(BINDIR)/"
	install -m 0644 packaging/agent.toml "$(DESTDIR)$(PREFIX)/share/syncjournal/"
	sed 's|^ExecStart=/usr/bin/|ExecStart=$(PREFIX)/bin/|' packaging/syncjournal-agent.service \
	    >"$(UNITDIR)/syncjournal-agent.service"
