//! The file as it is written.

use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::SocketAddr;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    #[serde(default)]
    pub(super) node: BTreeMap<String, NodeTable>,
    #[serde(default)]
    pub(super) link: Vec<LinkTable>,
    pub(super) http: Option<HttpTable>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NodeTable {
    pub(super) dsn: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HttpTable {
    pub(super) listen: SocketAddr,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LinkTable {
    pub(super) name: String,
    pub(super) source: String,
    pub(super) destination: String,
    #[serde(default)]
    pub(super) direction: DirectionWord,
    #[serde(default)]
    pub(super) mode: ModeWord,
    pub(super) schedule: Option<String>,
    #[serde(default = "everything")]
    pub(super) include: Vec<String>,
    #[serde(default)]
    pub(super) exclude: Vec<String>,
    #[serde(default = "yes")]
    pub(super) active: bool,
    pub(super) constraints: Option<ConstraintsWord>,
    pub(super) stop_on: Option<Vec<String>>,
    pub(super) slices: Option<Vec<String>>,
    pub(super) allow_backward: Option<bool>,
    pub(super) on_extra: Option<OnExtraWord>,
    pub(super) max_delete_rows: Option<u64>,
    pub(super) max_delete_fraction: Option<f64>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum OnExtraWord {
    Keep,
    Report,
    Delete,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum ConstraintsWord {
    Trust,
    Enforce,
}

impl ConstraintsWord {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Trust => "trust",
            Self::Enforce => "enforce",
        }
    }
}

#[derive(Debug, Default, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum DirectionWord {
    #[default]
    Push,
    Pull,
    Both,
}

#[derive(Debug, Default, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum ModeWord {
    Once,
    Plan,
    #[default]
    Live,
}

fn everything() -> Vec<String> {
    vec!["*.*".to_owned()]
}

fn yes() -> bool {
    true
}
