use super::read;
use crate::ensemble::{Booster, Learner, Link, Outcome, Precision};
use crate::error::{ErrorKind, Result};
use crate::limits::LoadLimits;

const NAN: f64 = f64::NAN;

fn load(bytes: impl AsRef<[u8]>) -> Result<Booster> {
    read(bytes.as_ref(), &LoadLimits::default())
}

fn margins(booster: &Booster, row: &[f64]) -> Vec<f64> {
    match &booster.learner {
        Learner::Trees(ensemble) => ensemble.margins(row),
        Learner::Linear(linear) => linear.margins(row),
    }
}

/// A document around a booster.
fn document(booster: &str, objective: &str, base_score: &str, extra: &str) -> String {
    format!(
        r#"{{"learner":{{"attributes":{{}},"feature_names":["a","b"],"feature_types":["float","c"],
        "gradient_booster":{booster},"learner_model_param":{{"base_score":"{base_score}",
        "num_feature":"2"{extra}}},"objective":{{"name":"{objective}"}}}},"version":[3,2,0]}}"#
    )
}

/// A trunk with a threshold (missing goes right) whose left child asks for category 1 or 3
/// (missing goes left), and leaves 10, 20 and 40.
const TREE: &str = r#"{"tree_param":{"num_nodes":"5","size_leaf_vector":"1"},
    "left_children":[1,3,-1,-1,-1],"right_children":[2,4,-1,-1,-1],"split_indices":[0,1,0,0,0],
    "split_conditions":[1.5E0,0,4E1,1E1,2E1],"default_left":[false,true,false,false,false],
    "split_type":[0,1,0,0,0],"categories":[1,3],"categories_nodes":[1],
    "categories_segments":[0],"categories_sizes":[2],"parents":[2147483647,0,0,1,1],
    "sum_hessian":[9,5,4,2,3],"loss_changes":[7,6,0,0,0]}"#;

fn trees(trees: &[&str], info: &str) -> String {
    format!(
        r#"{{"name":"gbtree","model":{{"gbtree_model_param":{{"num_parallel_tree":"1"}},
        "tree_info":{info},"trees":[{}]}}}}"#,
        trees.join(",")
    )
}

fn small() -> String {
    document(&trees(&[TREE], "[0]"), "reg:squarederror", "[5E-1]", "")
}

/// A value in UBJSON, typed arrays as XGBoost writes them for floats and integers.
fn ubjson(value: &serde_json::Value, out: &mut Vec<u8>) {
    use serde_json::Value;
    fn text(text: &str, out: &mut Vec<u8>) {
        out.push(b'L');
        out.extend((text.len() as i64).to_be_bytes());
        out.extend(text.bytes());
    }
    match value {
        Value::Null => out.push(b'Z'),
        Value::Bool(b) => out.push(if *b { b'T' } else { b'F' }),
        Value::Number(n) if n.is_i64() => {
            out.push(b'l');
            out.extend((n.as_i64().unwrap() as i32).to_be_bytes());
        }
        Value::Number(n) => {
            out.push(b'd');
            out.extend((n.as_f64().unwrap() as f32).to_be_bytes());
        }
        Value::String(s) => {
            out.push(b'S');
            text(s, out);
        }
        Value::Array(items) if !items.is_empty() && items.iter().all(Value::is_i64) => {
            out.extend(b"[$l#L");
            out.extend((items.len() as i64).to_be_bytes());
            out.extend(items.iter().flat_map(|i| (i.as_i64().unwrap() as i32).to_be_bytes()));
        }
        Value::Array(items) => {
            out.extend(b"[#L");
            out.extend((items.len() as i64).to_be_bytes());
            items.iter().for_each(|item| ubjson(item, out));
        }
        Value::Object(entries) => {
            out.push(b'{');
            for (key, value) in entries {
                text(key, out);
                ubjson(value, out);
            }
            out.push(b'}');
        }
    }
}

fn small_ubjson() -> Vec<u8> {
    let mut out = Vec::new();
    ubjson(&serde_json::from_str(&small()).unwrap(), &mut out);
    out
}

fn refused(bytes: impl AsRef<[u8]>, kind: ErrorKind, says: &str) {
    let error = load(bytes).expect_err(says);
    assert_eq!(error.kind(), kind, "{error}");
    assert!(error.message().contains(says), "{says}: {error}");
}

