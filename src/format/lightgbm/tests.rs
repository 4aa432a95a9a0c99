//! Models of LightGBM 4.7 with its own answers, and files that lie.

use super::read;
use crate::ensemble::{Aggregate, Booster, Ensemble, Learner, Link, Missing, Node, Outcome, Test};
use crate::error::ErrorKind;
use crate::limits::LoadLimits;

const NAN: f64 = f64::NAN;
const INF: f64 = f64::INFINITY;
const ROWS: [[f64; 4]; 6] = [
    [0.5, -0.3, 4.0, 1.0],
    [NAN, NAN, NAN, NAN],
    [-0.41, 0.0, -0.5, 0.2],
    [0.1, 1e-36, 33.7, -1.0],
    [-2.0, 2.0, -1.0, 0.0],
    [INF, -INF, 1e10, 0.0],
];
/// Missing values, zeros, thresholds that are hit, categories: a linear tree.
const LINEAR: &str = "\
tree
version=v4
num_class=1
num_tree_per_iteration=1
label_index=0
max_feature_idx=3
objective=regression
feature_names=Column_0 Column_1 Column_2 Column_3
feature_infos=[-2.6600000000000001:2.8300000000000001] [-2.5899999999999999:2.5099999999999998] -1:2:10:27:8:7:14:39:26:33:0:11:13:23:31:35:3:4:12:19:29:37:5:9:16:18:20:21:28:6:17:22:34:36:1:15:25:32:38:30:24 [-2.8199999999999998:2.8199999999999998]

Tree=0
num_leaves=4
num_cat=1
split_feature=1 0 2
split_gain=424.839 171.774 103.517
threshold=1.0000000180025095e-35 -0.23499999999999996 0
decision_type=10 8 9
left_child=1 -1 -3
right_child=-2 2 -4
leaf_value=0.40937000390525691 0.7322912151849067 0.70378039242236368 0.52892376266720731
leaf_count=85 165 50 100
internal_count=400 235 150
cat_boundaries=0 2
cat_threshold=2462656208 36
is_linear=1
leaf_const=0.40937000390525691 0.7322912151849067 0.70378039242236368 0.52892376266720731
num_features=0 0 0 0
leaf_features=    
leaf_coeff=    
shrinkage=1


Tree=1
num_leaves=4
num_cat=1
split_feature=1 0 2
split_gain=344.098 152.066 95.1061
threshold=1.0000000180025095e-35 0.66500000000000015 0
decision_type=10 10 9
left_child=1 2 -1
right_child=-2 -3 -4
leaf_value=-0.0055147568910086367 0.11069209054168878 0.079012018074138976 -0.16414332178778443
leaf_count=54 165 49 132
internal_count=400 235 186
cat_boundaries=0 2
cat_threshold=2471044242 53
is_linear=1
leaf_const=0.002648565423600549 0.10985489973414744 -0.060244795837865177 -0.14363235125399321
num_features=2 1 2 2
leaf_features=0 1  1  0 1  0 1  
leaf_coeff=0.059905463874136616 -0.01582381449891947  0.0010659501784987758  0.097318189160212801 -0.00015172692163591963  0.099654471518600476 -0.0057109207668935014  
shrinkage=0.1


end of trees

";
/// What `Booster.predict` of version 4.7.0 answers.
const LINEAR_ANSWERS: [[f64; 1]; 6] = [
    [0.7411288341327084],
    [0.36478044087942285],
    [0.2248793193286375],
    [0.39525685856507414],
    [0.8442780152760517],
    [INF],
];
/// Averages, zero as missing value, three classes.
const FOREST: &str = "\
tree
version=v4
num_class=3
num_tree_per_iteration=3
label_index=0
max_feature_idx=3
objective=multiclass num_class:3
average_output
feature_names=Column_0 Column_1 Column_2 Column_3
feature_infos=[-2.6600000000000001:2.8300000000000001] [-2.5899999999999999:2.5099999999999998] -1:0:2:10:27:8:7:14:39:26:33:11:13:23:31:35:3:4:12:19:29:37:5:9:16:18:20:21:28:6:17:22:34:36:1:15:25:32:38:30 [-2.8199999999999998:2.8199999999999998]

