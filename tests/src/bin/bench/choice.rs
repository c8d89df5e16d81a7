//! What to measure, and how much of it: from the environment, so that `make bench ONLY=…` says it.

/// The wishes of whoever runs it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Choice {
    /// Beginnings of measurements' names; empty for all.
    only: Vec<String>,
    /// Names of systems; empty for all. The baseline of a measurement always runs.
    peers: Vec<String>,
    /// Sizes are multiplied by it.
    scale: f64,
    pub(crate) rounds: usize,
}

impl Choice {
    /// From the variables ONLY, PEERS, SCALE and ROUNDS.
    pub(crate) fn from_environment() -> Result<Self, String> {
        Self::of(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
    }

    fn of(variable: impl Fn(&str) -> Option<String>) -> Result<Self, String> {
        let list = |name| {
            let text = variable(name).unwrap_or_default();
            text.split([',', ' ']).filter(|w| !w.is_empty()).map(str::to_owned).collect::<Vec<_>>()
        };
        let scale = variable("SCALE").map_or(Ok(1.0), |text| text.parse::<f64>());
        let scale = scale.ok().filter(|scale| *scale > 0.0 && scale.is_finite());
        let rounds = variable("ROUNDS").map_or(Ok(5), |text| text.parse::<usize>());
        let rounds = rounds.ok().filter(|rounds| *rounds > 0);
        Ok(Self {
            only: list("ONLY"),
            peers: list("PEERS"),
            scale: scale.ok_or("SCALE is a number above 0: 1 is full size, 0.01 a trial")?,
            rounds: rounds.ok_or("ROUNDS is a whole number above 0")?,
        })
    }

    pub(crate) fn wants_help(&self) -> bool {
        self.only.iter().any(|name| name == "help")
    }

    pub(crate) fn wants(&self, measurement: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| measurement.starts_with(only.as_str()))
    }

    pub(crate) fn wants_peer(&self, peer: &str) -> bool {
        self.peers.is_empty() || self.peers.iter().any(|only| only == peer)
    }

    /// A full size by the scale, but never below `least`.
    pub(crate) fn size(&self, full: usize, least: usize) -> usize {
        let full = f64::from(u32::try_from(full).expect("sizes are below four billion"));
        // Rounded to a whole number that is not negative: nothing is lost.
        ((full * self.scale).round() as usize).max(least)
    }

    pub(crate) fn scale(&self) -> f64 {
        self.scale
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choice(pairs: &[(&str, &str)]) -> Result<Choice, String> {
        let value =
            |name: &str| pairs.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
        Choice::of(value)
    }

    #[test]
    fn without_a_word_everything_at_full_size() {
        let all = choice(&[]).unwrap();
        assert_eq!((all.rounds, all.size(500_000, 10)), (5, 500_000));
        assert!(all.wants("apply") && all.wants_peer("slony") && !all.wants_help());
    }

    #[test]
    fn a_name_chooses_all_that_begin_with_it() {
        let some = choice(&[("ONLY", "capture, idle"), ("SCALE", "0.01"), ("PEERS", "native")]);
        let some = some.unwrap();
        assert!(some.wants("capture-bulk") && some.wants("idle") && !some.wants("apply"));
        assert!(some.wants_peer("native") && !some.wants_peer("slony"));
        assert_eq!((some.size(500_000, 10), some.size(5, 10)), (5_000, 10));
        assert!(choice(&[("ONLY", "help")]).unwrap().wants_help());
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in [("SCALE", "0"), ("SCALE", "much"), ("ROUNDS", "0"), ("SCALE", "inf")] {
            assert!(choice(&[bad]).is_err(), "{bad:?}");
        }
    }
}
