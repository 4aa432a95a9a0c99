//! Descriptions that are refused, and where they say it.

use super::{config, file, import};
use crate::error::ErrorKind;

const LINEAR: &str = r#"{"type": "linear", "name": "fc", "in": 3, "out": 2}"#;

fn refused(config: &str, kind: ErrorKind, says: &str) {
    let bytes = file(&[("fc.weight", &[2, 3]), ("fc.bias", &[2])]);
    let e = import(bytes, config).unwrap_err();
    assert_eq!(e.kind(), kind, "{e}");
    assert!(e.message().contains(says), "'{e}' does not say '{says}'");
}

fn invalid(config: &str, says: &str) {
    refused(config, ErrorKind::InvalidModel, says);
}

#[test]
fn configurations_of_others_are_named() {
    use ErrorKind::Unsupported;
    let other = r#"{"model_type": "t5", "hidden_size": 768, "architectures": ["T5Model"]}"#;
    refused(other, Unsupported, "model_type 't5' (known: bert, roberta,");
    refused(other, Unsupported, "(keys: 'architectures', 'hidden_size'");
    refused(other, Unsupported, "modelserve-layers");
    invalid(r#"{"model_type": "bert"}"#, "config.json: $: key \"hidden_size\" is missing");
    refused(r#"{"format": "else"}"#, Unsupported, "format 'else'");
    refused("{}", Unsupported, "no \"format\" (keys: none)");
    let later = config("[\"n\", 3]", LINEAR, "").replace("\"version\": 1", "\"version\": 2");
    refused(&later, Unsupported, "$.version: version 2");
    invalid("[1]", "$: expected an object, got a list");
    invalid("{", "config.json: EOF");
    invalid(&format!("{}1", "[".repeat(500)), "recursion");
}

#[test]
fn unknown_and_repeated_keys_say_where() {
    let at = |layers: &str, says: &str| invalid(&config("[\"n\", 3]", layers, ""), says);
    at(
        r#"{"type": "relu"}, {"type": "linear", "name": "fc", "in": 3, "out": 2, "biass": true}"#,
        "$.layers[1].biass: unknown key; known here: type, name, in, out, bias",
    );
    at(r#"{"type": "relu", "alpha": 1}"#, "$.layers[0].alpha: unknown key");
    at(r#"{"type": "linear", "name": "fc", "in": 3}"#, "$.layers[0]: key \"out\" is missing");
    at(r#"{"type": "linear", "name": "", "in": 3, "out": 2}"#, "$.layers[0].name: the name is");
    at(r#"{"type": "linear", "name": "fc", "in": "3", "out": 2}"#, "$.layers[0].in: expected a");
    at(r#"{"type": "linear", "name": "fc", "in": -3, "out": 2}"#, "$.layers[0].in: expected a");
    at(r#"{"type": "linear", "type": "relu"}"#, "key \"type\" comes twice");
    at(r#"{"name": "fc"}"#, "$.layers[0]: key \"type\" is missing");
    at(r#"{"type": "elu", "alpha": 1e300}"#, "$.layers[0].alpha: inf is not finite");
    at("", "$.layers: no layers");
    refused(
        &config("[\"n\", 3]", r#"{"type": "lstn"}"#, ""),
        ErrorKind::Unsupported,
        "$.layers[0].type: unknown layer type \"lstn\"",
    );
    invalid(&config("[\"n\", 3]", LINEAR, r#", "extra": 1"#), "$.extra: unknown key");
}

#[test]
fn inputs_and_preprocessing_are_checked() {
    invalid(&config("[]", LINEAR, ""), "$.inputs[0].shape: expected 1 to 32 dimensions");
    invalid(&config("[\"n\", null]", LINEAR, ""), "$.inputs[0].shape[1]: expected a");
    let two = config("[\"n\", 3]", LINEAR, "")
        .replace("\"inputs\": [", r#""inputs": [{"name": "y", "shape": ["n", 3]}, "#);
    invalid(&two, "$.inputs[1]: nothing reads 'x'");
    let none = config("[\"n\", 3]", LINEAR, "").replace(r#"{"name": "x", "shape": ["n", 3]}"#, "");
    invalid(&none, "$.inputs: expected 1 to 1000 inputs, got 0");
    let axis =
        config("[\"n\", 3]", LINEAR, "").replace("\"shape\"", "\"batch_axis\": 2, \"shape\"");
    invalid(&axis, "$.inputs[0]: \"batch_axis\": axis 2 is out of range");
    let with = |more: &str, says: &str| {
        invalid(&config("[\"n\", 3]", LINEAR, &format!(", {more}")), says);
    };
    with(r#""preprocess": {}"#, "$.preprocess: neither");
    with(r#""preprocess": {"mean": [1, 2]}"#, "$.preprocess: mean: dimension 1 is 3 here");
    with(r#""preprocess": {"std": [1, 0, 1]}"#, "$.preprocess.std[1]: a standard deviation of 0");
    with(r#""preprocess": {"std": 1, "scale": 1}"#, "give one of them");
    with(r#""preprocess": {"mean": [1, 2, 3], "axis": 0}"#, "axis 0 is the batch");
    with(r#""preprocess": {"mean": [1, 2, 3], "axis": 5}"#, "axis 5 is out of range");
    with(r#""preprocess": {"mean": "a"}"#, "$.preprocess.mean: expected a number");
    with(r#""output": "x""#, "both named 'x'");
    with(r#""dtype": "float16""#, "$.dtype: float16: layers compute in");
    with(r#""dtype": "float33""#, "$.dtype: unknown element type");
    with(r#""feature_names": ["a", "b"]"#, "$.feature_names: 2 names for 3 features");
}

#[test]
fn tasks_are_checked() {
    let with = |more: &str, says: &str| {
        invalid(&config("[\"n\", 3]", LINEAR, &format!(", {more}")), says);
    };
    with(r#""task": "oracle""#, "$.task: \"oracle\", expected one of classifier");
    with(r#""task": "classifier""#, "needs \"output_kind\"");
    with(r#""classes": ["a", "b"]"#, "classes need \"task\"");
    with(r#""output_kind": "logits""#, "does not fit the task");
    let classifier = |more: &str, says: &str| {
        with(&format!(r#""task": "classifier", "output_kind": "logits", {more}"#), says);
    };
    classifier(r#""classes": ["a", "b", "c"]"#, "3 classes for 2 outputs");
    classifier(r#""classes": ["a", 1]"#, "$.classes[1]: expected a string");
    classifier(r#""classes": [1, 1]"#, "two distinct classes");
    let soft = format!(r#"{LINEAR}, {{"type": "softmax"}}, {{"type": "dropout"}}"#);
    let more = r#", "task": "classifier", "output_kind": "logits""#;
    invalid(&config("[\"n\", 3]", &soft, more), "the last layer is a softmax");
}

#[test]
fn tensors_and_dimensions_must_fit() {
    let at = |shape: &str, layers: &str, says: &str| invalid(&config(shape, layers, ""), says);
    at("[\"n\", 4]", LINEAR, "$.layers[0] (linear): dimension 1 is 4 here, expected 3");
    at(
        "[\"n\", 4]",
        r#"{"type": "linear", "name": "fc", "in": 4, "out": 2}"#,
        "$.layers[0] (linear): tensor 'fc.weight' has shape [2, 3], expected [2, 4]",
    );
    at(
        "[\"n\", 3]",
        r#"{"type": "linear", "name": "fd", "in": 3, "out": 2}"#,
        "the file has no tensor 'fd.bias'; it has 'fc.bias', 'fc.weight'",
    );
    at(
        "[\"n\", 3]",
        r#"{"type": "linear", "name": "fc", "in": 3, "out": 2, "bias": false}"#,
        "1 of 2 tensors of the safetensors file belong to no layer ('fc.bias')",
    );
    let lenient = r#"{"type": "linear", "name": "fc", "in": 3, "out": 2, "bias": false}"#;
    let bytes = file(&[("fc.weight", &[2, 3]), ("fc.bias", &[2])]);
    import(bytes, &config("[\"n\", 3]", lenient, r#", "ignore_unused": true"#)).unwrap();
    at("[\"n\"]", LINEAR, "expected a batch and a feature dimension, got rank 1");
    at("[\"n\", 3]", &format!("{LINEAR}, {LINEAR}"), "$.layers[1] (linear): dimension 1 is 2");
    at(
        "[\"n\", 3]",
        r#"{"type": "embedding", "name": "fc", "num": 2, "dim": 3}"#,
        "an embedding takes int64",
    );
    at("[\"n\", 3]", r#"{"type": "softmax", "axis": 0}"#, "axis 0 is the batch");
    at("[\"n\", 3]", r#"{"type": "mean", "axis": -3}"#, "out of range");
    let conv = |kernel: &str| {
        format!(r#"{{"type": "conv1d", "name": "fc", "in": 1, "out": 2, "kernel": {kernel}}}"#)
    };
    at("[\"n\", 3]", &conv("3"), "expected 3 dimensions, got 2");
    at("[\"n\", 1, 2]", &conv("0"), "$.layers[0].kernel: expected 1 sizes from 1");
    at("[\"n\", 1, 2]", &conv("[1, 2]"), "$.layers[0].kernel: expected 1 sizes");
    at("[\"n\", 1, 2]", &conv("3, \"groups\": 0"), "0 groups do not divide");
    let pool = r#"{"type": "max_pool2d", "kernel": 3}"#;
    at("[\"n\", 1, 2, 9]", pool, "a window of 3 does not fit an axis of 2");
    let big = r#"{"type": "layer_norm", "name": "n", "size": 1099511627776, "affine": false}"#;
    refused(
        &config("[\"n\", \"m\"]", big, ""),
        ErrorKind::LimitExceeded,
        "a vector of 1099511627776 numbers that the file does not hold",
    );
}

#[test]
fn what_no_byte_of_the_file_pays_for_is_bounded() {
    let limit = ErrorKind::LimitExceeded;
    let long = "n".repeat(129);
    refused(&config(&format!("[\"{long}\", 3]"), LINEAR, ""), limit, "name of 129 bytes");
    let relu = r#"{"type": "relu"}"#;
    let many = vec![relu; 10_001].join(",");
    refused(&config("[\"n\", 3]", &many, ""), limit, "10001 layers");
    let plain = r#"{"type": "layer_norm", "name": "n", "size": 2000000, "affine": false}"#;
    let many = vec![plain; 20].join(",");
    refused(&config("[\"n\", \"m\"]", &many, ""), limit, "2000000 numbers");
    refused(&" ".repeat((4 << 20) + 1), limit, "4194305 bytes");
}

#[test]
fn nesting_fits_a_small_stack() {
    let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let run = move || {
        for depth in [100, 127, 128, 129, 100_000] {
            invalid(&deep(depth), if depth < 128 { "$: expected an object" } else { "recursion" });
        }
    };
    std::thread::Builder::new().stack_size(512 << 10).spawn(run).unwrap().join().unwrap();
}

#[test]
fn mutated_descriptions_never_panic() {
    let layers = format!(
        r#"{LINEAR}, {{"type": "elu", "alpha": 0.5}}, {{"type": "layer_norm", "name": "fc",
        "size": 2, "eps": 1e-6}}, {{"type": "unsqueeze", "axis": 1, "as": "a"}},
        {{"type": "pad", "before": 1, "after": 1, "mode": "reflect"}},
        {{"type": "slice", "axis": -1, "start": 1, "end": -1, "step": 1}},
        {{"type": "add", "with": ["a"]}}, {{"type": "permute", "axes": [0, 2, 1]}},
        {{"type": "flatten", "start": 1, "end": 2}}, {{"type": "reshape", "shape": [-1, 1, 2]}},
        {{"type": "branches", "branches": [[], [{{"type": "mean", "axis": [3], "keep": true}},
        {{"type": "select", "axis": 2, "index": 0}}, {{"type": "unsqueeze", "axis": 2}}]],
        "join": "add"}}, {{"type": "adaptive_avg_pool2d", "size": [1, 2]}},
        {{"type": "max_pool2d", "kernel": [1, 2], "padding": 0, "ceil_mode": true}},
        {{"type": "conv_transpose1d", "name": "fc", "in": 2, "out": 2, "kernel": [3],
        "stride": 1, "output_padding": 0}}"#
    );
    let more = r#", "preprocess": {"mean": [1, 2, 3], "std": 2, "axis": 1}, "task": "classifier",
        "classes": ["a", "b"], "output_kind": "logits", "feature_names": ["a", "b", "c"]"#;
    let good = config("[\"n\", 3]", &layers, more).into_bytes();
    let bytes = file(&[("fc.weight", &[2, 3]), ("fc.bias", &[2])]);
    let mut state = 0x2545_f491_4f6c_dd1du64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as usize
    };
    for _ in 0..4000 {
        let mut text = good.clone();
        for _ in 0..1 + next() % 2 {
            let at = next() % text.len();
            match next() % 3 {
                0 => text[at] = b"0919-.e{}[],:\"n"[next() % 15],
                1 => drop(text.remove(at)),
                _ => text[at] ^= 1 << (next() % 7),
            }
        }
        if let Ok(text) = std::str::from_utf8(&text) {
            let _ = import(bytes.clone(), text);
        }
    }
}

#[test]
fn connections_are_checked() {
    let at = |layers: &str, more: &str, says: &str| {
        invalid(&config("[\"n\", 3]", layers, more), says);
    };
    at(
        r#"{"type": "relu", "from": "y"}"#,
        "",
        "$.layers[0] (relu): no input or earlier result is named 'y'; there are 'x'",
    );
    at(r#"{"type": "relu", "as": "x"}"#, "", "two inputs or results are named 'x'");
    at(r#"{"type": "add"}"#, "", "$.layers[0]: \"with\" says what else");
    at(
        r#"{"type": "relu"}, {"type": "tanh", "from": "x"}"#,
        "",
        "$.layers[1].from: nothing reads the result of the layer before",
    );
    let wider = r#"{"type": "unsqueeze", "axis": 1, "as": "w"}, {"type": "add", "with": "x"}"#;
    at(wider, "", "3 dimensions with the batch at 0 and 2 with the batch at 0");
    let sizes = r#"{"type": "slice", "axis": 1, "end": 2}, {"type": "add", "with": "x"}"#;
    at(sizes, "", "dimension 1 is both 2 and 3");
    at(r#"{"type": "residual", "layers": []}"#, "", "$.layers[0].layers: no layers");
    at(
        r#"{"type": "residual", "layers": [{"type": "softmax", "axis": 0}]}"#,
        "",
        "$.layers[0].layers[0] (softmax): axis 0 is the batch",
    );
    at(r#"{"type": "branches", "branches": [[]]}"#, "", "expected two branches or more");
    at(r#"{"type": "permute", "axes": [0, 0]}"#, "", "are no order of 2 dimensions");
    at(r#"{"type": "permute", "axes": [1, 0]}, {"type": "flatten"}"#, "", "is the batch");
    at(r#"{"type": "reshape", "shape": [2]}"#, "", "3 values a row do not fit the shape");
    at(r#"{"type": "reshape", "shape": [-1, -1]}"#, "", "$.layers[0].shape: -1 stands twice");
    at(r#"{"type": "select", "axis": 1, "index": 3}"#, "", "entry 3 of dimension 1, which has 3");
    at(r#"{"type": "slice", "axis": 1, "start": 3}"#, "", "nothing is left of dimension 1");
    at(r#"{"type": "pad", "before": 3, "mode": "reflect"}"#, "", "cannot be reflected 3 times");
    at(r#"{"type": "pad", "mode": "wrap"}"#, "", "expected one of constant, reflect, edge");
    at(
        r#"{"type": "multihead_attention", "name": "a", "size": 3, "heads": 2}"#,
        "",
        "2 heads do not divide a size of 3",
    );
    at(
        r#"{"type": "lstm", "name": "a", "in": 3, "hidden": 2, "state": "x"}"#,
        "",
        "\"state\" names 1 tensors, the state of LSTM is 2",
    );
    let relu = r#"{"type": "relu"}"#;
    let outputs = |list: &str| format!(r#", "outputs": {list}"#);
    at(relu, &outputs("[]"), "$.outputs: expected 1 to 1000 outputs, got 0");
    at(relu, &outputs(r#"[{"name": "x"}]"#), "input and output are both named 'x'");
    at(relu, &outputs(r#"[{"name": "a"}, {"name": "a"}]"#), "two outputs are named 'a'");
    at(relu, &outputs(r#"[{"name": "a", "from": "b"}]"#), "is named 'b'");
    at(relu, r#", "output": "a", "outputs": [{"name": "a"}]"#, "\"output\" names the only output");
    at(
        relu,
        r#", "task": "regressor", "outputs": [{"name": "a"}, {"name": "b"}]"#,
        "$.task: a task is for one output, there are 2",
    );
}

#[test]
fn layers_nest_only_so_deep() {
    let deep = |depth: usize| {
        let open = r#"{"type": "residual", "layers": ["#.repeat(depth);
        format!(r#"{open}{{"type": "relu"}}{}"#, "]}".repeat(depth))
    };
    let bytes = file(&[]);
    import(bytes, &config("[\"n\", 3]", &deep(7), "")).unwrap();
    refused(
        &config("[\"n\", 3]", &deep(8), ""),
        ErrorKind::LimitExceeded,
        "lists of layers nest deeper than 8",
    );
}