Tree=0
num_leaves=3
num_cat=0
split_feature=0 1
split_gain=37.7214 45.1994
threshold=-0.074999999999999997 1.0000000180025095e-35
decision_type=4 6
left_child=1 -1
right_child=-2 -3
leaf_value=0.53639332367863424 -2.328008689406436 -2.3243261498567227
leaf_count=57 118 38
internal_count=213 95
is_linear=0
shrinkage=1


Tree=1
num_leaves=3
num_cat=0
split_feature=1 0
split_gain=4.76764 16.7157
threshold=0.025000000000000005 -0.024999999999999998
decision_type=6 6
left_child=-1 -2
right_child=1 -3
leaf_value=-0.66544311149088609 -0.51151669192937144 -2.034504680038014
leaf_count=131 46 36
internal_count=213 82
is_linear=0
shrinkage=1


Tree=2
num_leaves=3
num_cat=0
split_feature=1 0
split_gain=35.8444 17.8144
threshold=0.025000000000000005 -0.024999999999999998
decision_type=6 6
left_child=-1 -2
right_child=1 -3
leaf_value=-1.5381050013826165 -0.82238252384065547 0.73827737277132821
leaf_count=131 46 36
internal_count=213 82
is_linear=0
shrinkage=1


Tree=3
num_leaves=3
num_cat=0
split_feature=0 1
split_gain=40.6413 56.0276
threshold=-0.024999999999999998 -0.13499999999999998
decision_type=4 4
left_child=1 -1
right_child=-2 -3
leaf_value=0.93693839075591812 -2.3940164737880836 -2.2409551672603141
leaf_count=49 106 43
internal_count=198 92
is_linear=0
shrinkage=1


Tree=4
num_leaves=3
num_cat=0
split_feature=1 0
split_gain=8.83983 5.51384
threshold=-0.44999999999999996 -0.19499999999999998
decision_type=6 4
left_child=1 -1
right_child=-2 -3
leaf_value=-1.2171677930863756 -1.2887318523125559 -0.24103402524127648
leaf_count=24 124 50
internal_count=198 74
is_linear=0
shrinkage=1


Tree=5
num_leaves=3
num_cat=0
split_feature=1 0
split_gain=45.3745 13.4497
threshold=0.025000000000000005 0.32000000000000006
decision_type=6 6
left_child=1 -1
right_child=-2 -3
leaf_value=-1.9180356742371893 0.090596105136535376 -0.7149686848025838
leaf_count=79 81 38
internal_count=198 117
is_linear=0
shrinkage=1


end of trees

";
/// What `Booster.predict` of version 4.7.0 answers.
const FOREST_ANSWERS: [[f64; 3]; 6] = [
    [0.11866463521090859, 0.47353528184562294, 0.4078000829434685],
    [0.10393696237454951, 0.7003348638505086, 0.1957281737749419],
    [0.42893488270651325, 0.3923995529213011, 0.17866556437218564],
    [0.10393696237454951, 0.7003348638505086, 0.1957281737749419],
    [0.08486280428605306, 0.33817119850145105, 0.5769659972124959],
    [0.08948826446587986, 0.6029784792544253, 0.30753325627969486],
];

fn load(text: &str) -> crate::Result<Booster> {
    read(text.as_bytes(), &LoadLimits::default())
}

fn trees(booster: &Booster) -> &Ensemble {
    match &booster.learner {
        Learner::Trees(ensemble) => ensemble,
        Learner::Linear(_) => unreachable!("LightGBM's boosters have trees"),
    }
}

fn answers(booster: &Booster, row: &[f64]) -> Vec<f64> {
    let ensemble = trees(booster);
    let mut margins = ensemble.margins(row);
    booster.link.apply(&mut margins, ensemble.arithmetic.sums);
    margins
}

