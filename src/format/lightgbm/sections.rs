//! The parts of the text: the head, the trees one after the other, the tail.

use crate::error::{Result, bail, ensure};
use std::str::Lines;

/// Declares a struct of optional texts, filled by key.
macro_rules! fields {
    ($(#[$doc:meta])* $name:ident { $($field:ident: $key:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Default, Clone)]
        pub(super) struct $name<'a> {
            $(pub(super) $field: Option<&'a str>,)*
            /// The head alone: margins are averages.
            pub(super) average: bool,
        }

        impl<'a> $name<'a> {
            /// Takes a line; keys that are not known are passed over.
            fn take(&mut self, line: &'a str) {
                let (key, value) = line.split_once('=').unwrap_or((line, ""));
                match key {
                    $($key => self.$field = Some(value),)*
                    "average_output" => self.average = true,
                    _ => {}
                }
            }
        }
    };
}

fields! {
    /// What the head says.
    Head {
        version: "version",
        num_class: "num_class",
        trees_per_iteration: "num_tree_per_iteration",
        max_feature: "max_feature_idx",
        objective: "objective",
        feature_names: "feature_names",
        feature_infos: "feature_infos",
        tree_sizes: "tree_sizes",
    }
}

fields! {
    /// What a tree says: one number for each leaf, or for each inner node.
    TreeFields {
        num_leaves: "num_leaves",
        num_cat: "num_cat",
        split_feature: "split_feature",
        split_gain: "split_gain",
        threshold: "threshold",
        decision_type: "decision_type",
        left_child: "left_child",
        right_child: "right_child",
        leaf_value: "leaf_value",
        leaf_count: "leaf_count",
        internal_count: "internal_count",
        cat_boundaries: "cat_boundaries",
        cat_threshold: "cat_threshold",
        is_linear: "is_linear",
        leaf_const: "leaf_const",
        num_features: "num_features",
        leaf_features: "leaf_features",
        leaf_coeff: "leaf_coeff",
    }
}

/// What follows the trees.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Tail<'a> {
    /// Labels of pandas' categories: JSON.
    pub(super) pandas_categorical: Option<&'a str>,
    /// The parameter `categorical_feature`.
    pub(super) categorical_feature: Option<&'a str>,
    /// The parameter `boosting`.
    pub(super) boosting: Option<&'a str>,
}

/// A part after the head.
#[derive(Debug)]
pub(super) enum Section<'a> {
    Tree(Box<TreeFields<'a>>),
    Tail(Tail<'a>),
}

/// Reads part after part, so that the cost of a file is that of its largest tree.
#[derive(Debug)]
pub(super) struct Sections<'a> {
    lines: Lines<'a>,
    /// Whether a tree's first line was just read.
    in_tree: bool,
    seen: usize,
}

/// Whether the line ends the trees; files from before version 2.3 lack the first of these.
fn ends_trees(line: &str) -> bool {
    matches!(line, "end of trees" | "feature importances:" | "feature_importances:" | "parameters:")
}

impl<'a> Sections<'a> {
    pub(super) fn new(text: &'a str) -> Result<Sections<'a>> {
        let mut lines = text.lines();
        ensure!(
            lines.find(|l| !l.trim().is_empty()).is_some_and(|l| l.trim_end() == "tree"),
            InvalidModel,
            "not a LightGBM text model: its first line is not 'tree'"
        );
        Ok(Sections { lines, in_tree: false, seen: 0 })
    }

    pub(super) fn head(&mut self) -> Result<Head<'a>> {
        let mut head = Head::default();
        loop {
            // A model without trees has no first tree to end its head.
            let here = self.lines.clone();
            let Some(line) = self.lines.next() else {
                bail!(InvalidModel, "the file ends in its head");
            };
            if line.starts_with("Tree=") {
                self.in_tree = true;
                return Ok(head);
            }
            if ends_trees(line) {
                self.lines = here;
                return Ok(head);
            }
            head.take(line);
        }
    }

    pub(super) fn next(&mut self) -> Result<Section<'a>> {
        if !self.in_tree {
            // Only the line that ends the trees can be next.
            self.lines.next();
            return Ok(Section::Tail(self.tail()));
        }
        let mut fields = Box::<TreeFields<'_>>::default();
        loop {
            let here = self.lines.clone();
            let Some(line) = self.lines.next() else {
                bail!(InvalidModel, "the file ends in tree {}", self.seen);
            };
            if line.starts_with("Tree=") {
                break;
            }
            if ends_trees(line) {
                self.lines = here;
                self.in_tree = false;
                break;
            }
            fields.take(line);
        }
        self.seen += 1;
        Ok(Section::Tree(fields))
    }

    fn tail(&mut self) -> Tail<'a> {
        let mut tail = Tail::default();
        for line in self.lines.by_ref() {
            let parameter = |name: &str| line.strip_prefix(name)?.strip_suffix(']');
            if let Some(json) = line.strip_prefix("pandas_categorical:") {
                tail.pandas_categorical = Some(json);
            } else if let Some(list) = parameter("[categorical_feature: ") {
                tail.categorical_feature = Some(list);
            } else if let Some(name) = parameter("[boosting: ") {
                tail.boosting = Some(name);
            }
        }
        tail
    }
}
