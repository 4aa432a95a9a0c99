//! Answers of ONNX Runtime 1.32 for the same attributes, and what must be refused.

mod agreement;

use crate::attribute::Attribute;
use crate::error::ErrorKind;
use crate::kernel::testing::{Op, assert_close, strings, t};
use crate::tensor::Tensor;

fn names(names: &[&str]) -> Attribute {
    Attribute::Strings(names.iter().map(|n| n.as_bytes().to_vec().into()).collect())
}

/// `x[0] <= 0` leads to leaf 1, else to leaf 2; `weights` are (node, target, weight).
fn stump(op: &'static str, kind: &str, weights: &[(i64, i64, f32)]) -> Op {
    let key = |k: &str| format!("{kind}_{k}");
    Op::ml(op, 3)
        .attr("nodes_treeids", Attribute::Ints(vec![0; 3]))
        .attr("nodes_nodeids", Attribute::Ints(vec![0, 1, 2]))
        .attr("nodes_featureids", Attribute::Ints(vec![0; 3]))
        .attr("nodes_modes", names(&["BRANCH_LEQ", "LEAF", "LEAF"]))
        .attr("nodes_values", Attribute::Floats(vec![0.0, 7.0, 8.0]))
        .attr("nodes_truenodeids", Attribute::Ints(vec![1, 0, 0]))
        .attr("nodes_falsenodeids", Attribute::Ints(vec![2, 0, 0]))
        .attr(&key("treeids"), Attribute::Ints(vec![0; weights.len()]))
        .attr(&key("nodeids"), Attribute::Ints(weights.iter().map(|w| w.0).collect()))
        .attr(&key("ids"), Attribute::Ints(weights.iter().map(|w| w.1).collect()))
        .attr(&key("weights"), Attribute::Floats(weights.iter().map(|w| w.2).collect()))
}

fn regressor(targets: i64, weights: &[(i64, i64, f32)]) -> Op {
    stump("TreeEnsembleRegressor", "target", weights).int("n_targets", targets)
}

fn classifier(labels: &[i64], weights: &[(i64, i64, f32)]) -> Op {
    stump("TreeEnsembleClassifier", "class", weights)
        .attr("classlabels_int64s", Attribute::Ints(labels.to_vec()))
        .outputs(2)
}

fn post(op: Op, name: &str) -> Op {
    op.attr("post_transform", Attribute::String(name.into()))
}

fn rows() -> Tensor {
    t(&[2, 1], &[-1f32, 1.0])
}

#[test]
fn a_lone_target_takes_base_values_but_no_transform() {
    let op = regressor(1, &[(1, 0, 1.5), (2, 0, 2.5)])
        .attr("base_values", Attribute::Floats(vec![0.25]));
    let x = t(&[3, 1], &[-1f32, 1.0, f32::NAN]);
    assert_eq!(post(op, "LOGISTIC").run1(&[x]), t(&[3, 1], &[1.75f32, 2.75, 2.75]));
    // A leaf without weights answers the node's own value; of several the first counts.
    let op = regressor(1, &[(2, 0, 0.6), (2, 0, 5.0)]);
    assert_eq!(op.run1(&[rows()]), t(&[2, 1], &[7f32, 0.6]));
}

#[test]
fn a_target_that_no_leaf_reaches_stays_zero() {
    for aggregate in ["SUM", "AVERAGE", "MIN", "MAX"] {
        let op = regressor(2, &[(1, 0, 0.3), (2, 1, 0.6)])
            .attr("base_values", Attribute::Floats(vec![10.0, 20.0]))
            .attr("aggregate_function", Attribute::String(aggregate.into()));
        assert_eq!(op.run1(&[rows()]), t(&[2, 2], &[10.3f32, 0.0, 0.0, 20.6]));
    }
    let op = post(regressor(2, &[(1, 0, 0.3), (1, 1, 0.4), (2, 1, 0.6)]), "SOFTMAX_ZERO");
    assert_close(&op.run1(&[rows()]), &t(&[2, 2], &[0.475_020_83f32, 0.524_979_2, 0.0, 1.0]));
}

