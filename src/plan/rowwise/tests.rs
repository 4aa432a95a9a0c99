use super::*;
use crate::graph::{Dim, Graph, Node, ValueId, ValueType};
use crate::limits::{LoadLimits, RequestLimits};
use crate::plan::{CompileOptions, PlanKind, RunOptions, compile};
use crate::problem::Problems;
use crate::threads::Threads;

/// A graph of float32 rows, node by node.
struct Net(Graph);

impl Net {
    fn new(width: usize) -> Net {
        let mut graph = Graph::default();
        let dims = Some(vec![Dim::Unknown, Dim::Fixed(width)]);
        let x = graph.add_value("x", Some(ValueType::Tensor { dtype: ElementType::F32, dims }));
        graph.inputs.push(x);
        Net(graph)
    }

    fn constant(&mut self, dims: &[usize]) -> ValueId {
        let n = dims.iter().product::<usize>();
        let seed = self.0.values.len();
        let data = (0..n).map(|i| ((i * 37 + seed * 11) % 101) as f32 / 50.0 - 1.0).collect();
        self.0.add_constant("", Tensor::from_vec::<f32>(dims, data).unwrap())
    }

    fn node(&mut self, op: &str, inputs: &[ValueId]) -> ValueId {
        let out = self.0.add_value("", None);
        self.0.nodes.push(Node {
            op: op.into(),
            version: 13,
            inputs: inputs.iter().copied().map(Some).collect(),
            outputs: vec![Some(out)],
            ..Node::default()
        });
        out
    }

    fn plan(mut self, outputs: &[ValueId]) -> Plan {
        self.0.outputs = outputs.to_vec();
        let limits = LoadLimits::default();
        let options = CompileOptions { limits: &limits, plan: PlanKind::Optimised };
        compile(self.0, options, &mut Problems::default()).unwrap()
    }
}

/// Rows through the program, one by one and together, and through the general path; how many
/// instructions the program has.
fn agree(plan: &Plan, x: &[f32], width: usize) -> usize {
    let program = plan.row_program().unwrap();
    let rows = x.len() / width;
    let threads = Threads::new(1);
    let limits = RequestLimits::default();
    let options = RunOptions { threads: &threads, limits: &limits, deadline: None, cancel: None };
    let input = Tensor::from_vec(&[rows, width], x.to_vec()).unwrap();
    let general = plan.run(smallvec::smallvec![input.into()], &[], options).unwrap();
    let bits = |v: &[f32]| v.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    let (mut together, mut alone) = (RowScratch::default(), RowScratch::default());
    assert!(program.run(plan, rows, &[RowInput::Numbers(x)], &mut together));
    for (i, output) in general.iter().enumerate() {
        let RowOutput::Floats { offset, width: columns } = *program.output(i).unwrap() else {
            panic!("output {i} is a class")
        };
        let expected = bits(output.as_tensor().unwrap().as_slice::<f32>().unwrap());
        assert_eq!(bits(together.floats(offset, columns)), expected, "output {i}");
        for (row, expected) in x.chunks(width).zip(expected.chunks(columns)) {
            assert!(program.run(plan, 1, &[RowInput::Numbers(row)], &mut alone));
            assert_eq!(bits(alone.floats(offset, columns)), expected, "output {i}");
        }
    }
    program.instructions.len()
}

fn rows(width: usize) -> Vec<f32> {
    let mut x: Vec<f32> = (0..29 * width).map(|i| ((i * 7) % 23) as f32 / 9.0 - 1.0).collect();
    x[3] = f32::NAN;
    x[width] = f32::INFINITY;
    x
}

#[test]
fn products_do_what_follows_them_and_weights_are_kept_once() {
    let mut net = Net::new(20);
    let (w, b, v, c) = (
        net.constant(&[20, 37]),
        net.constant(&[1, 37]),
        net.constant(&[37, 6]),
        net.constant(&[6]),
    );
    let h = net.node("MatMul", &[ValueId(0), w]);
    let h = net.node("Add", &[h, b]);
    let h = net.node("Relu", &[h]);
    let y = net.node("MatMul", &[h, v]);
    let y = net.node("Add", &[c, y]);
    let y = net.node("Softmax", &[y]);
    let plan = net.plan(&[y]);
    assert_eq!(agree(&plan, &rows(20), 20), 3);
    assert_eq!(plan.constant_bytes(), 4 * (37 + 6));
    assert!(plan.packed_bytes() < 4 * (20 * 40 + 8 + 37 + 37 * 8 + 8 + 6 + 1));
}

#[test]
fn gemm_takes_over_relu() {
    let mut net = Net::new(9);
    let (w, b) = (net.constant(&[9, 5]), net.constant(&[5]));
    let h = net.node("Gemm", &[ValueId(0), w, b]);
    let h = net.node("Relu", &[h]);
    let plan = net.plan(&[h]);
    assert_eq!(agree(&plan, &rows(9), 9), 1);
    assert_eq!(plan.constant_bytes(), 0);
}

#[test]
fn a_product_that_others_read_too_is_left_as_it_is() {
    // As an output of the graph.
    let mut net = Net::new(8);
    let (w, b) = (net.constant(&[8, 12]), net.constant(&[12]));
    let h = net.node("MatMul", &[ValueId(0), w]);
    let sum = net.node("Add", &[h, b]);
    let relu = net.node("Relu", &[sum]);
    let plan = net.plan(&[sum, relu]);
    assert_eq!(agree(&plan, &rows(8), 8), 2);
    // Under another name.
    let mut net = Net::new(8);
    let w = net.constant(&[8, 12]);
    let h = net.node("MatMul", &[ValueId(0), w]);
    let same = net.node("Identity", &[h]);
    let relu = net.node("Relu", &[same]);
    let negative = net.node("Neg", &[h]);
    let plan = net.plan(&[relu, negative]);
    assert_eq!(agree(&plan, &rows(8), 8), 3);
    // Its weights as an output.
    let mut net = Net::new(3);
    let w = net.constant(&[3, 4]);
    let h = net.node("MatMul", &[ValueId(0), w]);
    assert_eq!(net.plan(&[h, w]).constant_bytes(), 3 * 4 * 4);
}

#[test]
fn rows_of_a_relu_before_the_sum_keep_the_order() {
    let mut net = Net::new(6);
    let (w, b) = (net.constant(&[6, 10]), net.constant(&[10]));
    let h = net.node("MatMul", &[ValueId(0), w]);
    let h = net.node("Relu", &[h]);
    let h = net.node("Add", &[h, b]);
    let plan = net.plan(&[h]);
    assert_eq!(agree(&plan, &rows(6), 6), 2);
}
