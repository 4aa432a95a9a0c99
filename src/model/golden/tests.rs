use super::*;
use crate::error::ErrorKind;
use crate::graph::{Dim, ValueType};
use crate::model::{Features, FnModel, LoadOptions, Task, TensorSpec, load};
use crate::tensor::{ElementType, Tensor};

/// Twice the sum of two features.
fn doubled() -> FnModel {
    FnModel::regressor(2, |row| Ok(2.0 * row.iter().sum::<f32>()))
}

fn verify(line: &str, model: &dyn Model) -> Result<()> {
    let golden = Golden::parse(line.as_bytes(), &model.signature())?;
    assert_eq!(golden.len(), 1);
    golden[0].verify(model, &mut Ctx::default())
}

#[test]
fn right_answers_pass_and_wrong_ones_are_named() {
    let model = doubled();
    for line in [
        r#"{"row": [1, 2], "prediction": 6}"#,
        r#"{"row": [1, 2], "prediction": 6.00001}"#,
        r#"{"row": [1, 2], "prediction": 6.5, "tolerance": 0.1}"#,
        r#"{"row": [1, 2]}"#,
        r#"{"rows": [[1, 2], [0.25, 0]], "predictions": [6, 0.5]}"#,
        r#"{"rows": [[1, 2], [null, 0]], "predictions": [6, "NaN"]}"#,
        r#"{"row": ["Infinity", 0], "prediction": "Infinity"}"#,
        r#"{"inputs": {"x": [[1, 2], [3, 4]]}, "outputs": {"y": [[6], [14]]}}"#,
        r#"{"inputs": {"x": [[1, 2]]}}"#,
    ] {
        verify(line, &model).unwrap_or_else(|e| panic!("{line}: {e}"));
    }
    for (line, says) in [
        (r#"{"row": [1, 2], "prediction": 7}"#, "row 0: value 0: expected 7, got 6 (off by 1e0)"),
        (r#"{"row": [1, 2], "prediction": "Infinity"}"#, "expected inf, got 6"),
        (r#"{"row": [null, 2], "prediction": 7}"#, "got NaN"),
        (r#"{"rows": [[1, 2], [0, 0]], "predictions": [5, 3]}"#, "row 1"),
        (r#"{"rows": [[1, 2]], "predictions": [6, 6]}"#, "rows: expected 2, got 1"),
        (r#"{"row": [1, 2], "probabilities": [1]}"#, "expected probabilities, got none"),
        (r#"{"inputs": {"x": [[1, 2]]}, "outputs": {"y": [[9]]}}"#, "output 'y'[0]"),
        (
            r#"{"inputs": {"x": [[1, 2]]}, "outputs": {"y": [9]}}"#,
            "shape: expected [1], got [1, 1]",
        ),
    ] {
        let e = verify(line, &model).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::InvalidModel, "{line}");
        assert!(e.message().contains(says) && e.message().contains("line 1"), "{line}: {e}");
    }
}

#[test]
fn malformed_lines_are_refused_by_number() {
    let signature = doubled().signature();
    for (line, says) in [
        ("{", "not a JSON object"),
        ("[1]", "not a JSON object"),
        ("{}", "just one of"),
        (r#"{"row": [1], "rows": [[1]]}"#, "just one of"),
        (r#"{"inputs": [1]}"#, "just one of"),
        (r#"{"row": [1, 2], "expect": 1}"#, "\"expect\""),
        (r#"{"row": [1, 2], "predictions": [1]}"#, "does not go with"),
        (r#"{"rows": [[1, 2]], "predictions": 1}"#, "predictions: expected a list"),
        (r#"{"rows": [[1, 2], [1]]}"#, "unlike lengths"),
        (r#"{"rows": [[1, 2], 1]}"#, "a value where others have a list"),
        (r#"{"rows": [1, [1]]}"#, "a list where others have a value"),
        (r#"{"row": [1, "two"]}"#, "expected a number, got \"two\""),
        (r#"{"row": [1, {}]}"#, "an object"),
        (r#"{"inputs": {"z": [[1, 2]]}}"#, "'z' is no input"),
        (r#"{"inputs": {"x": [[1, 2]]}, "outputs": {"z": 1}}"#, "'z' is no output"),
        (r#"{"row": [1, 2], "prediction": {}}"#, "expected a number"),
        (r#"{"row": [1, 2], "tolerance": -1}"#, "tolerance"),
        (r#"{"row": [1, 2], "tolerance": "x"}"#, "tolerance"),
    ] {
        let text = format!("\n{line}\n");
        let e = Golden::parse(text.as_bytes(), &signature).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::InvalidInput, "{line}");
        assert!(e.message().contains("line 2") && e.message().contains(says), "{line}: {e}");
    }
    let deep = format!("{{\"row\": {}1{}}}", "[".repeat(40), "]".repeat(40));
    let e = Golden::parse(deep.as_bytes(), &signature).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::LimitExceeded);
    let deeper = format!("{{\"row\": {}", "[".repeat(100_000));
    assert!(Golden::parse(deeper.as_bytes(), &signature).is_err());
    let many = "{\"row\": [1, 2]}\n".repeat(MAX_GOLDEN + 1);
    let e = Golden::parse(many.as_bytes(), &signature).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::LimitExceeded);
    let long = vec![b' '; MAX_GOLDEN_LINE];
    let long = [b"{\"row\": [1]", &long[..], b"}"].concat();
    let e = Golden::parse(&long, &signature).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::LimitExceeded);
}

#[test]
fn entries_take_the_element_type_of_the_input() {
    let spec = |name: &str, dtype| TensorSpec {
        name: name.to_string(),
        ty: Some(ValueType::Tensor { dtype, dims: Some(vec![Dim::Unknown]) }),
        batch_axis: Some(0),
    };
    let signature = Signature {
        inputs: vec![
            spec("i", ElementType::I64),
            spec("s", ElementType::String),
            spec("b", ElementType::Bool),
            spec("u", ElementType::U8),
            spec("h", ElementType::F16),
        ],
        outputs: vec![],
        task: Task::Tensors,
        classes: None,
        feature_names: None,
        targets: 0,
        has_probabilities: false,
    };
    let line = r#"{"inputs": {"i": [9007199254740993], "s": ["NaN"], "b": [true], "u": [255], "h": [0.5]}}"#;
    let golden = Golden::parse(line.as_bytes(), &signature).unwrap();
    let Request::Run { inputs, .. } = &golden[0].request else { panic!("not a run") };
    let tensor = |name: &str| {
        let (_, value) = inputs.iter().find(|(n, _)| n == name).unwrap();
        value.as_tensor().unwrap().clone()
    };
    assert_eq!(tensor("i").as_slice::<i64>().unwrap(), [9_007_199_254_740_993]);
    assert_eq!(tensor("s").as_slice::<String>().unwrap(), ["NaN"]);
    assert_eq!(tensor("b").as_slice::<bool>().unwrap(), [true]);
    assert_eq!(tensor("u").as_slice::<u8>().unwrap(), [255]);
    assert_eq!(tensor("h").dtype(), ElementType::F16);
    for line in [
        r#"{"inputs": {"i": [1.5]}}"#,
        r#"{"inputs": {"u": [256]}}"#,
        r#"{"inputs": {"u": [-1]}}"#,
        r#"{"inputs": {"u": [null]}}"#,
        r#"{"inputs": {"s": [1]}}"#,
    ] {
        assert!(Golden::parse(line.as_bytes(), &signature).is_err(), "{line}");
    }
    let columns = r#"{"row": {"i": 3, "s": "a"}}"#;
    let golden = Golden::parse(columns.as_bytes(), &signature).unwrap();
    let Request::Row(Features::Columns(columns)) = &golden[0].request else { panic!("no columns") };
    assert_eq!(columns[0].1.as_slice::<i64>().unwrap(), [3]);
}

#[test]
fn a_trained_classifier_is_checked_by_label_and_probabilities() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/iris_v1");
    let model = load(folder.join("model.onnx"), &LoadOptions::default()).unwrap();
    // What the trainer answered.
    let text = std::fs::read_to_string(folder.join("expected.json")).unwrap();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    let line = |label: &serde_json::Value| {
        let (row, p) = (&json["rows"][0], &json["probabilities"][0]);
        format!("{{\"row\": {row}, \"prediction\": {label}, \"probabilities\": {p}}}")
    };
    verify(&line(&json["labels"][0]), &model).unwrap();
    // Each list has an entry for each row.
    let (row, label, p) = (&json["rows"][0], &json["labels"][0], &json["probabilities"][0]);
    for (labels, probabilities) in [
        (format!("[{label}, {label}]"), format!("[{p}]")),
        (format!("[{label}]"), format!("[{p}, {p}]")),
    ] {
        let line = format!(
            "{{\"rows\": [{row}, {row}], \"predictions\": {labels}, \
             \"probabilities\": {probabilities}}}"
        );
        let e = verify(&line, &model).unwrap_err();
        assert!(e.message().contains("rows: expected 1, got 2"), "{line}: {e}");
    }
    let wrong = serde_json::Value::from(77);
    let e = verify(&line(&wrong), &model).unwrap_err();
    assert!(e.message().contains("row 0: expected 77, got"), "{e}");
    let e = verify(&line(&"setosa".into()), &model).unwrap_err();
    assert!(e.message().contains("\"setosa\""), "{e}");
}

#[test]
fn made_in_code_it_compares_named_outputs_too() {
    let x = Tensor::from_vec(&[1, 2], vec![1f32, 2.0]).unwrap();
    let request = Request::Run { inputs: vec![("x".into(), x.into())], outputs: [].into() };
    let y = Tensor::from_vec(&[1, 1], vec![6.5f32]).unwrap();
    let mut expected = Expected::default();
    assert!(expected.is_empty());
    expected.outputs.push(("y".into(), y.into()));
    let golden = Golden::new(request, expected);
    let mut ctx = Ctx::default();
    let e = golden.verify(&doubled(), &mut ctx).unwrap_err();
    assert_eq!(e.message(), "golden request: output 'y'[0]: expected 6.5, got 6 (off by 5e-1)");
    golden.with_tolerance(0.1).verify(&doubled(), &mut ctx).unwrap();
}
