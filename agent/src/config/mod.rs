//! The configuration file: read, checked as a whole, typed.
//!
//! Everything that can be known to be wrong without a connection is an error here (exit status 2),
//! with the place in the file where the parser knows it. Nothing later has to doubt a name, a
//! pattern or a schedule.

mod extra;
mod file;
mod flow;
mod link;

pub(crate) use extra::{Extra, OnExtra};
pub(crate) use flow::Flow;
pub(crate) use link::{Direction, LinkConfig, LinkOptions, Mode, Schedule};

use crate::conninfo::{Endpoint, Environment, resolve};
use crate::error::{Error, Kind, Result};
use file::File;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// Where the package puts it.
pub(crate) const DEFAULT_PATH: &str = "/etc/syncjournal/agent.toml";

/// A database that takes part.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Node {
    /// Its name here, and the name of the peer at the other end of its links.
    pub(crate) name: String,
    pub(crate) endpoint: Endpoint,
}

/// A valid configuration.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) nodes: BTreeMap<String, Arc<Node>>,
    pub(crate) links: Vec<Arc<LinkConfig>>,
}

impl Config {
    pub(crate) fn load(path: &Path, environment: &Environment) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|error| {
            Error::config(format!("could not read configuration file \"{}\"", path.display()))
                .caused_by(error)
                .hint("Name the file by --config, or put it at /etc/syncjournal/agent.toml.")
        })?;
        Self::parse(&text, environment)
            .map_err(|error| error.at(format_args!("configuration file \"{}\"", path.display())))
    }

    fn parse(text: &str, environment: &Environment) -> Result<Self> {
        let file: File = toml::from_str(text)
            .map_err(|error| Error::config(error.to_string().trim_end().to_owned()))?;
        let mut nodes = BTreeMap::new();
        for (name, table) in file.node {
            check_name("node", &name)?;
            let endpoint = resolve(&table.dsn, environment)
                .map_err(|error| error.at(format_args!("node \"{name}\"")))?;
            nodes.insert(name.clone(), Arc::new(Node { name, endpoint }));
        }
        let mut links: Vec<Arc<LinkConfig>> = Vec::new();
        for table in file.link {
            check_name("link", &table.name)?;
            let name = table.name.clone();
            if links.iter().any(|link| link.name == name) {
                return Err(Error::config(format!("link \"{name}\" is given twice")));
            }
            let link = LinkConfig::from_table(table, &nodes)
                .map_err(|error| error.at(format_args!("link \"{name}\"")))?;
            links.push(Arc::new(link));
        }
        if let Some(http) = file.http {
            tracing::warn!(listen = %http.listen, "[http] is not served by this version");
        }
        let config = Self { nodes, links };
        config.active_flows()?;
        Ok(config)
    }

    /// Two nodes and the way from one to the other, for the tests of other modules.
    #[cfg(test)]
    pub(crate) fn example_flow() -> Flow {
        let text = "[node.a]\ndsn = \"host=/tmp\"\n[node.b]\ndsn = \"host=/tmp\"\n\
                    [[link]]\nname = \"a-b\"\nsource = \"a\"\ndestination = \"b\"\n";
        let environment = Environment::of_pairs(&[], "me");
        let config = Self::parse(text, &environment).expect("it is valid");
        config.active_flows().expect("it is valid").remove(0)
    }

    pub(crate) fn node(&self, name: &str) -> Result<&Arc<Node>> {
        self.nodes.get(name).ok_or_else(|| {
            let known: Vec<&str> = self.nodes.keys().map(String::as_str).collect();
            Error::config(format!("no node \"{name}\" in the configuration"))
                .hint(format!("Its nodes are: {}.", known.join(", ")))
        })
    }

    /// The links of these names, or all active ones where none is named.
    pub(crate) fn links(&self, names: &[String]) -> Result<Vec<Arc<LinkConfig>>> {
        if names.is_empty() {
            return Ok(self.links.iter().filter(|link| link.active).cloned().collect());
        }
        names.iter().map(|name| self.link(name)).collect()
    }

    /// The ways that active links go, each once; push before pull.
    pub(crate) fn active_flows(&self) -> Result<Vec<Flow>> {
        self.flows_of(&self.links(&[])?)
    }

    /// The ways that these links go, each once, with all active links that go the same way: what
    /// is brought for one must not leave out what another selects.
    pub(crate) fn flows_of(&self, links: &[Arc<LinkConfig>]) -> Result<Vec<Flow>> {
        let mut flows: Vec<Flow> = Vec::new();
        for one in links.iter().flat_map(|link| link.flows()) {
            match flows.iter_mut().find(|known| known.has_ends_of(&one)) {
                Some(known) => known.merge(&one)?,
                None => flows.push(one),
            }
        }
        for link in self.links.iter().filter(|link| link.active) {
            for one in link.flows() {
                if let Some(known) = flows.iter_mut().find(|known| known.has_ends_of(&one)) {
                    known.merge(&one)?;
                }
            }
        }
        for place in 0..flows.len() {
            let back = flows.iter().any(|other| {
                other.source.name == flows[place].target.name
                    && other.target.name == flows[place].source.name
            });
            flows[place].two_way |= back;
        }
        flows.iter().try_for_each(Flow::check_extra)?;
        Ok(flows)
    }

    pub(crate) fn link(&self, name: &str) -> Result<Arc<LinkConfig>> {
        self.links.iter().find(|link| link.name == name).cloned().ok_or_else(|| {
            let known: Vec<&str> = self.links.iter().map(|link| link.name.as_str()).collect();
            Error::config(format!("no link \"{name}\" in the configuration"))
                .hint(format!("Its links are: {}.", known.join(", ")))
        })
    }
}

