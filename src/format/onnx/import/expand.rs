//! Expanding the calls of local functions.

use super::super::function::{Context, Function, Key};
use super::super::opset;
use super::super::proto::AttributeProto;
use super::Importer;
use crate::error::{Result, bail, ensure, err};
use crate::graph::{Node, ValueId};
use std::collections::HashMap;

impl Importer<'_> {
    /// Expands a call of a local function into the present graph.
    pub(super) fn call(
        &mut self,
        key: Key,
        function: &Function,
        attributes: Vec<AttributeProto>,
        inputs: &[Option<ValueId>],
        outputs: &[Option<ValueId>],
    ) -> Result<()> {
        if self.calls.contains(&key) {
            let path: Vec<&str> = self.calls.iter().map(|k| k.1.as_str()).collect();
            bail!(
                InvalidModel,
                "function '{}' calls itself ({} → {})",
                key.1,
                path.join(" → "),
                key.1
            );
        }
        ensure!(
            self.calls.len() < self.limits.function_depth,
            LimitExceeded,
            "functions that call each other more than {} deep",
            self.limits.function_depth
        );
        self.expansion_left = self.expansion_left.checked_sub(function.cost).ok_or_else(|| {
            err!(LimitExceeded, "expanding the functions copies far more than the file holds")
        })?;
        ensure!(
            inputs.len() <= function.inputs.len() && outputs.len() <= function.outputs.len(),
            InvalidModel,
            "{} inputs and {} outputs, but the function has {} and {}",
            inputs.len(),
            outputs.len(),
            function.inputs.len(),
            function.outputs.len()
        );
        let mut given = HashMap::new();
        for attribute in function.defaults.iter().cloned().chain(attributes) {
            // Its names would be looked up in the function instead of where it was written.
            ensure!(
                attribute.g.is_none(),
                Unsupported,
                "graph attribute '{}' of a function call",
                attribute.name
            );
            given.insert(attribute.name.clone(), attribute);
        }
        self.calls.push(key);
        self.scopes.enter_function();
        let read = self.body(function, &given, inputs, outputs);
        self.scopes.leave_function();
        self.calls.pop();
        read
    }

    fn body(
        &mut self,
        function: &Function,
        given: &HashMap<String, AttributeProto>,
        inputs: &[Option<ValueId>],
        outputs: &[Option<ValueId>],
    ) -> Result<()> {
        for (i, name) in function.inputs.iter().enumerate() {
            self.value_name("a function's input", name)?;
            self.scopes.bind(name, inputs.get(i).copied().flatten(), true)?;
        }
        let mut targets: HashMap<&str, Option<ValueId>> = HashMap::new();
        for (i, name) in function.outputs.iter().enumerate() {
            self.value_name("a function's output", name)?;
            let target = outputs.get(i).copied().flatten();
            if self.scopes.is_bound(name) {
                self.pass_through(name, target, function)?;
                continue;
            }
            let twice = targets.insert(name, target).is_some();
            ensure!(!twice, InvalidModel, "two outputs of the function are named '{name}'");
        }
        for name in function.nodes.iter().flat_map(|n| &n.output).filter(|n| !n.is_empty()) {
            self.value_name("a node's output", name)?;
            match targets.remove(name.as_str()).flatten() {
                Some(target) => self.scopes.bind(name, Some(target), false)?,
                None => self.scopes.declare(name, None, false).map(drop)?,
            }
        }
        if let Some(name) = targets.keys().min() {
            bail!(InvalidModel, "the function's output '{name}' is produced by nothing");
        }
        let context = Context { opsets: &function.opsets, attributes: Some(given) };
        for node in &function.nodes {
            self.node(node.clone(), &context)?;
        }
        Ok(())
    }

    /// An output of a function that is one of its inputs.
    fn pass_through(
        &mut self,
        name: &str,
        target: Option<ValueId>,
        function: &Function,
    ) -> Result<()> {
        let Some(target) = target else { return Ok(()) };
        let Some(Some(from)) = self.scopes.resolve(name) else {
            bail!(InvalidModel, "the function's output '{name}' is an input that was left out");
        };
        self.scopes.graph().nodes.push(Node {
            op: "Identity".into(),
            version: opset::version(&function.opsets, "").unwrap_or(13),
            inputs: vec![Some(from)],
            outputs: vec![Some(target)],
            ..Node::default()
        });
        Ok(())
    }
}
