//! Models of CatBoost 1.2 with its own answers, and files that lie.

use super::read;
use crate::ensemble::{Booster, Ensemble, Learner, Link, Missing, Node, Outcome, Precision, Test};
use crate::error::ErrorKind;
use crate::limits::LoadLimits;

/// Two oblivious trees with missing values and a category.
const OBLIVIOUS: &str = r#"{"features_info": {
"cat_features_hash": [{"hash": 1981898051, "value": "u"}, {"hash": 3098228689, "value": "w"},
 {"hash": 2588378154, "value": "v"}],
"categorical_features": [{"feature_id": "c", "feature_index": 0, "feature_name": "c",
 "flat_feature_index": 1, "values": [-1706589142]}],
"float_features": [{"borders": [], "feature_id": "a", "feature_index": 0, "feature_name": "a",
 "flat_feature_index": 0, "has_nans": true, "nan_value_treatment": "AsFalse"},
 {"borders": [], "feature_id": "b", "feature_index": 1, "feature_name": "b",
 "flat_feature_index": 2, "has_nans": true, "nan_value_treatment": "AsFalse"}]},
"model_info": {"class_params": {"class_label_type": "Integer", "class_names": [0, 1],
 "class_to_label": [0, 1], "classes_count": 0},
 "params": {"loss_function": {"params": {}, "type": "Logloss"}}},
"oblivious_trees": [
{"leaf_values": [-0.7610062893081762, 0.31851851851851853, 0.36585365853658536,
 0.8055555555555556], "leaf_weights": [147, 123, 70, 60], "splits": [
 {"border": -0.11499999463558197, "float_feature_index": 1, "split_index": 1,
 "split_type": "FloatFeature"},
 {"cat_feature_index": 0, "split_index": 3, "split_type": "OneHotFeature",
 "value": -1706589142}]},
{"leaf_values": [-0.5331313018083254, 0.08919962585156187, -0.04526995631333391,
 0.708309995064937], "leaf_weights": [116, 148, 57, 79], "splits": [
 {"border": -0.26499998569488525, "float_feature_index": 0, "split_index": 0,
 "split_type": "FloatFeature"},
 {"border": 0.23499999940395355, "float_feature_index": 1, "split_index": 2,
 "split_type": "FloatFeature"}]}], "scale_and_bias": [1, [0]]}"#;
/// `a`, `c` as place of the label (1: a label without split), `b`; `RawFormulaVal`; probability.
const OBLIVIOUS_ANSWERS: [([f64; 3], f64, f64); 5] = [
    ([0.5, 1.0, 1.0], 1.0268285135834554, 0.7363005752186487),
    ([f64::NAN, 0.0, -1.0], -0.16727764327174, 0.45827783232099406),
    ([-0.3, 0.0, f64::NAN], -0.16727764327174, 0.45827783232099406),
    ([2.0, f64::NAN, 0.2], 0.4077181443700804, 0.6005406066735316),
    ([-9.0, 1.0, 0.0], -0.21461278328980682, 0.4465517928785303),
];

/// Two trees of `grow_policy="Lossguide"` over three classes.
const LOSSGUIDE: &str = r#"{"features_info": {"float_features": [
{"borders": [], "feature_id": "a", "feature_index": 0, "flat_feature_index": 0, "has_nans": true,
 "nan_value_treatment": "AsFalse"},
{"borders": [], "feature_id": "", "feature_index": 1, "flat_feature_index": 1, "has_nans": true,
 "nan_value_treatment": "AsFalse"}]},
"model_info": {"class_params": {"class_label_type": "String",
 "class_names": ["hi", "lo", "mid"], "class_to_label": [0, 1, 2], "classes_count": 0},
 "params": {"loss_function": {"params": {}, "type": "MultiClass"}}},
