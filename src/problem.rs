//! What keeps a file from being loaded, collected while it is read and compiled: one look at a
//! file tells everything that is wrong with it.

use crate::error::{Error, ErrorKind, Result};
use serde::{Serialize, Serializer};
use std::collections::HashMap;
use std::fmt::{self, Display};

/// Nodes that are named for one problem.
const NAMED: usize = 20;
/// Different problems that are kept of one file; more are counted.
const KEPT: usize = 256;
/// Problems that an error tells beside the operators that are not implemented.
const TOLD: usize = 20;
/// Characters of a name, and of a reason, that are kept.
const NAME_CHARS: usize = 120;
const REASON_CHARS: usize = 2000;
/// The reason of operators that the library has not.
const NOT_IMPLEMENTED: &str = "not implemented";

/// One reason why a model cannot be loaded, with the nodes it concerns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Problem {
    /// The kind of error that loading ends with.
    #[serde(serialize_with = "by_name")]
    pub kind: ErrorKind,
    /// What is wrong; `not implemented` for an operator that the library has not.
    pub message: String,
    /// The operator with its domain (`ai.onnx:Conv`), where nodes of one are concerned.
    pub operator: Option<String>,
    /// The opset version that these nodes are written for.
    pub opset: Option<i64>,
    /// The names of the nodes, the first 20.
    pub nodes: Vec<String>,
    /// How many nodes there are; 0 where no node is concerned.
    pub count: u64,
}

fn by_name<S: Serializer>(kind: &ErrorKind, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(kind.name())
}

impl Problem {
    /// Whether an operator is not implemented at all.
    pub fn is_missing_operator(&self) -> bool {
        self.operator.is_some() && self.message == NOT_IMPLEMENTED
    }

    /// The operator with its opset and nodes.
    fn place(&self) -> Option<String> {
        let mut place = format!("{} (", self.operator.as_ref()?);
        if let Some(version) = self.opset {
            place.push_str(&format!("opset {version}; "));
        }
        place.push_str(if self.count == 1 { "node" } else { "nodes" });
        place.push_str(&format!(" '{}'", self.nodes.join("', '")));
        let more = self.count.saturating_sub(self.nodes.len() as u64);
        if more > 0 {
            place.push_str(&format!(" and {more} more"));
        }
        place.push(')');
        Some(place)
    }
}

impl Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place() {
            Some(place) => write!(f, "{place}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

/// After which problems a file is read on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum ReadOn {
    /// After none: the first is the error.
    #[default]
    Never,
    /// After what the library has not: a file that is loaded.
    Unsupported,
    /// After everything but a limit: a file that is inspected.
    Always,
}

/// A node, as problems name it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct At<'a> {
    /// The operator with its domain.
    pub operator: &'a str,
    /// The opset version, where one is known.
    pub opset: Option<i64>,
    /// Its name in the file; may be empty.
    pub node: &'a str,
    /// What it writes, to name a node without a name by.
    pub output: &'a str,
}

/// The problems of one file.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    read_on: ReadOn,
    list: Vec<Problem>,
    /// Where in the list operator, opset and reason are.
    index: HashMap<(Option<String>, Option<i64>, String), usize>,
    more: u64,
    /// The first that is no missing operator, in full.
    first: Option<(ErrorKind, String)>,
    /// How many there are beside missing operators.
    errors: u64,
    /// Where reading is: bodies and functions, the outermost first.
    places: Vec<String>,
}

