//! Random ensembles: every compiled form answers what the plain walk does, bit for bit.

use super::super::forest::Forest;
use super::super::real::Real;
use super::super::walk::Pair;
use crate::ensemble::{
    Aggregate, CategorySet, Ensemble, LinearLeaf, Missing, Node, Precision, Split, Test,
};
use crate::kernel::simd::versions;
use crate::limits::LoadLimits;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// Small whole numbers and halves, so that thresholds are hit exactly, and now and then any.
fn value(rng: &mut StdRng) -> f64 {
    match rng.random_range(0..40) {
        0 => f64::NAN,
        1 => f64::INFINITY,
        2 => f64::NEG_INFINITY,
        3 => -0.0,
        4 => 1e-36,
        5..10 => rng.random_range(-3.0..3.0),
        _ => f64::from(rng.random_range(-6..6i32)) / 2.0,
    }
}

fn threshold(rng: &mut StdRng) -> f64 {
    match rng.random_range(0..200) {
        0 => f64::NAN,
        1 => f64::INFINITY,
        2 => f64::NEG_INFINITY,
        3 => -0.0,
        4..40 => rng.random_range(-3.0..3.0),
        _ => f64::from(rng.random_range(-6..6i32)) / 2.0,
    }
}

/// What a generated ensemble may contain.
#[derive(Clone, Copy)]
struct Kind {
    /// Only `<=` and `<`, so that trees are folded and nodes are small.
    simple: bool,
    features: u32,
    targets: usize,
    trees: usize,
    depth: u32,
    /// Thresholds are seldom the same.
    crowded: bool,
}

fn test(rng: &mut StdRng, kind: Kind, sets: u32) -> Test {
    let t = if kind.crowded { f64::from(rng.random_range(-3.0..3.0f32)) } else { threshold(rng) };
    match rng.random_range(0..if kind.simple { 8 } else { 14 }) {
        0..6 => Test::LessOrEqual(t),
        6..8 => Test::Less(t),
        8 => Test::GreaterOrEqual(t),
        9 => Test::Greater(t),
        10 => Test::NotEqual(t),
        11 if sets > 0 => Test::Member(rng.random_range(0..sets)),
        _ => Test::Equal(t),
    }
}

fn tree(rng: &mut StdRng, form: &mut Ensemble, kind: Kind, depth: u32) -> u32 {
    if depth == 0 || rng.random_bool(0.15) {
        let mut weights: Vec<(u32, f64)> =
            (0..kind.targets as u32).map(|t| (t, rng.random_range(-1.0..1.0))).collect();
        if !kind.simple && rng.random_bool(0.3) {
            weights.truncate(rng.random_range(0..=kind.targets));
        }
        let node = form.push_leaf(&weights);
        if !form.linear.is_empty()
            && rng.random_bool(0.3)
            && let Some(leaf) = form.leaves.last_mut()
        {
            leaf.linear = Some(rng.random_range(0..form.linear.len() as u32));
        }
        return node;
    }
    let missing = [
        Missing::Compared,
        Missing::Yes,
        Missing::No,
        Missing::ZeroYes,
        Missing::ZeroNo,
        Missing::AsZero,
    ][rng.random_range(0..6)];
    let at = form.nodes.len();
    form.nodes.push(Node::Leaf(0));
    let feature = rng.random_range(0..kind.features);
    let test = test(rng, kind, form.sets.len() as u32);
    let yes = tree(rng, form, kind, depth - 1);
    let no =
        if !kind.simple && rng.random_bool(0.05) { yes } else { tree(rng, form, kind, depth - 1) };
    form.nodes[at] = Node::Split(Split { feature, test, missing, yes, no });
    at as u32
}

fn ensemble(rng: &mut StdRng, features: Precision, sums: Precision) -> Ensemble {
    let kind = Kind {
        simple: rng.random_bool(0.6),
        features: rng.random_range(1..7),
        targets: if rng.random_bool(0.7) { 1 } else { rng.random_range(2..4) },
        trees: rng.random_range(1..40),
        depth: rng.random_range(0..7),
        crowded: false,
    };
    of_kind(rng, kind, features, sums)
}

fn of_kind(rng: &mut StdRng, kind: Kind, features: Precision, sums: Precision) -> Ensemble {
    let mut form = Ensemble::empty(kind.features as usize, kind.targets);
    form.arithmetic.features = features;
    form.arithmetic.sums = sums;
    if !kind.simple {
        for truncate in [false, true, false] {
            let values = (0..rng.random_range(1..5)).map(|_| threshold(rng)).collect();
            let negative_fractions = rng.random_bool(0.5);
            form.sets.push(CategorySet { values, truncate, negative_fractions });
        }
        form.aggregate = [Aggregate::Sum, Aggregate::Average, Aggregate::Min, Aggregate::Max]
            [rng.random_range(0..4)];
        // A linear leaf is a matter of doubles.
        if sums == Precision::F64 && features == Precision::F64 && rng.random_bool(0.3) {
            let target = rng.random_range(0..kind.targets as u32);
            let terms = vec![(0, 0.5), (kind.features - 1, -1.25)];
            form.linear.push(LinearLeaf { target, constant: 0.125, terms });
        }
    }
    for _ in 0..kind.trees {
        let root = tree(rng, &mut form, kind, kind.depth);
        form.roots.push(root);
    }
    if rng.random_bool(0.5) {
        form.base = (0..kind.targets).map(|_| rng.random_range(-1.0..1.0)).collect();
        form.arithmetic.base_first = rng.random_bool(0.5);
    }
    if rng.random_bool(0.2) {
        form.arithmetic.scale = 0.3;
    }
    form.check(&LoadLimits::default()).unwrap();
    form
}