#[test]
fn two_classes_follow_the_sign_or_one_half() {
    // One weighted class, no negative weight: 0.5 decides.
    let outputs = classifier(&[3, 7], &[(1, 0, 0.3), (2, 0, 0.8)]).run(&[rows()]).unwrap();
    assert_eq!(outputs[0], t(&[2], &[3i64, 7]));
    assert_close(&outputs[1], &t(&[2, 2], &[0.7f32, 0.3, 0.2, 0.8]));
    let op = post(classifier(&[3, 7], &[(1, 0, 0.3), (2, 0, 0.8)]), "LOGISTIC");
    let outputs = op.run(&[rows()]).unwrap();
    assert_eq!(outputs[0], t(&[2], &[3i64, 7]));
    let expected = [0.425_557_5f32, 0.574_442_5, 0.310_025_5, 0.689_974_5];
    assert_close(&outputs[1], &t(&[2, 2], &expected));
    // Weights of the second class alone, one of them negative: the sign decides.
    let outputs = classifier(&[3, 7], &[(1, 1, -0.3), (2, 1, 0.8)]).run(&[rows()]).unwrap();
    assert_eq!(outputs[0], t(&[2], &[3i64, 7]));
    assert_close(&outputs[1], &t(&[2, 2], &[0.0f32, -0.3, 0.0, 0.8]));
    // Weights of both: the label is 1 or 0, whatever the integer labels are.
    let both = [(1, 0, 0.7), (1, 1, 0.3), (2, 0, 0.2), (2, 1, 0.8)];
    let outputs = classifier(&[3, 7], &both).run(&[rows()]).unwrap();
    assert_eq!(outputs[0], t(&[2], &[1i64, 1]));
    let op = classifier(&[3, 7], &both).attr("base_values", Attribute::Floats(vec![0.1, 0.2]));
    assert_close(&op.run(&[rows()]).unwrap()[1], &t(&[2, 2], &[-0.9f32, 0.9, -0.4, 0.4]));
}

#[test]
fn many_classes_take_the_largest_seen_score() {
    let op = stump("TreeEnsembleClassifier", "class", &[(1, 1, -0.3), (2, 1, 0.8)])
        .attr("classlabels_strings", names(&["a", "b", "c"]))
        .outputs(2);
    let outputs = op.run(&[rows()]).unwrap();
    assert_eq!(outputs[0], strings(&[2], &["b", "b"]));
    assert_eq!(outputs[1], t(&[2, 3], &[0f32, -0.3, 0.0, 0.0, 0.8, 0.0]));
}

/// Every mode at, below and above its threshold and at NaN, tracked or not.
#[test]
fn all_modes_and_missing_values() {
    let x = t(&[4, 1], &[-1f32, 0.5, 1.0, f32::NAN]);
    let cases = [
        ("BRANCH_LEQ", [1, 1, 0, 0], 1),
        ("BRANCH_LT", [1, 0, 0, 0], 1),
        ("BRANCH_GTE", [0, 1, 1, 0], 1),
        ("BRANCH_GT", [0, 0, 1, 0], 1),
        ("BRANCH_EQ", [0, 1, 0, 0], 1),
        ("BRANCH_NEQ", [1, 0, 1, 1], 1),
    ];
    for (mode, mut yes, tracked) in cases {
        for track in [0, 1] {
            if track == 1 {
                yes[3] = tracked;
            }
            let op = regressor(1, &[(1, 0, 1.0), (2, 0, 0.0)])
                .attr("nodes_modes", names(&[mode, "LEAF", "LEAF"]))
                .attr("nodes_values", Attribute::Floats(vec![0.5, 0.0, 0.0]))
                .attr("nodes_missing_value_tracks_true", Attribute::Ints(vec![track, 0, 0]));
            let expected: Vec<f32> = yes.iter().map(|&y| y as f32).collect();
            assert_eq!(op.run1(std::slice::from_ref(&x)), t(&[4, 1], &expected), "{mode} {track}");
            // Doubles a hair beside the threshold are told apart.
            let wide = t(&[1, 1], &[0.5f64 + 1e-12]);
            let right = matches!(mode, "BRANCH_GTE" | "BRANCH_GT" | "BRANCH_NEQ");
            assert_eq!(op.run1(&[wide]), t(&[1, 1], &[f32::from(u8::from(right))]), "{mode}");
        }
    }
}