"scale_and_bias": [1, [0, 0, 0]], "trees": [
{"left": {"left": {"value": [-0.35668789808916607, 0.29299363057325645, 0.06369426751593041],
 "weight": 148}, "right": {"value": [0.15624999999999978, -0.4250000000000009,
 0.26874999999999954], "weight": 71}, "split": {"border": 0.23499999940395355,
 "float_feature_index": 1, "split_index": 2, "split_type": "FloatFeature"}},
 "right": {"left": {"value": [0.11165048543689744, -0.4563106796116467, 0.3446601941747621],
 "weight": 94}, "right": {"value": [0.796875000000001, -0.45312500000000006,
 -0.3437500000000002], "weight": 87}, "split": {"border": -0.11499999463558197,
 "float_feature_index": 1, "split_index": 1, "split_type": "FloatFeature"}},
 "split": {"border": -0.009999999776482582, "float_feature_index": 0, "split_index": 0,
 "split_type": "FloatFeature"}},
{"left": {"left": {"value": [-0.25312597308208873, 0.16285628747767641, 0.09026968560440529],
 "weight": 148}, "right": {"value": [0.14189932668778288, -0.3738297972287054,
 0.23193047054093194], "weight": 116}, "split": {"border": -0.009999999776482582,
 "float_feature_index": 0, "split_index": 0, "split_type": "FloatFeature"}},
 "right": {"left": {"value": [0, 0, 0], "weight": 0}, "right": {"value": [0.31880503396731985,
 -0.34660490908259944, 0.027799875115287604], "weight": 136}, "split":
 {"border": -0.11499999463558197, "float_feature_index": 1, "split_index": 1,
 "split_type": "FloatFeature"}}, "split": {"border": 0.23499999940395355,
 "float_feature_index": 1, "split_index": 2, "split_type": "FloatFeature"}}]}"#;
const LOSSGUIDE_ANSWERS: [([f64; 2], [f64; 3]); 3] = [
    ([0.5, 1.0], [0.7213963263490362, 0.10624829206738463, 0.17235538158357924]),
    ([f64::NAN, -1.0], [0.16531290006351515, 0.47986452827954296, 0.3548225716569418]),
    ([2.0, 0.2], [0.6575521116495172, 0.11248218957881329, 0.22996569877166947]),
];

fn load(text: &str) -> crate::Result<Booster> {
    read(text.as_bytes(), &LoadLimits::default())
}

fn trees(booster: &Booster) -> &Ensemble {
    match &booster.learner {
        Learner::Trees(ensemble) => ensemble,
        Learner::Linear(_) => unreachable!("CatBoost's models have trees"),
    }
}

fn answers(booster: &Booster, row: &[f64]) -> Vec<f64> {
    let ensemble = trees(booster);
    let mut margins = ensemble.margins(row);
    booster.link.apply(&mut margins, ensemble.arithmetic.sums);
    margins
}

/// A model of one split on the first of two features, with another end.
fn small(split: &str, rest: &str) -> String {
    format!(
        r#"{{"features_info": {{"float_features": [
        {{"feature_index": 0, "flat_feature_index": 0}},
        {{"feature_index": 1, "flat_feature_index": 1, "has_nans": true,
          "nan_value_treatment": "AsTrue"}}],
        "categorical_features": [{{"feature_index": 0, "flat_feature_index": 2, "values": [7]}}]}},
        "oblivious_trees": [{{"splits": [{split}], "leaf_values": [1, 2]}}]{rest}}}"#
    )
}

const SPLIT: &str =
    r#"{"split_type": "FloatFeature", "float_feature_index": 0, "border": 0.10000000149011612}"#;