/// Compares with the plain walk for some number of rows.
fn agrees<T: Pair<V>, V: Real>(form: &Ensemble, forest: &Forest<T, V>, rng: &mut StdRng) {
    let width = form.features;
    let rows = match rng.random_range(0..4) {
        0 => 1,
        1 => rng.random_range(2..20),
        2 => rng.random_range(20..70),
        _ => rng.random_range(70..700),
    };
    let x: Vec<T> = (0..rows * width).map(|_| T::of(value(rng))).collect();
    let mut seen_rows = 0;
    forest.score(rows, &x, width, |i, got, _| {
        assert_eq!(i, seen_rows);
        seen_rows += 1;
        let row: Vec<f64> = x[i * width..(i + 1) * width].iter().map(|v| v.f64()).collect();
        let expected = form.margins(&row);
        for (got, expected) in got.iter().zip(&expected) {
            let same =
                got.f64().to_bits() == expected.to_bits() || (got.is_nan() && expected.is_nan());
            assert!(same, "row {i} {row:?}: {got:?}, not {expected:?}\n{form:?}");
        }
    });
    assert_eq!(seen_rows, rows);
}

const ROUNDS: u64 = if cfg!(debug_assertions) { 2_500 } else { 10_000 };

#[test]
fn compiled_forests_answer_as_the_plain_walk() {
    let limits = LoadLimits::default();
    let mut folded = 0;
    for seed in 0..ROUNDS {
        let rng = &mut StdRng::seed_from_u64(seed);
        let form = ensemble(rng, Precision::F32, Precision::F32);
        let forest = Forest::<f32, f32>::new(&form, &limits, false).unwrap();
        folded += usize::from(forest.blend().is_some());
        agrees(&form, &forest, rng);

        let form = ensemble(rng, Precision::F32, Precision::F64);
        agrees(&form, &Forest::<f32, f64>::new(&form, &limits, false).unwrap(), rng);

        let form = ensemble(rng, Precision::F64, Precision::F64);
        let forest = Forest::<f64, f64>::new(&form, &limits, false).unwrap();
        folded += usize::from(forest.blend().is_some());
        agrees(&form, &forest, rng);

        // The same for single rows of floats.
        agrees(&form, &forest.narrowed().unwrap(), rng);

        let mut form = ensemble(rng, Precision::Input, Precision::F64);
        for node in &mut form.nodes {
            if let Node::Split(split) = node
                && let Test::LessOrEqual(t) | Test::Less(t) = &mut split.test
            {
                *t = f64::from(*t as f32);
            }
        }
        form.weights.iter_mut().for_each(|w| w.1 = f64::from(w.1 as f32));
        form.base.iter_mut().for_each(|b| *b = f64::from(*b as f32));
        if form.arithmetic.scale == 1.0 {
            let forest = Forest::<f32, f32>::new(&form, &limits, true).unwrap().widened();
            agrees(&form, &forest, rng);
        }
    }
    assert!(folded > 100, "{folded} forests were folded");
}

#[test]
fn a_row_answers_the_same_in_any_batch() {
    let limits = LoadLimits::default();
    for seed in 0..200 {
        let rng = &mut StdRng::seed_from_u64(1_000_000 + seed);
        let form = ensemble(rng, Precision::F32, Precision::F32);
        let forest = Forest::<f32, f32>::new(&form, &limits, false).unwrap();
        let (width, rows) = (form.features, 130);
        let x: Vec<f32> = (0..rows * width).map(|_| value(rng) as f32).collect();
        let mut together = Vec::new();
        forest.score(rows, &x, width, |_, got, _| together.push(got.to_vec()));
        let bits = |v: &[f32]| v.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        for (i, row) in x.chunks(width).enumerate() {
            forest.score(1, row, width, |_, got, _| assert_eq!(bits(got), bits(&together[i])));
        }
        versions::each(|| {
            forest.score(rows, &x, width, |i, got, _| assert_eq!(bits(got), bits(&together[i])));
        });
    }
}

#[test]
fn deep_trees_and_crowded_columns_answer_as_the_plain_walk() {
    let limits = LoadLimits::default();
    let (mut tops, mut crowded) = (0, 0);
    for seed in 0..if cfg!(debug_assertions) { 30 } else { 200 } {
        let rng = &mut StdRng::seed_from_u64(2_000_000 + seed);
        let kind = Kind {
            simple: true,
            features: rng.random_range(1..7),
            targets: rng.random_range(1..6),
            trees: rng.random_range(1..20),
            depth: rng.random_range(8..13),
            crowded: true,
        };
        let form = of_kind(rng, kind, Precision::F32, Precision::F32);
        let forest = Forest::<f32, f32>::new(&form, &limits, false).unwrap();
        let blend = forest.blend();
        tops += usize::from(blend.is_some_and(|b| (0..kind.trees).any(|t| !b.whole(t))));
        crowded += usize::from(blend.is_some_and(|b| b.scales() > forest.columns.list.len()));
        agrees(&form, &forest, rng);
        let form = of_kind(rng, kind, Precision::F64, Precision::F64);
        agrees(&form, &Forest::<f64, f64>::new(&form, &limits, false).unwrap(), rng);
    }
    assert!(tops > 3 && crowded > 2, "{tops} with tops, {crowded} with more scales than columns");
}