#[test]
fn chains_of_equality_are_sets() {
    let k = 3;
    let op = Op::ml("TreeEnsembleRegressor", 1)
        .int("n_targets", 1)
        .attr("nodes_treeids", Attribute::Ints(vec![0; k + 2]))
        .attr("nodes_nodeids", Attribute::Ints((0..5).collect()))
        .attr("nodes_featureids", Attribute::Ints(vec![0; k + 2]))
        .attr("nodes_modes", names(&["BRANCH_EQ", "BRANCH_EQ", "BRANCH_EQ", "LEAF", "LEAF"]))
        .attr("nodes_values", Attribute::Floats(vec![1.0, 3.0, 40.0, 0.0, 0.0]))
        .attr("nodes_truenodeids", Attribute::Ints(vec![3, 3, 3, 0, 0]))
        .attr("nodes_falsenodeids", Attribute::Ints(vec![1, 2, 4, 0, 0]))
        .attr("target_treeids", Attribute::Ints(vec![0, 0]))
        .attr("target_nodeids", Attribute::Ints(vec![3, 4]))
        .attr("target_ids", Attribute::Ints(vec![0, 0]))
        .attr("target_weights", Attribute::Floats(vec![1.0, 2.0]));
    let x = t(&[7, 1], &[1f32, 3.0, 40.0, 1.5, -1.0, f32::NAN, 2.0]);
    assert_eq!(op.run1(&[x]), t(&[7, 1], &[1f32, 1.0, 1.0, 2.0, 2.0, 2.0, 2.0]));
}

fn version_5(mode: u8, members: &[f64], post: i64) -> Op {
    let tensor = |v: &[f64]| Attribute::Tensor(t(&[v.len()], v));
    Op::ml("TreeEnsemble", 5)
        .int("n_targets", 2)
        .int("post_transform", post)
        .attr("nodes_featureids", Attribute::Ints(vec![0]))
        .attr("nodes_trueleafs", Attribute::Ints(vec![1]))
        .attr("nodes_falseleafs", Attribute::Ints(vec![1]))
        .attr("nodes_truenodeids", Attribute::Ints(vec![0]))
        .attr("nodes_falsenodeids", Attribute::Ints(vec![1]))
        .attr("tree_roots", Attribute::Ints(vec![0]))
        .attr("nodes_modes", Attribute::Tensor(t(&[1], &[mode])))
        .attr("nodes_splits", tensor(&[0.1]))
        .attr("membership_values", tensor(members))
        .attr("leaf_targetids", Attribute::Ints(vec![0, 1]))
        .attr("leaf_weights", tensor(&[0.1, 0.2]))
}

#[test]
fn version_5_computes_and_answers_in_double() {
    let x = t(&[2, 1], &[0.1f64, 0.1 + 1e-15]);
    let y = version_5(0, &[], 0).run1(std::slice::from_ref(&x));
    assert_eq!(y, t(&[2, 2], &[0.1f64, 0.0, 0.0, 0.2]));
    let y = version_5(0, &[], 2).run1(&[x]);
    assert_close(&y, &t(&[2, 2], &[0.524_979_2f64, 0.475_020_8, 0.450_166, 0.549_834]));
    let x = t(&[4, 1], &[1.5f64, 3.0, 2.0, f64::NAN]);
    let y = version_5(6, &[1.5, 3.0, f64::NAN], 0).run1(&[x]);
    assert_eq!(y, t(&[4, 2], &[0.1f64, 0.0, 0.1, 0.0, 0.0, 0.2, 0.0, 0.2]));
}