/// Names go into `application_name`, which Postgres cuts at 63 bytes and strips of all but ASCII.
fn check_name(what: &str, name: &str) -> Result<()> {
    let fits = !name.is_empty() && name.len() <= 50 && name.chars().all(|c| c.is_ascii_graphic());
    if fits {
        return Ok(());
    }
    Err(Error::new(Kind::Config, format!("\"{name}\" cannot be the name of a {what}"))
        .hint("Names have 1 to 50 printable ASCII characters and no spaces."))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODES: &str = "[node.hq]\ndsn = \"host=/tmp dbname=a\"\n[node.b]\ndsn = \"host=/tmp\"\n";

    fn parse(rest: &str) -> Result<Config> {
        Config::parse(&format!("{NODES}{rest}"), &Environment::of_pairs(&[], "me"))
    }

    fn link(more: &str) -> Result<Config> {
        parse(&format!("[[link]]\nname = \"x\"\nsource = \"hq\"\ndestination = \"b\"\n{more}"))
    }

    #[test]
    fn defaults() {
        let config = link("").unwrap();
        let link = &config.links[0];
        assert!(link.active);
        assert_eq!(link.direction, Direction::Push);
        assert_eq!(config.active_flows().unwrap().len(), 1);
        assert!(link.selection.selects("any", "thing"));
    }

    #[test]
    fn both_ways_are_two_flows() {
        let config = link("direction = \"both\"").unwrap();
        let flows = config.active_flows().unwrap();
        assert_eq!(flows[0].source.name, "hq");
        assert_eq!(flows[1].source.name, "b");
        let pull = link("direction = \"pull\"").unwrap();
        assert_eq!(pull.active_flows().unwrap()[0].source.name, "b");
    }

    #[test]
    fn mistakes_are_errors_of_configuration() {
        for bad in [
            "direction = \"sideways\"",
            "mode = \"plan\"",
            "mode = \"live\"\nschedule = \"* * * * *\"",
            "mode = \"plan\"\nschedule = \"now and then\"",
            "include = [\"a..b\"]",
            "inclde = [\"*\"]",
            "include = []",
            "[[link]]\nname = \"x\"\nsource = \"hq\"\ndestination = \"b\"",
            "[[link]]\nname = \"y\"\nsource = \"hq\"\ndestination = \"hq\"",
            "[[link]]\nname = \"y\"\nsource = \"hq\"\ndestination = \"nowhere\"",
            "[[link]]\nname = \"y\"\nsource = \"b\"\ndestination = \"hq\"\n\
             direction = \"pull\"\nmode = \"once\"",
            "exclude = [\"s.a*\"]\n[[link]]\nname = \"y\"\nsource = \"hq\"\n\
             destination = \"b\"\ninclude = [\"s.ab\"]",
            "stop_on = [\"2350\"]",
            "constraints = \"maybe\"",
            "on_extra = \"drop\"",
            "on_extra = \"delete\"\nmax_delete_fraction = 1.5",
            "on_extra = \"report\"\nmax_delete_rows = 5",
            "on_extra = \"delete\"\ndirection = \"both\"",
            "[[link]]\nname = \"a b\"\nsource = \"hq\"\ndestination = \"b\"",
            "[node.c]\ndsn = \"host=a port=x\"",
        ] {
            let error = link(bad).expect_err(bad);
            assert_eq!(error.kind, Kind::Config, "{bad}");
        }
    }

    #[test]
    fn links_between_the_same_nodes_are_one_flow() {
        let second = "include = [\"s.a\"]\nstop_on = [\"23\"]\n[[link]]\nname = \"y\"\n\
                      source = \"b\"\ndestination = \"hq\"\ndirection = \"both\"\n\
                      include = [\"s.*\"]\nexclude = [\"s.b\"]\n";
        let config = link(second).unwrap();
        let flows = config.active_flows().unwrap();
        assert_eq!(flows.len(), 2);
        assert_eq!(flows[0].links, ["x", "y"]);
        assert_eq!((flows[0].include.len(), flows[0].exclude.len()), (2, 1));
        assert!(flows[0].two_way && flows[1].two_way);
        assert_eq!(flows[0].options.stop_on.as_deref(), Some(&["23".to_owned()][..]));
        assert_eq!(flows[1].links, ["y"]);
        // By whichever name it is called: the union.
        let named = config.flows_of(&config.links(&["x".into()]).unwrap()).unwrap();
        assert_eq!(named.len(), 1);
        assert!(named[0].selection.selects("s", "c"));
    }

    #[test]
    fn a_named_link_may_be_inactive() {
        let config = link("active = false").unwrap();
        assert!(config.links(&[]).unwrap().is_empty());
        assert_eq!(config.links(&["x".into()]).unwrap().len(), 1);
        assert!(config.links(&["z".into()]).is_err());
    }
}