#[test]
fn a_row_takes_the_branches_that_xgboost_takes() {
    let booster = load(small()).unwrap();
    for (row, margin) in [
        ([1.5, 0.0], 40.5),
        ([1.4999999, 0.0], 10.5),
        // A float just below the threshold is the threshold in single precision.
        ([1.499_999_999_9, 0.0], 40.5),
        ([NAN, 1.0], 40.5),
        ([f64::NEG_INFINITY, 1.0], 20.5),
        ([f64::INFINITY, 1.0], 40.5),
        // In the set, cut to an integer, is right; everything else is left.
        ([0.0, 3.9], 20.5),
        ([0.0, 2.0], 10.5),
        ([0.0, -1.0], 10.5),
        ([0.0, -0.5], 10.5),
        ([0.0, 1e9], 10.5),
        ([0.0, f64::INFINITY], 10.5),
        ([0.0, NAN], 10.5),
    ] {
        assert_eq!(margins(&booster, &row), [margin], "{row:?}");
    }
    let Learner::Trees(ensemble) = &booster.learner else { panic!("no trees") };
    assert_eq!(ensemble.cover, [9.0, 5.0, 4.0, 2.0, 3.0]);
    assert_eq!(ensemble.gain, [7.0, 6.0, 0.0, 0.0, 0.0]);
    assert_eq!(booster.feature_names.as_deref(), Some(&["a".to_string(), "b".into()][..]));
    assert_eq!(booster.metadata["objective"], "reg:squarederror");
    assert_eq!(booster.metadata["xgboost_version"], "3.2.0");
    assert_eq!(booster.metadata["categorical_features"], "1");
}

#[test]
fn both_syntaxes_say_the_same() {
    assert_eq!(load(small_ubjson()).unwrap(), load(small()).unwrap());
}

