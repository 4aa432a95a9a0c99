//! Order and well-formedness of a graph, checked once before anything is compiled.

use super::{Graph, ValueId};
use crate::error::{Result, bail, ensure};

/// The order in which the nodes can run (indices into `graph.nodes`), by Kahn's algorithm.
///
/// # Errors
/// `InvalidModel` when two nodes write one value, a node writes a constant, input or captured
/// value, a value is read that nothing writes, or the graph has a cycle (its nodes are listed).
pub fn topological_order(graph: &Graph) -> Result<Vec<usize>> {
    const NONE: u32 = u32::MAX;
    let n = graph.values.len();
    let mut writer = vec![NONE; n];
    let mut given = vec![false; n];
    let check = |id: ValueId| -> Result<usize> {
        ensure!(id.index() < n, InvalidModel, "value number {} does not exist", id.0);
        Ok(id.index())
    };
    for (i, v) in graph.values.iter().enumerate() {
        given[i] = v.constant.is_some();
    }
    for &id in graph.inputs.iter().chain(graph.captures.iter().map(|c| &c.inner)) {
        given[check(id)?] = true;
    }
    for (k, node) in graph.nodes.iter().enumerate() {
        for &out in node.outputs.iter().flatten() {
            let i = check(out)?;
            let name = &graph.values[i].name;
            ensure!(
                !given[i] && writer[i] == NONE,
                InvalidModel,
                "value '{name}' is written more than once (node '{}', {})",
                node.name,
                node.qualified_op()
            );
            writer[i] = k as u32;
        }
    }
    let mut waits = vec![0usize; graph.nodes.len()];
    let mut readers: Vec<Vec<u32>> = vec![Vec::new(); graph.nodes.len()];
    for (k, node) in graph.nodes.iter().enumerate() {
        for id in node.reads() {
            let i = check(id)?;
            if writer[i] != NONE {
                waits[k] += 1;
                readers[writer[i] as usize].push(k as u32);
            } else if !given[i] && graph.values[i].missing.is_none() {
                bail!(
                    InvalidModel,
                    "value '{}' is read by node '{}' ({}) but nothing produces it",
                    graph.values[i].name,
                    node.name,
                    node.qualified_op()
                );
            }
        }
    }
    for &id in &graph.outputs {
        let i = check(id)?;
        ensure!(
            given[i] || writer[i] != NONE || graph.values[i].missing.is_some(),
            InvalidModel,
            "graph output '{}' is produced by nothing",
            graph.values[i].name
        );
    }
    // A min-heap keeps file order among nodes that are ready together, so that plans are stable.
    let mut ready: std::collections::BinaryHeap<std::cmp::Reverse<usize>> =
        (0..waits.len()).filter(|&k| waits[k] == 0).map(std::cmp::Reverse).collect();
    let mut order = Vec::with_capacity(waits.len());
    while let Some(std::cmp::Reverse(k)) = ready.pop() {
        order.push(k);
        for &r in &readers[k] {
            let r = r as usize;
            waits[r] -= 1;
            if waits[r] == 0 {
                ready.push(std::cmp::Reverse(r));
            }
        }
    }
    if order.len() < graph.nodes.len() {
        let stuck: Vec<String> = (0..waits.len())
            .filter(|&k| waits[k] > 0)
            .take(8)
            .map(|k| format!("'{}' ({})", graph.nodes[k].name, graph.nodes[k].qualified_op()))
            .collect();
        bail!(InvalidModel, "the graph has a cycle through the nodes {}", stuck.join(", "));
    }
    Ok(order)
}

#[cfg(test)]
mod tests {
    use super::super::Node;
    use super::*;

    fn node(op: &str, inputs: &[u32], outputs: &[u32]) -> Node {
        Node {
            op: op.into(),
            name: op.to_lowercase(),
            inputs: inputs.iter().map(|&i| Some(ValueId(i))).collect(),
            outputs: outputs.iter().map(|&i| Some(ValueId(i))).collect(),
            ..Node::default()
        }
    }

    fn graph(values: u32, nodes: Vec<Node>) -> Graph {
        let mut g = Graph { nodes, ..Graph::default() };
        for i in 0..values {
            g.add_value(format!("v{i}"), None);
        }
        g.inputs = vec![ValueId(0)];
        g
    }

    #[test]
    fn nodes_out_of_order_are_ordered() {
        let g = graph(3, vec![node("B", &[1], &[2]), node("A", &[0], &[1])]);
        assert_eq!(topological_order(&g).unwrap(), [1, 0]);
    }

    #[test]
    fn what_could_not_be_read_counts_as_written() {
        let mut g = graph(3, vec![node("A", &[2], &[1])]);
        g.values[2].missing = Some(crate::graph::Missing::Content);
        assert_eq!(topological_order(&g).unwrap(), [0]);
    }

    #[test]
    fn cycles_double_writers_and_dangling_reads_are_refused() {
        let cycle = graph(3, vec![node("A", &[2], &[1]), node("B", &[1], &[2])]);
        let e = topological_order(&cycle).unwrap_err().to_string();
        assert!(e.contains("cycle") && e.contains("'a' (A)") && e.contains("'b' (B)"), "{e}");
        let twice = graph(2, vec![node("A", &[0], &[1]), node("B", &[0], &[1])]);
        assert!(topological_order(&twice).unwrap_err().to_string().contains("more than once"));
        let dangling = graph(3, vec![node("A", &[2], &[1])]);
        assert!(topological_order(&dangling).unwrap_err().to_string().contains("nothing produces"));
        let own_input = graph(2, vec![node("A", &[1], &[0])]);
        assert!(topological_order(&own_input).is_err());
    }
}