fn loss(kind: &str) -> String {
    format!(r#", "model_info": {{"params": {{"loss_function": {{"type": "{kind}"}}}}}}"#)
}

#[test]
fn oblivious_trees_answer_as_their_trainer_does() {
    let booster = load(OBLIVIOUS).unwrap();
    let ensemble = trees(&booster);
    assert_eq!((booster.outcome, ensemble.features), (Outcome::Binary, 3));
    assert_eq!(booster.categories[&1], ["v"]);
    assert_eq!(booster.classes.as_deref(), Some(&["0".to_string(), "1".into()][..]));
    assert_eq!(booster.feature_names.as_deref().unwrap(), ["a", "c", "b"]);
    for (row, margin, probability) in OBLIVIOUS_ANSWERS {
        assert_eq!(ensemble.margins(&row), [margin], "{row:?}");
        assert!((answers(&booster, &row)[0] - probability).abs() < 1e-15, "{row:?}");
    }
    // The last split is the root.
    let Node::Split(root) = ensemble.nodes[0] else { unreachable!() };
    assert_eq!((root.feature, root.test), (1, Test::Equal(0.0)));
    assert_eq!(ensemble.cover[..7], [400.0, 270.0, 130.0, 147.0, 123.0, 70.0, 60.0]);
}

#[test]
fn unbalanced_trees_answer_as_their_trainer_does() {
    let booster = load(LOSSGUIDE).unwrap();
    assert_eq!((booster.link, booster.outcome), (Link::FastSoftmax, Outcome::Classes));
    assert_eq!(booster.classes.as_deref().unwrap(), ["hi", "lo", "mid"]);
    assert_eq!(booster.feature_names.as_deref().unwrap(), ["a", "1"]);
    for (row, expected) in LOSSGUIDE_ANSWERS {
        for (answer, expected) in answers(&booster, &row).iter().zip(expected) {
            assert!((answer - expected).abs() < 1e-15, "{row:?}: {answer} {expected}");
        }
    }
    assert_eq!(trees(&booster).cover[..3], [400.0, 219.0, 148.0]);
}

#[test]
fn features_and_borders_are_floats() {
    let booster = load(&small(SPLIT, "")).unwrap();
    assert_eq!(trees(&booster).arithmetic.features, Precision::F32);
    // What rounds to the border is not above it.
    assert_eq!(answers(&booster, &[0.1, 0.0, 0.0]), [1.0]);
    assert_eq!(answers(&booster, &[0.100000005, 0.0, 0.0]), [1.0]);
    assert_eq!(answers(&booster, &[0.1000000053, 0.0, 0.0]), [2.0]);
    assert_eq!(answers(&booster, &[f64::NAN, 0.0, 0.0]), [1.0]);
    let booster = load(&small(&SPLIT.replace(r#"_index": 0"#, r#"_index": 1"#), "")).unwrap();
    let Node::Split(split) = trees(&booster).nodes[0] else { unreachable!() };
    assert_eq!((split.feature, split.missing), (1, Missing::Yes));
}

#[test]
fn the_sum_is_scaled_and_then_biased() {
    for rest in [r#", "scale_and_bias": [0.5, [3]]"#, r#", "scale_and_bias": [0.5, 3]"#] {
        let booster = load(&small(SPLIT, rest)).unwrap();
        assert_eq!(answers(&booster, &[0.0, 0.0, 0.0]), [3.5]);
    }
    let error = load(&small(SPLIT, r#", "scale_and_bias": [1, [3, 4]]"#)).unwrap_err();
    assert!(error.message().contains("2 biases for leaves of 1 values"), "{error}");
}

#[test]
fn losses_have_their_links() {
    let sigmoid = Link::Sigmoid { slope: 1.0 };
    for (kind, link, outcome) in [
        ("RMSE", Link::Identity, Outcome::Values),
        ("YetiRank", Link::Identity, Outcome::Values),
        ("LogLinQuantile", Link::Identity, Outcome::Values),
        ("Logloss", sigmoid, Outcome::Binary),
        ("CrossEntropy", sigmoid, Outcome::Binary),
        ("MultiLogloss", sigmoid, Outcome::Values),
        ("Poisson", Link::FastExp, Outcome::Values),
        ("Tweedie", Link::FastExp, Outcome::Values),
    ] {
        let booster = load(&small(SPLIT, &loss(kind))).unwrap();
        assert_eq!((booster.link, booster.outcome), (link, outcome), "{kind}");
        assert_eq!(booster.metadata["loss_function"], kind);
    }
    for kind in ["MultiClass", "MultiClassOneVsAll", "RMSEWithUncertainty"] {
        let error = load(&small(SPLIT, &loss(kind))).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidModel, "{kind}: {error}");
    }
    let pair = small(SPLIT, &loss("RMSEWithUncertainty")).replace("[1, 2]", "[1, 0, 2, 0.5]");
    let answer = answers(&load(&pair).unwrap(), &[1.0, 0.0, 0.0]);
    assert!(answer[0] == 2.0 && (answer[1] - 1f64.exp()).abs() < 1e-15, "{answer:?}");
}

#[test]
fn classes_that_training_did_not_see_have_no_label() {
    let labels = |params: &str| {
        let rest = loss("Logloss").replace(
            r#""params": {"loss"#,
            &format!(r#""class_params": {{{params}}}, "params": {{"loss"#),
        );
        load(&small(SPLIT, &rest)).unwrap().classes
    };
    let some = |a: &str, b: &str| Some(vec![a.to_string(), b.to_string()]);
    assert_eq!(labels(r#""class_names": [false, true]"#), some("False", "True"));
    assert_eq!(labels(r#""class_names": [-1, 1]"#), some("-1", "1"));
    let floats = r#""class_label_type": "Float", "class_names": [2, 5.5]"#;
    assert_eq!(labels(floats), some("2.0", "5.5"));
    let unseen = r#""class_names": ["a", "b", "c"], "class_to_label": [0, 2]"#;
    assert_eq!(labels(unseen), some("a", "c"));
    assert_eq!(labels(r#""class_names": [], "class_to_label": [0, 3]"#), some("0", "3"));
    assert_eq!(labels(r#""class_names": ["a"], "class_to_label": [0, 9]"#), None);
}

#[test]
fn what_cannot_be_computed_is_refused_with_the_way_out() {
    let threshold = loss("Logloss").replace(
        r#""params": {"loss"#,
        r#""binclass_probability_threshold": "0.3", "params": {"loss"#,
    );
    let one_hot = r#"{"split_type": "OneHotFeature", "cat_feature_index": 0, "value": 7}"#;
    for (split, rest, said) in [
        (r#"{"split_type": "OnlineCtr", "border": 1}"#, "", "one_hot_max_size"),
        (one_hot, "", "pool="),
        (r#"{"split_type": "EstimatedFeature", "border": 1}"#, "", "EstimatedFeature"),
        (SPLIT, threshold.as_str(), "binclass_probability_threshold"),
    ] {
        let error = load(&small(split, rest)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.message().contains(said), "{error}");
    }
    let text = small(SPLIT, "").replacen('[', r#"[], "text_features": [{}], "x": ["#, 1);
    assert_eq!(load(&text).unwrap_err().kind(), ErrorKind::Unsupported);
}

#[test]
fn what_contradicts_itself_is_refused_by_name() {
    for (from, to, said) in [
        ("[1, 2]", "[1, 2, 3]", "tree 0: leaf_values: 3 values for 2 leaves"),
        ("[1, 2]", "[]", "tree 0: leaf_values: 0 values"),
        ("[1, 2]", r#"[1, 2], "leaf_weights": [1]"#, "tree 0: leaf_weights: 1 weights"),
        ("\"border\"", "\"b\"", "tree 0: a split without its border"),
        ("\"float_feature_index\": 0", "\"float_feature_index\": 2", "float feature 2"),
        ("\"flat_feature_index\": 1", "\"flat_feature_index\": 0", "0 comes twice"),
        ("\"flat_feature_index\": 1", "\"flat_feature_index\": 4294967295", "4294967295"),
        ("\"flat_feature_index\": 1", "\"flat_feature_index\": -1", "-1"),
        ("AsTrue", "AsMaybe", "nan_value_treatment 'AsMaybe'"),
        ("[7]", "[99999999999]", "32 bits"),
        ("oblivious_trees", "bushes", "neither oblivious_trees nor trees"),
        ("oblivious_trees", "trees", "tree 0: a leaf without its value"),
    ] {
        let text = small(SPLIT, "");
        assert!(text.contains(from), "{from}");
        let error = load(&text.replacen(from, to, 1)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidModel);
        assert!(error.message().contains(said), "{from} {to}: {error}");
    }
    let error = load(&small(&vec![SPLIT; 17].join(","), "")).unwrap_err();
    assert!(error.message().contains("17 splits"), "{error}");
    let uneven = LOSSGUIDE.replacen("[0, 0, 0], \"weight\"", "[0, 0], \"weight\"", 1);
    let error = load(&uneven).unwrap_err();
    assert!(error.message().contains("tree 1: a leaf of 2 values"), "{error}");
    let deep = "{\"left\": ".repeat(100_000);
    let error = load(&format!("{{\"features_info\": {{}}, \"trees\": [{deep}")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidModel);
}

#[test]
fn limits_are_kept() {
    for (trees, nodes, depth) in [(1, 100, 100), (100, 13, 100), (100, 100, 1)] {
        let mut limits = LoadLimits::default();
        (limits.trees, limits.tree_nodes, limits.tree_depth) = (trees, nodes, depth);
        for text in [OBLIVIOUS, LOSSGUIDE] {
            let error = read(text.as_bytes(), &limits).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::LimitExceeded, "{error}");
        }
    }
}

/// Reads the bytes, and walks what they hold, as a server would.
fn survive(bytes: &[u8]) -> bool {
    let Ok(booster) = read(bytes, &LoadLimits::default()) else { return false };
    let ensemble = trees(&booster);
    if ensemble.features <= 1 << 16 {
        let row = vec![0.5; ensemble.features];
        let _ = answers(&booster, &row);
    }
    true
}

#[test]
fn no_truncation_no_flipped_bit_and_no_other_number_causes_a_panic() {
    for text in [OBLIVIOUS, LOSSGUIDE] {
        let mut bytes = text.as_bytes().to_vec();
        for at in 0..bytes.len() {
            assert!(!survive(&bytes[..at]), "{at}");
            for bit in 0..8 {
                bytes[at] ^= 1 << bit;
                survive(&bytes);
                bytes[at] ^= 1 << bit;
            }
        }
        let mut start = 0;
        for word in text.split_inclusive([' ', ',', ']', '}', '\n']) {
            let end = start + word.len() - 1;
            for other in ["", "-1", "1e99", "null", "[]", "4294967296", "9223372036854775808", "{}"]
            {
                survive(format!("{}{other}{}", &text[..start], &text[end..]).as_bytes());
            }
            start = end + 1;
        }
    }
}