#[test]
fn objectives_say_what_a_margin_means() {
    let load_as = |objective: &str, base: &str, extra: &str| {
        load(document(&trees(&[], "[]"), objective, base, extra)).unwrap()
    };
    // Figures of XGBoost 3.2 with base_score = 0.3.
    for (objective, link, outcome, margin) in [
        ("reg:squarederror", Link::Identity, Outcome::Values, 0.3),
        ("rank:ndcg", Link::Identity, Outcome::Values, 0.3),
        ("reg:logistic", Link::Sigmoid { slope: 1.0 }, Outcome::Values, -0.847_297_85),
        ("binary:logistic", Link::Sigmoid { slope: 1.0 }, Outcome::Binary, -0.847_297_85),
        ("binary:logitraw", Link::Identity, Outcome::Values, 0.3),
        ("binary:hinge", Link::Hinge, Outcome::Binary, 0.3),
        ("count:poisson", Link::Exp, Outcome::Values, -1.203_972_8),
        ("reg:gamma", Link::Exp, Outcome::Values, -1.203_972_8),
        ("reg:tweedie", Link::Exp, Outcome::Values, -1.203_972_8),
        ("survival:cox", Link::Exp, Outcome::Values, -1.203_972_8),
        ("survival:aft", Link::WideExp, Outcome::Values, -1.203_972_8),
    ] {
        for base in ["3E-1", "[3E-1]"] {
            let booster = load_as(objective, base, "");
            assert_eq!((booster.link, booster.outcome), (link, outcome), "{objective}");
            assert_eq!(margins(&booster, &[0.0, 0.0]), [f64::from(margin as f32)], "{objective}");
        }
    }
    let booster = load_as("multi:softmax", "[1,2E0,3]", r#","num_class":"3","num_target":"1""#);
    assert_eq!((booster.link, booster.outcome), (Link::Softmax, Outcome::Classes));
    assert_eq!(margins(&booster, &[0.0, 0.0]), [1.0, 2.0, 3.0]);
    let labels = load_as("binary:logistic", "5E-1", r#","num_target":"3""#);
    assert_eq!(labels.outcome, Outcome::Values);
    let refused_as = |objective: &str, base: &str, kind, says: &str| {
        refused(document(&trees(&[], "[]"), objective, base, ""), kind, says);
    };
    refused_as("my:own", "0", ErrorKind::Unsupported, "my:own");
    refused_as("binary:logistic", "1", ErrorKind::InvalidModel, "base_score");
    refused_as("reg:gamma", "-1", ErrorKind::InvalidModel, "base_score");
    refused_as("reg:squarederror", "[1,2]", ErrorKind::InvalidModel, "2 numbers for 1 targets");
    refused_as("reg:squarederror", "x", ErrorKind::InvalidModel, "base_score");
    refused_as("multi:softprob", "1", ErrorKind::InvalidModel, "num_class");
}

#[test]
fn dropped_trees_weigh_less() {
    let inner = trees(&[TREE, TREE], "[0,0]");
    let dart = |weights| format!(r#"{{"name":"dart","gbtree":{inner},"weight_drop":{weights}}}"#);
    let document = |weights| document(&dart(weights), "reg:squarederror", "0", "");
    let booster = load(document("[1,1E-1]")).unwrap();
    let expected = 10.0f32 + 0.1f32 * 10.0;
    assert_eq!(margins(&booster, &[0.0, 0.0]), [f64::from(expected)]);
    refused(document("[1]"), ErrorKind::InvalidModel, "weight_drop has 1 elements for 2 trees");
}

#[test]
fn a_file_with_a_best_round_ends_there() {
    let two = document(&trees(&[TREE, TREE, TREE], "[0,0,0]"), "reg:squarederror", "0", "");
    let best = |round: &str| {
        two.replace(
            r#""attributes":{}"#,
            &format!(r#""attributes":{{"best_iteration":"{round}"}}"#),
        )
    };
    for (round, margin) in [("0", 10.0), ("1", 20.0), ("2", 30.0), ("9", 30.0), ("-1", 30.0)] {
        assert_eq!(margins(&load(best(round)).unwrap(), &[0.0, 0.0]), [margin], "{round}");
    }
    let rounds = best("0").replace(r#""tree_info""#, r#""iteration_indptr":[0,2,3],"tree_info""#);
    assert_eq!(margins(&load(&rounds).unwrap(), &[0.0, 0.0]), [20.0]);
    let forest = best("0").replace(r#"parallel_tree":"1""#, r#"parallel_tree":"2""#);
    assert_eq!(margins(&load(&forest).unwrap(), &[0.0, 0.0]), [20.0]);
    refused(best("x"), ErrorKind::InvalidModel, "best_iteration");
}

#[test]
fn vector_leaves_add_to_every_target() {
    // As 3.2 writes them: a leaf's right child is its row.
    let new = r#"{"tree_param":{"size_leaf_vector":"2"},"left_children":[1,-1,-1],
        "right_children":[2,1,0],"split_indices":[0,0,0],"split_conditions":[0,NaN,-Infinity],
        "default_left":[1,0,0],"leaf_weights":[1,2,3,4]}"#;
    // As 2.0 does: a row for each node.
    let old = r#"{"tree_param":{"size_leaf_vector":"2"},"left_children":[1,-1,-1],
        "right_children":[2,-1,-1],"split_indices":[0,0,0],"split_conditions":[0,NaN,NaN],
        "default_left":[1,0,0],"base_weights":[9,9,3,4,1,2]}"#;
    let targets = r#","num_class":"0","num_target":"2""#;
    let with =
        |tree: &str| document(&trees(&[tree], "[0]"), "reg:squarederror", "[0,5E-1]", targets);
    for tree in [new, old] {
        let booster = load(with(tree)).unwrap();
        assert_eq!(margins(&booster, &[-1.0, 0.0]), [3.0, 4.5]);
        assert_eq!(margins(&booster, &[0.0, 0.0]), [1.0, 2.5]);
    }
    refused(with(&new.replace("[2,1,0]", "[2,2,0]")), ErrorKind::InvalidModel, "leaf_weights");
    refused(with(&new.replace("[2,1,0]", "[2,-1,0]")), ErrorKind::InvalidModel, "leaf_weights");
    refused(with(&old.replace(",1,2]", ",1]")), ErrorKind::InvalidModel, "base_weights");
    let three = new.replace(r#"vector":"2""#, r#"vector":"3""#);
    refused(with(&three), ErrorKind::InvalidModel, "size_leaf_vector");
}

#[test]
fn a_linear_booster_starts_with_bias_and_base() {
    let linear = r#"{"name":"gblinear","model":{"boosted_rounds":1,"weights":[1,2,3,4,5,6]}}"#;
    let targets = r#","num_target":"2""#;
    let text = document(linear, "reg:squarederror", "[5E-1,7E0]", targets);
    let booster = load(&text).unwrap();
    // The first base score serves all targets, as in XGBoost.
    assert_eq!(margins(&booster, &[1.0, NAN]), [6.5, 8.5]);
    assert_eq!(margins(&booster, &[1.0, 10.0]), [36.5, 48.5]);
    refused(text.replace(",5,6]", ",5]"), ErrorKind::InvalidModel, "5 weights");
}

#[test]
fn labels_of_categories_are_read() {
    let cats = r#""cats":{"enc":[{"type":15,"values":[0,10]},{"offsets":[0,1,3,5],
        "values":[118,119,119,120,121]}],"feature_segments":[0,2,5]},"tree_info""#;
    let booster = load(small().replace(r#""tree_info""#, cats)).unwrap();
    assert_eq!(booster.categories.len(), 1);
    assert_eq!(booster.categories[&1], ["v", "ww", "xy"]);
    // XGBoost cuts what is not ASCII in wrong places: here an é.
    let cut = cats.replace("120,121", "-61,-87");
    assert!(load(small().replace(r#""tree_info""#, &cut)).unwrap().categories.is_empty());
    let out = cats.replace("[0,1,3,5]", "[0,1,3,6]");
    assert!(load(small().replace(r#""tree_info""#, &out)).unwrap().categories.is_empty());
}

#[test]
fn what_contradicts_itself_is_refused_by_name() {
    for (from, to, says) in [
        ("[1,3,-1,-1,-1]", "[1,3,-1,-1]", "right_children has 5 elements for 4 nodes"),
        ("[2,4,-1,-1,-1]", "[2,5,-1,-1,-1]", "node 1: child 5 of 5 nodes"),
        ("[2,4,-1,-1,-1]", "[2,-2,-1,-1,-1]", "child -2"),
        ("[2,4,-1,-1,-1]", "[2,0,-1,-1,-1]", "child 0"),
        ("[2,4,-1,-1,-1]", "[2,1,-1,-1,-1]", "cycle"),
        ("[0,1,0,0,0],\n    \"split_cond", "[2,1,0,0,0],\n    \"split_cond", "feature 2 of 2"),
        ("[0,1,0,0,0],\n    \"split_cond", "[-1,1,0,0,0],\n    \"split_cond", "split index -1"),
        ("\"default_left\":[false,", "\"default_left\":[", "default_left has 4 elements"),
        ("\"categories_nodes\":[1]", "\"categories_nodes\":[0]", "not in categories_nodes"),
        ("\"categories_nodes\":[1]", "\"categories_nodes\":[9]", "categories_nodes"),
        ("\"categories_sizes\":[2]", "\"categories_sizes\":[3]", "categories_nodes"),
        ("\"categories_sizes\":[2]", "\"categories_sizes\":[]", "categories_sizes has 0"),
        ("\"sum_hessian\":[9,", "\"sum_hessian\":[", "sum_hessian has 4"),
        ("\"split_conditions\"", "\"other\"", "split_conditions"),
        ("\"base_score\"", "\"other\"", "base_score"),
        ("\"trees\"", "\"other\"", "trees"),
        ("\"tree_info\"", "\"other\"", "tree_info"),
        ("\"tree_info\":[0]", "\"tree_info\":[1]", "tree_info 1 of 1 targets"),
        ("\"tree_info\":[0]", "\"tree_info\":[-1]", "tree_info -1 of 1 targets"),
        ("\"tree_info\":[0]", "\"tree_info\":[0,0]", "tree_info has 2 elements for 1 trees"),
        ("\"learner\"", "\"other\"", "learner"),
        ("\"num_feature\":\"2\"", "\"num_feature\":\"-2\"", "num_feature"),
        ("[\"a\",\"b\"]", "[\"a\"]", "1 feature_names for 2 features"),
    ] {
        let text = small();
        assert!(text.contains(from), "{from}");
        refused(text.replacen(from, to, 1), ErrorKind::InvalidModel, says);
    }
    // Segments that overlap could cost more than the file has bytes.
    let twice = small()
        .replace("\"categories_nodes\":[1]", "\"categories_nodes\":[1,0]")
        .replace("\"categories_segments\":[0]", "\"categories_segments\":[0,0]")
        .replace("\"categories_sizes\":[2]", "\"categories_sizes\":[2,2]");
    refused(twice, ErrorKind::InvalidModel, "categories_sizes");
    let targets = document(&trees(&[], "[]"), "reg:gamma", "1", r#","num_target":"9999999""#);
    refused(targets, ErrorKind::InvalidModel, "9999999 targets");
    let booster = small().replace("\"gbtree\"", "\"gbforest\"");
    refused(booster, ErrorKind::Unsupported, "gbforest");
}

#[test]
fn limits_are_kept() {
    let with = |change: fn(&mut LoadLimits)| {
        let mut limits = LoadLimits::default();
        change(&mut limits);
        let error = read(small().as_bytes(), &limits).expect_err("a limit");
        assert_eq!(error.kind(), ErrorKind::LimitExceeded);
        error.message().to_string()
    };
    assert!(with(|l| l.trees = 0).contains("LoadLimits::trees"));
    assert!(with(|l| l.tree_nodes = 4).contains("LoadLimits::tree_nodes"));
    assert!(with(|l| l.tree_depth = 1).contains("LoadLimits::tree_depth"));
}

#[test]
fn other_formats_are_refused_with_what_to_do() {
    for bytes in [&b"binf\0\0\0\0\x3f"[..], b"bs64\t", b"\x80\x04\x95\0", b"[\n  {\"nodeid\": 0}]"]
    {
        refused(bytes, ErrorKind::Unsupported, "save_model()");
    }
    refused(b"\0\0\0\x3f\x04\0\0\0", ErrorKind::InvalidModel, "save_model()");
    refused(b"", ErrorKind::InvalidModel, "empty");
    refused(b"{}", ErrorKind::InvalidModel, "learner");
    refused(b"{", ErrorKind::InvalidModel, "byte 1");
}

#[test]
fn nothing_nests_without_bound() {
    for open in ["[", "{\"a\":"] {
        let text = format!("{{\"a\":{}", open.repeat(1_000_000));
        refused(text, ErrorKind::InvalidModel, "nested deeper");
    }
    for open in [&b"["[..], b"{i\x01a"] {
        let mut bytes = b"{i\x01a".to_vec();
        bytes.extend(open.repeat(1_000_000));
        refused(bytes, ErrorKind::InvalidModel, "nested deeper");
    }
}

#[test]
fn lengths_are_checked_before_they_are_believed() {
    let huge = i64::MAX.to_be_bytes();
    for head in [&b"[$d#L"[..], b"[#L", b"[$U#L", b"{#L", b"SL", b"[$l#L"] {
        for length in [huge, 1000i64.to_be_bytes(), (-1i64).to_be_bytes()] {
            let mut bytes = b"{i\x01a".to_vec();
            bytes.extend(head);
            bytes.extend(length);
            bytes.extend([0; 20]);
            refused(&bytes, ErrorKind::InvalidModel, "byte");
        }
    }
    // Elements without bytes.
    refused(b"{i\x01a[$Z#l\x7f\xff\xff\xff}", ErrorKind::InvalidModel, "type of numbers");
    refused(b"{i\x01a[$[#i\x01]}", ErrorKind::InvalidModel, "type of numbers");
}

#[test]
fn every_type_of_ubjson_is_read() {
    let mut bytes = small_ubjson();
    bytes.pop();
    for value in [
        &b"i\xff"[..],
        b"U\xff",
        b"I\0\x01",
        b"l\0\0\0\x01",
        b"L\0\0\0\0\0\0\0\x01",
        b"d\0\0\0\0",
        b"D\0\0\0\0\0\0\0\0",
        b"Ca",
        b"Si\x01a",
        b"Z",
        b"NNT",
        b"F",
        b"[]",
        b"{}",
        b"[NTFN]",
        b"[$S#i\x02i\x01ai\x01b",
        b"{#i\x01i\x01aT",
        b"{$U#i\x01i\x01a\x07",
        b"[$C#i\x02ab",
    ] {
        bytes.extend(b"i\x07unknown");
        bytes.extend(value);
    }
    bytes.push(b'}');
    assert_eq!(load(&bytes).unwrap(), load(small()).unwrap());
    *bytes.last_mut().unwrap() = b'i';
    bytes.extend(b"\x01aH");
    refused(&bytes, ErrorKind::InvalidModel, "known type");
}

#[test]
fn strings_of_json_are_unescaped() {
    let text = small().replace("\"a\",\"b\"", r#""\"\\\/\n\u00e9","\ud83d\ude00x""#);
    let names = load(text).unwrap().feature_names.unwrap();
    assert_eq!(names, ["\"\\/\né", "😀x"]);
    for bad in [r#"\ud83d"#, r#"\ude00"#, r#"\u12"#, r#"\x"#, r#"\u+123"#] {
        refused(small().replace("\"a\"", &format!("\"{bad}\"")), ErrorKind::InvalidModel, "byte");
    }
    let mut bytes = small().into_bytes();
    bytes.extend(b"x");
    refused(&bytes, ErrorKind::InvalidModel, "end of the file");
}

#[test]
fn no_truncation_and_no_flipped_bit_panics() {
    for bytes in [small().into_bytes(), small_ubjson()] {
        for length in 0..bytes.len() {
            assert!(load(&bytes[..length]).is_err(), "{length}");
        }
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut bytes = bytes.clone();
                bytes[at] ^= 1 << bit;
                if let Ok(booster) = load(&bytes) {
                    let mut margins = margins(&booster, &[0.0; 64]);
                    booster.link.apply(&mut margins, Precision::F32);
                }
            }
        }
    }
}