impl Problems {
    /// None yet.
    pub(crate) fn new(read_on: ReadOn) -> Problems {
        Problems { read_on, ..Problems::default() }
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Notes an error after which reading goes on.
    ///
    /// # Errors
    /// The error itself, where reading does not go on.
    pub(crate) fn note(&mut self, error: Error, at: Option<At<'_>>) -> Result<()> {
        let goes_on = match (self.read_on, error.kind()) {
            (ReadOn::Never, _) | (_, ErrorKind::LimitExceeded) => false,
            (ReadOn::Unsupported, kind) => kind == ErrorKind::Unsupported,
            (ReadOn::Always, _) => true,
        };
        if !goes_on {
            return Err(error);
        }
        self.add(&error, at);
        Ok(())
    }

    /// What was read, or `None` after a problem that was noted.
    ///
    /// # Errors
    /// As [`Problems::note`].
    pub(crate) fn noted<T>(&mut self, read: Result<T>) -> Result<Option<T>> {
        match read {
            Ok(value) => Ok(Some(value)),
            Err(error) => self.note(error, None).map(|()| None),
        }
    }

    /// Reads a part of the file that messages call `place`.
    ///
    /// # Errors
    /// What `read` says, with the place before it.
    pub(crate) fn within<T>(
        &mut self,
        place: impl Display,
        read: impl FnOnce(&mut Problems) -> Result<T>,
    ) -> Result<T> {
        self.places.push(place.to_string());
        let result = read(self);
        self.places.pop();
        result.map_err(|e| e.context(place))
    }

    /// Adds an error.
    pub(crate) fn add(&mut self, error: &Error, at: Option<At<'_>>) {
        self.errors = self.errors.saturating_add(1);
        let full = |places: &[String]| -> String {
            let places = places.iter().map(|place| format!("{place}: "));
            places.chain([error.message().to_string()]).collect()
        };
        if self.first.is_none() {
            self.first = Some((error.kind(), full(&self.places)));
        }
        let reason = match at {
            Some(at) => reason(error.message(), at.node).to_string(),
            None => full(&self.places),
        };
        self.enter(error.kind(), shortened(&reason, REASON_CHARS), at);
    }

    /// Adds a node of an operator that the library has not.
    pub(crate) fn add_missing(&mut self, at: At<'_>) {
        self.enter(ErrorKind::Unsupported, NOT_IMPLEMENTED.to_string(), Some(at));
    }

    fn enter(&mut self, kind: ErrorKind, reason: String, at: Option<At<'_>>) {
        let operator = at.map(|at| shortened(at.operator, NAME_CHARS));
        let opset = at.and_then(|at| at.opset);
        let key = (operator, opset, reason);
        let problem = match self.index.get(&key) {
            Some(&i) => self.list.get_mut(i),
            None if self.list.len() >= KEPT => None,
            None => {
                let (operator, opset, message) = key.clone();
                self.index.insert(key, self.list.len());
                self.list.push(Problem {
                    kind,
                    message,
                    operator,
                    opset,
                    nodes: Vec::new(),
                    count: 0,
                });
                self.list.last_mut()
            }
        };
        match (problem, at) {
            (Some(problem), Some(at)) => {
                problem.count += 1;
                if problem.nodes.len() < NAMED {
                    problem.nodes.push(name(at));
                }
            }
            (Some(_), None) => {}
            (None, _) => self.more = self.more.saturating_add(1),
        }
    }

    /// All of them in one error; `Internal` where there is none.
    pub(crate) fn error(&self) -> Error {
        let (missing, others): (Vec<&Problem>, Vec<&Problem>) =
            self.list.iter().partition(|p| p.is_missing_operator());
        if let (true, 1, Some((kind, message))) = (missing.is_empty(), self.errors, &self.first) {
            return Error::new(*kind, message.clone());
        }
        let mut parts = Vec::new();
        if !missing.is_empty() {
            let all: Vec<String> = missing.iter().filter_map(|p| p.place()).collect();
            parts.push(format!("operators that are not implemented: {}", all.join("; ")));
        }
        parts.extend(others.iter().take(TOLD).map(ToString::to_string));
        let untold = others.len().saturating_sub(TOLD) as u64;
        let untold = untold.saturating_add(self.more);
        if untold > 0 {
            parts.push(format!("and {untold} problems more"));
        }
        let kind = match (missing.is_empty(), &self.first) {
            (false, _) => ErrorKind::Unsupported,
            (true, Some((kind, _))) => *kind,
            (true, None) => ErrorKind::Internal,
        };
        Error::new(kind, parts.join("; "))
    }

    /// The list, and how many problems are not in it.
    pub(crate) fn into_list(self) -> (Vec<Problem>, u64) {
        (self.list, self.more)
    }
}

/// What is wrong with the node, without the words that name it.
fn reason<'m>(message: &'m str, node: &str) -> &'m str {
    message
        .strip_prefix("node '")
        .and_then(|rest| rest.strip_prefix(node))
        .and_then(|rest| rest.strip_prefix('\''))
        .and_then(|rest| rest.split_once(": "))
        .map_or(message, |(_, reason)| reason)
}

