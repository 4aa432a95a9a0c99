//! Models of the library's own domain: an ensemble in arrays is the ensemble that was written, a
//! native file in an attribute is the file.

use super::*;
use crate::ensemble::{
    Aggregate, Booster, CategorySet, DOMAIN, Ensemble, Learner, Link, Missing, Node, Outcome,
    Precision, Split, Test,
};
use crate::format::booster::Library;

const F64: i32 = 11;
const I32: i32 = 6;
const I64: i32 = 7;
const U8: i32 = 2;

fn tensor(name: &str, data_type: i32, count: usize, raw: Vec<u8>) -> AttributeProto {
    let t = TensorProto {
        dims: vec![count as i64],
        data_type,
        raw_data: raw.into(),
        ..TensorProto::default()
    };
    AttributeProto {
        name: name.into(),
        r#type: 4,
        t: Some(Box::new(t)),
        ..AttributeProto::default()
    }
}

fn doubles(name: &str, values: &[f64]) -> AttributeProto {
    tensor(name, F64, values.len(), values.iter().flat_map(|v| v.to_le_bytes()).collect())
}

fn numbers(name: &str, values: &[i32]) -> AttributeProto {
    tensor(name, I32, values.len(), values.iter().flat_map(|v| v.to_le_bytes()).collect())
}

fn bytes_of(name: &str, values: &[u8]) -> AttributeProto {
    tensor(name, U8, values.len(), values.to_vec())
}

fn text(name: &str, value: impl Into<prost::bytes::Bytes>) -> AttributeProto {
    AttributeProto {
        name: name.into(),
        r#type: 3,
        s: Some(value.into()),
        ..AttributeProto::default()
    }
}

/// A graph of one node of the domain.
fn of(op: &str, attributes: Vec<AttributeProto>) -> ModelProto {
    let node = with(NodeProto { domain: DOMAIN.into(), ..node(op, &["x"], &["y"]) }, attributes);
    let mut model = model(graph(&["x"], &["y"], vec![node]));
    model.opset_import.push(opset(DOMAIN, 1));
    model
}

fn booster_of(model: &ModelProto) -> Booster {
    let graph = load(model).unwrap();
    let booster = graph.nodes[0].attributes.booster_opt("booster").unwrap();
    assert_eq!(graph.nodes[0].op, "Booster");
    booster.expect("a booster").as_ref().clone()
}

/// Two trees with every kind of test and of missing value that the arrays can say.
fn written() -> Ensemble {
    let mut e = Ensemble::empty(3, 2);
    let leaf = |e: &mut Ensemble, a: f64, b: f64| e.push_leaf(&[(0, a), (1, b)]);
    let (a, b, c) = (leaf(&mut e, 0.5, -1.0), leaf(&mut e, 0.25, 8.0), leaf(&mut e, -4.0, 0.0));
    let mut split = |feature, test, missing, yes, no| {
        e.nodes.push(Node::Split(Split { feature, test, missing, yes, no }));
        e.nodes.len() as u32 - 1
    };
    let low = split(0, Test::LessOrEqual(1.5), Missing::Compared, a, b);
    let first = split(2, Test::Less(-0.5), Missing::Yes, low, c);
    let second = split(1, Test::Member(1), Missing::No, b, a);
    e.roots = vec![first, second];
    e.sets = vec![CategorySet::exact(vec![7.0]), CategorySet::exact(vec![0.0, 2.0])];
    e.base = vec![0.125, -0.25];
    e.arithmetic.base_first = true;
    e.arithmetic.features = Precision::F32;
    e.aggregate = Aggregate::Average;
    e.cover = e.nodes.iter().enumerate().map(|(i, _)| i as f64 + 1.0).collect();
    e.gain = e.nodes.iter().enumerate().map(|(i, _)| i as f64 / 2.0).collect();
    e.ids = (0..e.nodes.len() as u32).rev().collect();
    e
}