/// A tree of two leaves, `f0 <= 0.5`, and what stands before and after it.
fn stump(head: &str, tree: &str, tail: &str) -> String {
    format!(
        "tree\nversion=v4\nnum_class=1\nnum_tree_per_iteration=1\nmax_feature_idx=1\n{head}\n\
         feature_names=a b\nfeature_infos=[0:1] 0:1:2\n\nTree=0\nnum_leaves=2\nnum_cat=0\n\
         split_feature=0\nthreshold=0.5\ndecision_type=2\nleft_child=-1\nright_child=-2\n\
         leaf_value=-1 2\n{tree}\n\nend of trees\n{tail}"
    )
}

#[test]
fn a_linear_tree_answers_as_its_trainer_does() {
    let booster = load(LINEAR).unwrap();
    assert_eq!((booster.link, booster.outcome), (Link::Identity, Outcome::Values));
    for (row, expected) in ROWS.iter().zip(&LINEAR_ANSWERS) {
        assert_eq!(answers(&booster, row), expected, "{row:?}");
    }
    let ensemble = trees(&booster);
    assert_eq!((ensemble.features, ensemble.roots.len(), ensemble.linear.len()), (4, 2, 8));
    assert_eq!(ensemble.cover[..7], [400.0, 235.0, 150.0, 85.0, 165.0, 50.0, 100.0]);
    assert_eq!(ensemble.gain[7..10], [344.098, 152.066, 95.1061]);
    assert_eq!(booster.feature_names.unwrap()[3], "Column_3");
    assert_eq!(booster.metadata["objective"], "regression");
}

#[test]
fn a_forest_answers_with_its_average() {
    let booster = load(FOREST).unwrap();
    assert_eq!((booster.link, booster.outcome), (Link::Softmax, Outcome::Classes));
    let ensemble = trees(&booster);
    assert_eq!((ensemble.aggregate, ensemble.averaged_over), (Aggregate::Average, Some(2)));
    for (row, expected) in ROWS.iter().zip(&FOREST_ANSWERS) {
        for (answer, expected) in answers(&booster, row).iter().zip(expected) {
            // The system's `exp` may differ in its last place.
            assert!((answer - expected).abs() < 1e-15, "{row:?}: {answer} {expected}");
        }
    }
}

#[test]
fn objectives_have_their_links() {
    let sigmoid = |slope| Link::Sigmoid { slope };
    for (objective, link, outcome) in [
        ("regression", Link::Identity, Outcome::Values),
        ("regression sqrt", Link::SignedSquare, Outcome::Values),
        ("quantile sqrt alpha:0.5", Link::SignedSquare, Outcome::Values),
        ("huber sqrt", Link::Identity, Outcome::Values),
        ("poisson", Link::Exp, Outcome::Values),
        ("tweedie tweedie_variance_power:1.5", Link::Exp, Outcome::Values),
        ("binary sigmoid:1", sigmoid(1.0), Outcome::Binary),
        ("binary sigmoid:0.7", sigmoid(0.7), Outcome::Binary),
        ("cross_entropy", sigmoid(1.0), Outcome::Values),
        ("cross_entropy_lambda", Link::Log1pExp, Outcome::Values),
        ("lambdarank", Link::Identity, Outcome::Values),
    ] {
        let booster = load(&stump(&format!("objective={objective}"), "", "")).unwrap();
        assert_eq!((booster.link, booster.outcome), (link, outcome), "{objective}");
    }
    // An objective of the caller's own leaves no line.
    let booster = load(&stump("", "", "")).unwrap();
    assert_eq!(answers(&booster, &[0.5, 0.0]), [-1.0]);
    assert_eq!(answers(&booster, &[0.6, 0.0]), [2.0]);
    for (objective, kind) in [
        ("made_up", ErrorKind::Unsupported),
        ("binary sigmoid:-1", ErrorKind::InvalidModel),
        ("multiclass num_class:1", ErrorKind::InvalidModel),
    ] {
        let error = load(&stump(&format!("objective={objective}"), "", "")).unwrap_err();
        assert_eq!(error.kind(), kind, "{objective}: {error}");
    }
}

#[test]
fn missing_values_have_their_kind_and_direction() {
    for (decision, missing) in [
        (0, Missing::AsZero),
        (2, Missing::AsZero),
        (4, Missing::ZeroNo),
        (6, Missing::ZeroYes),
        (8, Missing::No),
        (10, Missing::Yes),
    ] {
        let booster = load(&stump("", &format!("decision_type={decision}"), "")).unwrap();
        let Node::Split(split) = trees(&booster).nodes[0] else { unreachable!() };
        assert_eq!((split.test, split.missing), (Test::LessOrEqual(0.5), missing), "{decision}");
    }
    let error = load(&stump("", "decision_type=12", "")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidModel);
}