/// The node's name, or what tells it where it has none.
fn name(at: At<'_>) -> String {
    match (at.node, at.output) {
        ("", "") => String::new(),
        ("", output) => format!("(writes {})", shortened(output, NAME_CHARS)),
        (name, _) => shortened(name, NAME_CHARS),
    }
}

fn shortened(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::err;

    fn at<'a>(operator: &'a str, node: &'a str) -> At<'a> {
        At { operator, opset: Some(17), node, output: "y" }
    }

    #[test]
    fn a_single_error_stays_as_it_is() {
        let mut problems = Problems::new(ReadOn::Always);
        problems
            .within("function 'F'", |p| p.note(err!(InvalidModel, "node 'n': bad"), None))
            .unwrap();
        let e = problems.error();
        assert_eq!(e.kind(), ErrorKind::InvalidModel);
        assert_eq!(e.to_string(), "function 'F': node 'n': bad");
    }

    #[test]
    fn nodes_with_one_reason_are_one_problem_with_at_most_twenty_names() {
        let mut problems = Problems::new(ReadOn::Always);
        for i in 0..25 {
            let node = format!("n{i}");
            let error = err!(Unsupported, "node '{node}': Conv: auto_pad");
            problems.note(error, Some(at("ai.onnx:Conv", &node))).unwrap();
            problems.add_missing(At { node: "", ..at("ai.onnx:Foo", "") });
        }
        let e = problems.error();
        assert_eq!(e.kind(), ErrorKind::Unsupported);
        let text = e.to_string();
        assert!(text.starts_with("operators that are not implemented: ai.onnx:Foo (opset 17;"));
        assert!(text.contains("'(writes y)' and 5 more)"), "{text}");
        assert!(text.contains("'n19' and 5 more): Conv: auto_pad"), "{text}");
        let (list, more) = problems.into_list();
        assert_eq!((list.len(), more), (2, 0));
        assert_eq!((list[0].nodes.len(), list[0].count), (20, 25));
        assert!(!list[0].is_missing_operator() && list[1].is_missing_operator());
    }

    #[test]
    fn reading_goes_on_after_what_it_is_told_to() {
        let limit = || err!(LimitExceeded, "too much");
        let gone = || err!(NotFound, "gone");
        let unknown = || err!(Unsupported, "unknown");
        for (read_on, ends) in [
            (ReadOn::Never, [true, true, true]),
            (ReadOn::Unsupported, [true, true, false]),
            (ReadOn::Always, [true, false, false]),
        ] {
            let mut problems = Problems::new(read_on);
            let ended = [limit(), gone(), unknown()].map(|e| problems.note(e, None).is_err());
            assert_eq!(ended, ends, "{read_on:?}");
        }
    }

    #[test]
    fn what_a_hostile_file_can_make_the_list_hold_is_bounded() {
        let mut problems = Problems::new(ReadOn::Always);
        for i in 0..10_000 {
            let op = format!("{}{i}", "x".repeat(4000));
            problems.add_missing(at(&op, &op));
            problems.add(&err!(InvalidModel, "reason {i} {op}"), None);
        }
        assert!(problems.error().to_string().len() < 200_000);
        let (list, more) = problems.into_list();
        assert!(list.len() <= KEPT && more > 9_000, "{} {more}", list.len());
    }
}