/// The attributes that say `e`.
fn arrays(e: &Ensemble) -> Vec<AttributeProto> {
    let (mut modes, mut missing) = (Vec::new(), Vec::new());
    let (mut features, mut thresholds) = (Vec::new(), Vec::new());
    let (mut yes, mut no) = (Vec::new(), Vec::new());
    for node in &e.nodes {
        let (mode, feature, threshold, to, next, nan) = match *node {
            Node::Leaf(leaf) => (255, 0, 0.0, leaf, 0, 0),
            Node::Split(s) => {
                let (mode, threshold) = match s.test {
                    Test::LessOrEqual(t) => (0, t),
                    Test::Less(t) => (1, t),
                    Test::Member(set) => (2, f64::from(set)),
                    other => panic!("the arrays do not know {other:?}"),
                };
                let nan = match s.missing {
                    Missing::Compared => 0,
                    Missing::Yes => 1,
                    Missing::No => 2,
                    other => panic!("the arrays do not know {other:?}"),
                };
                (mode, s.feature, threshold, s.yes, s.no, nan)
            }
        };
        modes.push(mode);
        features.push(feature as i32);
        thresholds.push(threshold);
        yes.push(to as i32);
        no.push(next as i32);
        missing.push(nan);
    }
    let mut starts = vec![0];
    starts.extend(e.sets.iter().scan(0, |end, set| {
        *end += set.values.len() as i32;
        Some(*end)
    }));
    let set_values: Vec<f64> = e.sets.iter().flat_map(|set| set.values.clone()).collect();
    let leaf_values: Vec<f64> = e.weights.iter().map(|(_, weight)| *weight).collect();
    let whole = |v: &[u32]| v.iter().map(|&n| n as i32).collect::<Vec<_>>();
    vec![
        int("n_features", e.features as i64),
        int("n_targets", e.targets as i64),
        int("base_first", i64::from(e.arithmetic.base_first)),
        text("aggregate", "AVERAGE"),
        text("features", "float"),
        text("sums", "double"),
        bytes_of("nodes_modes", &modes),
        numbers("nodes_features", &features),
        doubles("nodes_thresholds", &thresholds),
        numbers("nodes_yes", &yes),
        numbers("nodes_no", &no),
        bytes_of("nodes_missing", &missing),
        doubles("nodes_cover", &e.cover),
        doubles("nodes_gain", &e.gain),
        numbers("nodes_ids", &whole(&e.ids)),
        doubles("leaf_values", &leaf_values),
        numbers("roots", &whole(&e.roots)),
        doubles("set_values", &set_values),
        numbers("set_starts", &starts),
        doubles("base", &e.base),
    ]
}

/// `attributes` with others in place of those of the same name.
fn changed(attributes: Vec<AttributeProto>, others: Vec<AttributeProto>) -> Vec<AttributeProto> {
    let replaced = |a: &AttributeProto| others.iter().any(|other| other.name == a.name);
    let mut all: Vec<_> = attributes.into_iter().filter(|a| !replaced(a)).collect();
    all.extend(others);
    all
}

#[test]
fn an_ensemble_in_arrays_is_the_one_that_was_written() {
    let booster = booster_of(&of("TreeEnsemble", arrays(&written())));
    assert_eq!(booster.learner, Learner::Trees(written().into()));
    assert_eq!((booster.link, booster.outcome), (Link::Identity, Outcome::Values));
}

#[test]
fn arrays_of_other_types_and_leaves_of_one_target_are_read_as_well() {
    let mut e = written();
    e.weights.clear();
    for (i, leaf) in e.leaves.iter_mut().enumerate() {
        (leaf.start, leaf.end) = (i as u32, i as u32 + 1);
        e.weights.push((i as u32 % 2, i as f64 - 0.5));
    }
    e.arithmetic.sums = Precision::F32;
    e.arithmetic.base_first = false;
    e.aggregate = Aggregate::Sum;
    let mut said = arrays(&e);
    let modes = said.iter().find(|a| a.name == "nodes_modes").and_then(|a| a.t.clone()).unwrap();
    let modes: Vec<i32> = modes.raw_data.iter().map(|&mode| i32::from(mode)).collect();
    let roots = e.roots.iter().flat_map(|&n| i64::from(n).to_le_bytes()).collect();
    let base = e.base.iter().flat_map(|&v| (v as f32).to_le_bytes()).collect();
    said = changed(
        said,
        vec![
            text("aggregate", "SUM"),
            text("sums", "float"),
            numbers("leaf_targets", &[0, 1, 0]),
            tensor("roots", I64, 2, roots),
            tensor("base", 1, 2, base),
            numbers("nodes_modes", &modes),
        ],
    );
    assert_eq!(booster_of(&of("TreeEnsemble", said)).learner, Learner::Trees(e.into()));
}

