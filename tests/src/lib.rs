//! Harness for tests on real Postgres clusters.