#[test]
fn values_about_zero_are_zero_for_every_threshold() {
    for (threshold, left) in [("1.0000000180025095e-35", true), ("-1.0000000180025095e-35", false)]
    {
        let booster = load(&stump("", &format!("threshold={threshold}"), "")).unwrap();
        let tiny = f64::from(1e-35f32);
        for x in [0.0, -0.0, tiny, -tiny, 1e-36, -1e-36, f64::NAN] {
            assert_eq!(answers(&booster, &[x, 0.0]) == [-1.0], left, "{x} <= {threshold}");
        }
        assert_eq!(answers(&booster, &[tiny.next_up(), 0.0]), [2.0]);
        assert_eq!(answers(&booster, &[(-tiny).next_down(), 0.0]), [-1.0]);
    }
}

#[test]
fn categories_lose_their_fraction_and_negative_ones_are_in_no_set() {
    let sets = "num_cat=2\nsplit_feature=1\nthreshold=1\ndecision_type=1\n\
                cat_boundaries=0 1 3\ncat_threshold=4294967295 1 2147483648";
    let booster = load(&stump("", sets, "")).unwrap();
    for (x, left) in [
        (0.0, true),
        (0.9, true),
        (-0.9, true),
        (63.5, true),
        (-1.0, false),
        (1.0, false),
        (64.0, false),
        (1e300, false),
        (f64::NAN, false),
        (f64::INFINITY, false),
        (f64::NEG_INFINITY, false),
    ] {
        assert_eq!(answers(&booster, &[0.0, x]) == [-1.0], left, "{x}");
    }
}

#[test]
fn labels_of_pandas_go_to_the_categorical_features() {
    let labels = |tail: &str| load(&stump("", "", tail)).map(|b| b.categories);
    let three = "pandas_categorical:[[\"x\", \"y\", \"\\u00fc\"]]\n";
    assert_eq!(labels(three).unwrap()[&1], ["x", "y", "ü"]);
    assert!(labels("pandas_categorical:null\n").unwrap().is_empty());
    // Numbers are no labels; codes beyond the labels, and lists without a feature, are not told.
    for tail in ["[[1, 2, 3]]", "[[\"x\", \"y\"]]", "[[\"x\", \"y\", \"z\"], [\"u\"]]"] {
        let booster = load(&stump("", "", &format!("pandas_categorical:{tail}"))).unwrap();
        assert!(booster.categories.is_empty(), "{tail}");
        assert_eq!(booster.metadata["pandas_categorical"], tail);
    }
    // The parameters name the column that feature_infos cannot: it is constant.
    let text = stump("", "", &format!("parameters:\n[categorical_feature: 0]\n{three}"));
    let text = text.replace("feature_infos=[0:1] 0:1:2", "feature_infos=none [0:1]");
    assert_eq!(load(&text).unwrap().categories[&0], ["x", "y", "ü"]);
    assert_eq!(labels("pandas_categorical:[[\"x\"").unwrap_err().kind(), ErrorKind::InvalidModel);
}

#[test]
fn a_tree_of_one_leaf_and_a_model_without_trees() {
    let text = stump("", "num_leaves=1\nleaf_value=0.25\nleaf_count=", "");
    let booster = load(&text).unwrap();
    assert_eq!(answers(&booster, &[f64::NAN, 0.0]), [0.25]);
    assert_eq!(trees(&booster).cover, [0.0]);
    let (head, _) = text.split_once("Tree=0").unwrap();
    let booster = load(&format!("{head}end of trees\n")).unwrap();
    assert_eq!(answers(&booster, &[0.0, 0.0]), [0.0]);
}