/// A forest with leaves at many depths: the answer for a row is that of the row alone.
#[test]
fn batches_give_the_bits_of_single_rows() {
    let (mut tree, mut id, mut modes, mut yes, mut no) = (vec![], vec![], vec![], vec![], vec![]);
    let (mut feature, mut value) = (vec![], vec![]);
    let (mut leaf_tree, mut leaf_node, mut weight) = (vec![], vec![], vec![]);
    let mut seed = 1u32;
    let mut random = || {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 8) as f32 / (1 << 24) as f32
    };
    for t in 0..21i64 {
        // A path of 3 + t nodes with a leaf at each.
        let depth = 3 + t;
        for i in 0..depth {
            for (mode, y, n) in [("BRANCH_LEQ", 2 * i + 1, 2 * i + 2), ("LEAF", 0, 0)] {
                tree.push(t);
                id.push(id.len() as i64);
                modes.push(mode);
                yes.push(y);
                no.push(n);
                feature.push(((t + i) % 5).abs());
                value.push(random());
            }
        }
        tree.push(t);
        id.push(0);
        modes.push("LEAF");
        yes.push(0);
        no.push(0);
        feature.push(0);
        value.push(0.0);
        let first = id.len() - 2 * depth as usize - 1;
        for (i, slot) in id[first..].iter_mut().enumerate() {
            *slot = i as i64;
        }
        for i in (1..2 * depth).step_by(2).chain([2 * depth]) {
            leaf_tree.push(t);
            leaf_node.push(i);
            weight.push(random() - 0.5);
        }
    }
    let op = Op::ml("TreeEnsembleRegressor", 1)
        .int("n_targets", 1)
        .attr("nodes_treeids", Attribute::Ints(tree))
        .attr("nodes_nodeids", Attribute::Ints(id))
        .attr("nodes_featureids", Attribute::Ints(feature))
        .attr("nodes_modes", names(&modes))
        .attr("nodes_values", Attribute::Floats(value))
        .attr("nodes_truenodeids", Attribute::Ints(yes))
        .attr("nodes_falsenodeids", Attribute::Ints(no))
        .attr("target_treeids", Attribute::Ints(leaf_tree.clone()))
        .attr("target_nodeids", Attribute::Ints(leaf_node))
        .attr("target_ids", Attribute::Ints(vec![0; leaf_tree.len()]))
        .attr("target_weights", Attribute::Floats(weight))
        .threads(3);
    let x: Vec<f32> = (0..5 * 300).map(|_| random()).collect();
    let all = op.run1(&[t(&[300, 5], &x)]);
    for (i, row) in x.chunks(5).enumerate().step_by(7) {
        let alone = op.run1(&[t(&[1, 5], row)]);
        assert_eq!(alone.as_slice::<f32>().unwrap()[0], all.as_slice::<f32>().unwrap()[i]);
    }
}