#[test]
fn links_and_outcomes_are_those_that_are_named() {
    let links: [(&str, &[f64], Link); 6] = [
        ("identity", &[], Link::Identity),
        ("sigmoid", &[], Link::Sigmoid { slope: 1.0 }),
        ("sigmoid", &[0.7], Link::Sigmoid { slope: 0.7 }),
        ("softmax", &[], Link::Softmax),
        ("exp", &[], Link::Exp),
        ("isolation", &[2.5, -0.5], Link::Isolation { normal: 2.5, offset: -0.5 }),
    ];
    for (name, parameters, link) in links {
        let others = vec![text("link", name), doubles("link_parameters", parameters)];
        let model = of("TreeEnsemble", changed(arrays(&written()), others));
        assert_eq!(booster_of(&model).link, link, "{name} {parameters:?}");
    }
    let outcomes = [
        ("values", Outcome::Values),
        ("binary", Outcome::Binary),
        ("binary_by_margin", Outcome::BinaryByMargin),
        ("classes", Outcome::Classes),
        ("outlier", Outcome::Outlier),
    ];
    for (name, outcome) in outcomes {
        let model = of("TreeEnsemble", changed(arrays(&written()), vec![text("outcome", name)]));
        assert_eq!(booster_of(&model).outcome, outcome, "{name}");
    }
}

#[test]
fn broken_arrays_are_refused_by_name() {
    let nodes = written().nodes.len();
    let same = |n: i32| vec![n; nodes];
    let cases: Vec<(Vec<AttributeProto>, &str)> = vec![
        (vec![int("n_targets", -1)], "'n_targets' is -1"),
        (vec![text("features", "half")], "'features' is 'half'"),
        (vec![text("aggregate", "MEDIAN")], "aggregate 'MEDIAN'"),
        (vec![text("link", "probit")], "link 'probit' with 0 parameters"),
        (vec![text("link", "isolation")], "link 'isolation' with 0 parameters"),
        (vec![text("outcome", "guess")], "outcome 'guess'"),
        (vec![doubles("roots", &[1.0])], "'roots' is of float64, expected whole numbers"),
        (vec![numbers("roots", &[-1])], "'roots' has the element -1"),
        (vec![numbers("base", &[1])], "'base' is of int32, expected doubles"),
        (vec![numbers("nodes_modes", &same(256))], "'nodes_modes' has the element 256"),
        (vec![numbers("nodes_modes", &same(3))], "mode 3"),
        (vec![numbers("nodes_missing", &same(3))], "missing values 3"),
        (vec![numbers("nodes_yes", &same(99))], "leaf 99 of 3"),
        (vec![numbers("nodes_no", &[0])], "'nodes_no' has 1 elements for 6 nodes"),
        (vec![doubles("leaf_values", &[1.0])], "'leaf_values' has 1 values for 2 targets"),
        (vec![numbers("set_starts", &[0, 9])], "'set_starts' has [0, 9]"),
        (vec![numbers("set_starts", &[2, 1])], "'set_starts' has [2, 1]"),
        (vec![doubles("nodes_cover", &[1.0])], "cover"),
    ];
    for (others, words) in cases {
        let model = of("TreeEnsemble", changed(arrays(&written()), others));
        assert_refused(&model, ErrorKind::InvalidModel, &[words]);
    }
}

#[test]
fn a_native_file_in_an_attribute_is_that_file() {
    let seeds = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fuzz/seeds/booster_load");
    let files = [
        (Library::XgBoost, "trees.ubj"),
        (Library::LightGbm, "trees.txt"),
        (Library::CatBoost, "trees_catboost.json"),
    ];
    for (library, name) in files {
        let file = std::fs::read(format!("{seeds}/{name}")).unwrap();
        let attributes = vec![text("format", library.name()), text("model", file.clone())];
        let read = library.read(&file, &LoadLimits::default()).unwrap();
        assert_eq!(booster_of(&of("Booster", attributes)), read, "{name}");
    }
}

#[test]
fn what_is_no_booster_is_refused() {
    let invalid = ErrorKind::InvalidModel;
    assert_refused(&of("Booster", vec![text("format", "weka")]), invalid, &["'weka'"]);
    let without = of("Booster", vec![text("format", "lightgbm")]);
    assert_refused(&without, invalid, &["without its model"]);
    assert_refused(&of("Forest", Vec::new()), ErrorKind::Unsupported, &["Forest is not known"]);
}