#[test]
fn what_contradicts_itself_is_refused_by_name() {
    for (tree, said) in [
        ("left_child=0", "cycle"),
        ("left_child=1", "child 1 of"),
        ("left_child=-3", "child -3 of"),
        ("left_child=-2147483648", "child -2147483648 of"),
        ("left_child=99999999999", "left_child"),
        ("left_child=", "left_child: 0 numbers, expected 1"),
        ("threshold=0.5 1", "threshold: more than 1"),
        ("threshold=x", "threshold: 'x'"),
        ("split_feature=2", "feature 2 of 2"),
        ("split_feature=-1", "split_feature"),
        ("num_leaves=0", "num_leaves=0"),
        ("num_leaves=3", "leaf_value: 2 numbers, expected 3"),
        ("num_leaves=18446744073709551615", "tree_nodes"),
        ("num_leaves=-2", "num_leaves=-2"),
        ("decision_type=1", "category set 0.5"),
        ("num_cat=1\ncat_boundaries=0 2\ncat_threshold=1", "cat_threshold: 1 numbers"),
        ("num_cat=2\ncat_boundaries=5 0 1\ncat_threshold=1", "cat_boundaries"),
        ("num_cat=18446744073709551615", "num_cat"),
        ("is_linear=1", "leaf_const is missing"),
        ("is_linear=1\nleaf_const=1 2\nnum_features=18446744073709551615 9", "num_features"),
        (
            "is_linear=1\nleaf_const=1 2\nnum_features=1 0\nleaf_features=2\nleaf_coeff=1",
            "leaf_features",
        ),
        ("leaf_count=1 -1\ninternal_count=2", "leaf_count: a count below zero"),
    ] {
        let error = load(&stump("", tree, "")).unwrap_err();
        assert!(error.message().contains(said), "{tree}: {error}");
        assert!(error.message().contains("tree") || said == "cycle", "{tree}: {error}");
    }
    for (head, said) in [
        ("max_feature_idx=-1", "max_feature_idx"),
        ("max_feature_idx=4294967295", "max_feature_idx"),
        ("max_feature_idx=5", "feature_names has 2 names for 6"),
        ("num_tree_per_iteration=0", "num_tree_per_iteration=0"),
        ("num_tree_per_iteration=2", "1 trees are no multiple"),
        ("tree_sizes=100 100", "tree_sizes has 2"),
    ] {
        let error = load(&stump(head, "", "")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidModel);
        assert!(error.message().contains(said), "{head}: {error}");
    }
}

#[test]
fn limits_are_kept() {
    let mut limits = LoadLimits::default();
    limits.trees = 1;
    assert_eq!(read(LINEAR.as_bytes(), &limits).unwrap_err().kind(), ErrorKind::LimitExceeded);
    let mut limits = LoadLimits::default();
    limits.tree_nodes = 10;
    assert_eq!(read(LINEAR.as_bytes(), &limits).unwrap_err().kind(), ErrorKind::LimitExceeded);
    let mut limits = LoadLimits::default();
    limits.tree_depth = 1;
    assert_eq!(read(LINEAR.as_bytes(), &limits).unwrap_err().kind(), ErrorKind::LimitExceeded);
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
fn no_truncation_is_taken_for_a_whole_model() {
    for text in [LINEAR, FOREST] {
        let whole = text.find("end of trees").unwrap() + "end of trees".len();
        for end in 0..text.len() {
            assert_eq!(survive(&text.as_bytes()[..end]), end >= whole, "{end}");
        }
    }
}

#[test]
fn no_flipped_bit_and_no_other_number_causes_a_panic() {
    for text in [LINEAR, FOREST] {
        let mut bytes = text.as_bytes().to_vec();
        for at in 0..bytes.len() {
            for bit in 0..8 {
                bytes[at] ^= 1 << bit;
                survive(&bytes);
                bytes[at] ^= 1 << bit;
            }
        }
        let words: Vec<&str> = text.split([' ', '=']).collect();
        for (i, word) in words.iter().enumerate() {
            for other in ["", "-1", "1e999", "nan", "4294967296", "-9223372036854775808", "\n"] {
                let at = words[..i].iter().map(|w| w.len() + 1).sum::<usize>();
                let after = &text[at + word.len()..];
                survive(format!("{}{other}{after}", &text[..at]).as_bytes());
            }
        }
    }
}