#[test]
fn broken_trees_are_refused() {
    let good = || regressor(1, &[(1, 0, 1.5), (2, 0, 2.5)]);
    let ints = |v: &[i64]| Attribute::Ints(v.to_vec());
    let cases = [
        ("cycle", good().attr("nodes_truenodeids", ints(&[0, 0, 0]))),
        ("missing child", good().attr("nodes_truenodeids", ints(&[9, 0, 0]))),
        ("negative child", good().attr("nodes_falsenodeids", ints(&[-1, 0, 0]))),
        ("lengths", good().attr("nodes_featureids", ints(&[0, 0]))),
        ("feature", good().attr("nodes_featureids", ints(&[-1, 0, 0]))),
        ("huge feature", good().attr("nodes_featureids", ints(&[1 << 40, 0, 0]))),
        ("mode", good().attr("nodes_modes", names(&["BRANCH_X", "LEAF", "LEAF"]))),
        ("twice", good().attr("nodes_nodeids", ints(&[0, 1, 1]))),
        ("target", regressor(1, &[(1, 1, 1.5)])),
        ("weight of nobody", regressor(1, &[(8, 0, 1.5)])),
        ("no targets", good().int("n_targets", 0)),
        ("base", good().attr("base_values", Attribute::Floats(vec![1.0, 2.0]))),
        ("post", post(good(), "FOO")),
        ("scattered", good().attr("nodes_treeids", ints(&[0, 1, 0]))),
    ];
    for (what, op) in cases {
        let error = op.run(&[rows()]).expect_err(what);
        assert_eq!(error.kind(), ErrorKind::InvalidModel, "{what}: {error}");
    }
    let wide = good().attr("nodes_featureids", ints(&[3, 0, 0]));
    assert_eq!(wide.run(&[rows()]).unwrap_err().kind(), ErrorKind::InvalidInput);
    // A shared child is legal.
    let shared = good().attr("nodes_falsenodeids", ints(&[1, 0, 0]));
    assert_eq!(shared.run1(&[rows()]), t(&[2, 1], &[1.5f32, 1.5]));
    assert_eq!(good().run1(&[t(&[0, 1], &[0f32; 0])]).dims(), [0, 1]);
}

/// 64 levels of nodes whose two children are one: unfolded, 2^64 leaves.
#[test]
fn sharing_cannot_blow_up() {
    let n = 64i64;
    let next: Vec<i64> = (1..=n).chain([0]).collect();
    let mut modes = vec!["BRANCH_LEQ"; n as usize];
    modes.push("LEAF");
    let op = Op::ml("TreeEnsembleRegressor", 1)
        .int("n_targets", 1)
        .attr("nodes_treeids", Attribute::Ints(vec![0; 65]))
        .attr("nodes_nodeids", Attribute::Ints((0..65).collect()))
        .attr("nodes_featureids", Attribute::Ints(vec![0; 65]))
        .attr("nodes_modes", names(&modes))
        .attr("nodes_values", Attribute::Floats(vec![0.0; 65]))
        .attr("nodes_truenodeids", Attribute::Ints(next.clone()))
        .attr("nodes_falsenodeids", Attribute::Ints(next));
    assert_eq!(op.run(&[rows()]).unwrap_err().kind(), ErrorKind::LimitExceeded);
}

/// A chain of a million nodes; `after` says at which place the node after one stands.
fn chain(after: impl Fn(i64) -> i64) -> Op {
    const NODES: i64 = 1_000_000;
    let mut modes = vec!["BRANCH_LEQ"; NODES as usize];
    modes.push("LEAF");
    let count = modes.len();
    Op::ml("TreeEnsembleRegressor", 1)
        .int("n_targets", 1)
        .attr("nodes_treeids", Attribute::Ints(vec![0; count]))
        .attr("nodes_nodeids", Attribute::Ints((0..=NODES).collect()))
        .attr("nodes_featureids", Attribute::Ints(vec![0; count]))
        .attr("nodes_modes", names(&modes))
        .attr("nodes_values", Attribute::Floats(vec![0.0; count]))
        .attr("nodes_truenodeids", Attribute::Ints((0..NODES).map(after).chain([0]).collect()))
        .attr("nodes_falsenodeids", Attribute::Ints(vec![NODES; count]))
}

#[test]
fn a_million_nodes_in_a_row_are_refused_on_a_small_stack() {
    let refused = || {
        // Each node before the next one; and the first one last, where heights have to be searched.
        let down = chain(|i| i + 1);
        let up = chain(|i| match i {
            0 => 999_999,
            1 => 1_000_000,
            i => i - 1,
        });
        for op in [down, up] {
            let e = op.run(&[rows()]).unwrap_err();
            assert_eq!(e.kind(), ErrorKind::LimitExceeded, "{e}");
            assert!(e.to_string().contains("1000000 deep"), "{e}");
        }
    };
    std::thread::Builder::new().stack_size(512 << 10).spawn(refused).unwrap().join().unwrap();
}
