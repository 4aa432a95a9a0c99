//! Names to numbers, through nested graphs and functions.
//!
//! A *level* is a graph under construction within the one before it. A *frame* is a set of names:
//! one for each level, and one for each function that is being expanded into a level. Names are
//! looked up from the last frame outwards, but never beyond a function's own frame.

use crate::error::{Result, ensure};
use crate::graph::{Capture, Graph, ValueId, ValueType};
use std::collections::HashMap;

#[derive(Default)]
struct Level {
    graph: Graph,
    /// The inner number of each outer value captured so far.
    captured: HashMap<ValueId, ValueId>,
}

struct Frame {
    level: usize,
    names: HashMap<String, Name>,
    /// Whether the names of the frames before are out of sight.
    closed: bool,
}

#[derive(Clone, Copy)]
struct Name {
    /// `None` for an input of a function that its call left out.
    value: Option<ValueId>,
    /// Whether what defines it comes before the node at hand.
    reached: bool,
}

/// The graphs under construction and the names in sight.
#[derive(Default)]
pub(super) struct Scopes {
    levels: Vec<Level>,
    frames: Vec<Frame>,
}

impl Scopes {
    /// How many graphs are under construction, one within the other.
    pub(super) fn depth(&self) -> usize {
        self.levels.len()
    }

    /// Begins a graph within the present one.
    pub(super) fn enter_graph(&mut self, name: String) {
        let graph = Graph { name, ..Graph::default() };
        self.frames.push(Frame { level: self.levels.len(), names: HashMap::new(), closed: false });
        self.levels.push(Level { graph, captured: HashMap::new() });
    }

    /// Ends the present graph and hands it out.
    pub(super) fn leave_graph(&mut self) -> Graph {
        self.frames.pop();
        self.levels.pop().map(|level| level.graph).unwrap_or_default()
    }

    /// Begins the names of a function that is expanded into the present graph.
    pub(super) fn enter_function(&mut self) {
        let level = self.levels.len().saturating_sub(1);
        self.frames.push(Frame { level, names: HashMap::new(), closed: true });
    }

    /// Ends the names of that function.
    pub(super) fn leave_function(&mut self) {
        self.frames.pop();
    }

    /// The present graph.
    pub(super) fn graph(&mut self) -> &mut Graph {
        if self.levels.is_empty() {
            self.levels.push(Level::default());
        }
        let last = self.levels.len() - 1;
        &mut self.levels[last].graph
    }

    /// Gives a name of the present frame to a value.
    ///
    /// # Errors
    /// `InvalidModel` when the frame has that name already.
    pub(super) fn bind(&mut self, name: &str, value: Option<ValueId>, reached: bool) -> Result<()> {
        if let Some(frame) = self.frames.last_mut() {
            let twice = frame.names.insert(name.to_string(), Name { value, reached }).is_some();
            ensure!(!twice, InvalidModel, "value '{name}' is defined more than once");
        }
        Ok(())
    }

    /// Adds a value of that name to the present graph and frame.
    ///
    /// # Errors
    /// As [`Scopes::bind`].
    pub(super) fn declare(
        &mut self,
        name: &str,
        declared: Option<ValueType>,
        reached: bool,
    ) -> Result<ValueId> {
        let id = self.graph().add_value(name, declared);
        self.bind(name, Some(id), reached)?;
        Ok(id)
    }

    /// Whether the present frame itself has that name.
    pub(super) fn is_bound(&self, name: &str) -> bool {
        self.frames.last().is_some_and(|f| f.names.contains_key(name))
    }

    /// The value that the present frame itself calls so.
    pub(super) fn own(&self, name: &str) -> Option<ValueId> {
        self.frames.last()?.names.get(name)?.value
    }

    /// Marks a name of the present frame as defined from here on.
    pub(super) fn reach(&mut self, name: &str) -> Option<ValueId> {
        let entry = self.frames.last_mut()?.names.get_mut(name)?;
        entry.reached = true;
        entry.value
    }

    /// The present graph's number of what `name` means here: `None` where nothing is called so,
    /// `Some(None)` for an optional input that was left out. A value from outside is captured
    /// through all graphs between.
    pub(super) fn resolve(&mut self, name: &str) -> Option<Option<ValueId>> {
        // A name that is defined only later in an inner graph does not hide one that is already
        // defined outside: files list nodes in order.
        let (level, found) =
            self.find(name, |n| n.reached).or_else(|| self.find(name, |_| true))?;
        Some(found.map(|id| self.lift(id, level)))
    }

    fn find(&self, name: &str, accept: impl Fn(&Name) -> bool) -> Option<(usize, Option<ValueId>)> {
        for frame in self.frames.iter().rev() {
            match frame.names.get(name) {
                Some(entry) if accept(entry) => return Some((frame.level, entry.value)),
                _ if frame.closed => return None,
                _ => {}
            }
        }
        None
    }

    /// The innermost graph's number of a value of the graph at `level`.
    fn lift(&mut self, id: ValueId, level: usize) -> ValueId {
        let mut id = id;
        let mut outer: Option<(String, Option<ValueType>)> = None;
        for level in self.levels.iter_mut().skip(level) {
            if let Some((name, declared)) = outer {
                id = *level.captured.entry(id).or_insert_with(|| {
                    let inner = level.graph.add_value(name, declared);
                    level.graph.captures.push(Capture { inner, outer: id });
                    inner
                });
            }
            let info = level.graph.value(id);
            outer = Some((info.name.clone(), info.declared.clone()));
        }
        id
    }
}
