//! Which versions of a model should serve.

use super::MAX_INSPECTED;
use crate::error::{Error, Result, ensure, err};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// Which of the versions found should serve, as TensorFlow Serving and Triton have it. Spelled
/// `latest(2)`, `all` or `specific(3,5)`; plain `latest` is `latest(1)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VersionPolicy {
    /// The newest ones, this many. One that is incomplete or cannot be loaded does not count: an
    /// older one serves until it can.
    Latest(usize),
    /// Every version (the newest 1,000).
    All,
    /// These versions, whatever else there is.
    Specific(Vec<u64>),
}

impl Default for VersionPolicy {
    fn default() -> Self {
        VersionPolicy::Latest(1)
    }
}

/// Versions beyond the wanted number that a scan looks into, so that an older one can serve while
/// newer ones are incomplete or broken.
const LOOK_BACK: usize = 8;

impl VersionPolicy {
    /// The versions that the policy would have serve if all of `found` could be loaded, newest
    /// first.
    pub fn wanted(&self, found: &[u64]) -> Vec<u64> {
        match self {
            VersionPolicy::Latest(n) => newest(found, *n),
            _ => self.candidates(found),
        }
    }

    /// The versions worth looking into, newest first: the wanted ones, and those that may stand
    /// in for them.
    pub(super) fn candidates(&self, found: &[u64]) -> Vec<u64> {
        match self {
            VersionPolicy::Latest(n) => newest(found, n.saturating_add(LOOK_BACK)),
            VersionPolicy::All => newest(found, MAX_INSPECTED),
            VersionPolicy::Specific(versions) => {
                let there: Vec<u64> =
                    versions.iter().copied().filter(|v| found.contains(v)).collect();
                newest(&there, MAX_INSPECTED)
            }
        }
    }
}

fn newest(found: &[u64], n: usize) -> Vec<u64> {
    let mut versions = found.to_vec();
    versions.sort_unstable_by(|a, b| b.cmp(a));
    versions.dedup();
    versions.truncate(n.min(MAX_INSPECTED));
    versions
}

impl fmt::Display for VersionPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            VersionPolicy::Latest(n) => write!(f, "latest({n})"),
            VersionPolicy::All => f.write_str("all"),
            VersionPolicy::Specific(versions) => {
                let list: Vec<String> = versions.iter().map(u64::to_string).collect();
                write!(f, "specific({})", list.join(","))
            }
        }
    }
}

impl FromStr for VersionPolicy {
    type Err = Error;

    /// # Errors
    /// `InvalidArgument` for anything but the three forms, for `latest(0)` and for no version.
    fn from_str(text: &str) -> Result<VersionPolicy> {
        let wrong = || {
            err!(
                InvalidArgument,
                "version policy {text:?}: expected latest(n), all or specific(v, …)"
            )
        };
        let text = text.trim();
        let (name, inside) = match text.split_once('(') {
            Some((name, rest)) => {
                (name.trim_end(), Some(rest.strip_suffix(')').ok_or_else(wrong)?))
            }
            None => (text, None),
        };
        match (name, inside) {
            ("latest", None) => Ok(VersionPolicy::Latest(1)),
            ("all", None) => Ok(VersionPolicy::All),
            ("latest", Some(n)) => {
                let n = n.trim().parse().map_err(|_| wrong())?;
                ensure!(n >= 1, InvalidArgument, "version policy latest(0) would serve nothing");
                Ok(VersionPolicy::Latest(n))
            }
            ("specific", Some(list)) => {
                let versions: Result<Vec<u64>> =
                    list.split(',').map(|v| v.trim().parse().map_err(|_| wrong())).collect();
                Ok(VersionPolicy::Specific(versions?))
            }
            _ => Err(wrong()),
        }
    }
}

/// The policies of a repository.
#[derive(Debug, Clone, Default)]
pub struct Policies {
    /// For models without one of their own: `latest(1)` by default.
    pub default: VersionPolicy,
    /// By model.
    pub models: BTreeMap<String, VersionPolicy>,
    /// Whether the last serving versions of a model are unloaded when its folder, or the whole
    /// repository, has vanished or is empty. Off by default: a folder that was emptied by mistake
    /// or unmounted takes nothing out of service.
    pub unload_missing: bool,
}

impl Policies {
    /// The policy of a model.
    pub fn of(&self, model: &str) -> &VersionPolicy {
        self.models.get(model).unwrap_or(&self.default)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_read_as_they_are_written() {
        for (text, policy) in [
            ("latest(2)", VersionPolicy::Latest(2)),
            ("all", VersionPolicy::All),
            ("specific(3,5)", VersionPolicy::Specific(vec![3, 5])),
        ] {
            assert_eq!(text.parse::<VersionPolicy>().unwrap(), policy);
            assert_eq!(policy.to_string(), text);
        }
        assert_eq!("latest".parse::<VersionPolicy>().unwrap(), VersionPolicy::default());
        let spaced: VersionPolicy = " specific ( 3 , 5 ) ".parse().unwrap();
        assert_eq!(spaced, VersionPolicy::Specific(vec![3, 5]));
        for text in
            ["", "latest(0)", "latest(", "latest(x)", "latest(-1)", "all()", "specific()", "newest"]
        {
            assert!(text.parse::<VersionPolicy>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn what_each_policy_wants() {
        let found = [9, 3, 10, 5, 1];
        for (policy, wanted) in [
            ("latest", vec![10]),
            ("latest(3)", vec![10, 9, 5]),
            ("latest(99)", vec![10, 9, 5, 3, 1]),
            ("all", vec![10, 9, 5, 3, 1]),
            ("specific(3,7,5,3)", vec![5, 3]),
        ] {
            assert_eq!(policy.parse::<VersionPolicy>().unwrap().wanted(&found), wanted, "{policy}");
        }
        let many: Vec<u64> = (1..=100_000).collect();
        assert_eq!(VersionPolicy::All.candidates(&many).len(), MAX_INSPECTED);
        assert_eq!(VersionPolicy::default().candidates(&many).len(), 1 + LOOK_BACK);
        assert_eq!(VersionPolicy::Latest(usize::MAX).candidates(&many).len(), MAX_INSPECTED);
    }
}
