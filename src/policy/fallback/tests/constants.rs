use super::super::*;
use crate::error::ErrorKind;
use crate::graph::{Dim, ValueType};
use crate::limits::RequestLimits;
use crate::model::{Answer, Answers, Classes, ScoreKind, Task, TensorSpec};
use crate::tensor::{ElementType, Value};

fn spec(name: &str, dtype: ElementType, dims: Vec<Dim>) -> TensorSpec {
    let ty = Some(ValueType::Tensor { dtype, dims: Some(dims) });
    TensorSpec { name: name.to_string(), ty, batch_axis: Some(0) }
}

fn signature(task: Task, classes: Option<Classes>, targets: usize) -> Arc<Signature> {
    Arc::new(Signature {
        inputs: vec![spec("x", ElementType::F32, vec![Dim::Unknown, Dim::Fixed(2)])],
        outputs: vec![
            spec("label", ElementType::I64, vec![Dim::Unknown]),
            spec("scores", ElementType::F32, vec![Dim::Unknown, Dim::Fixed(3)]),
        ],
        task,
        classes: classes.map(Arc::new),
        feature_names: None,
        targets,
        has_probabilities: task == Task::Classifier,
    })
}

fn flowers() -> Option<Classes> {
    Some(Classes::Str(vec!["a".into(), "b".into(), "c".into()]))
}

fn rows(n: usize) -> Features<'static> {
    Features::Tensor(Tensor::from_vec(&[n, 2], vec![0f32; 2 * n]).unwrap())
}

fn refused(signature: Arc<Signature>, constant: Constant) -> String {
    let error = ConstantAnswer::new(signature, constant).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    error.to_string()
}

#[test]
fn a_label_answers_rows_and_batches() {
    let signature = signature(Task::Classifier, flowers(), 0);
    let constant = Constant {
        answer: Some(Answer::Str("b".into())),
        ..Constant::probabilities(vec![0.25, 0.7, 0.05])
    };
    let constant = ConstantAnswer::new(signature, constant).unwrap();
    let row = constant.answer(&Request::Row(rows(1))).unwrap().into_row().unwrap();
    assert_eq!(row.answer, Answer::Str("b".into()));
    assert_eq!((row.probability, row.model_version), (Some(0.7), 0));
    assert_eq!(row.probabilities(), Some(&[0.25, 0.7, 0.05][..]));
    let batch = constant.answer(&Request::Batch(rows(3))).unwrap().into_batch().unwrap();
    assert_eq!((batch.rows, batch.scores_kind), (3, ScoreKind::Probabilities));
    assert_eq!(batch.probabilities().unwrap().dims(), [3, 3]);
    for i in 0..3 {
        let one = batch.row(i).unwrap();
        assert_eq!((&one.answer, &one.scores), (&row.answer, &row.scores));
    }
    let none = constant.answer(&Request::Batch(rows(0))).unwrap().into_batch().unwrap();
    assert_eq!((none.rows, none.probabilities().unwrap().dims()), (0, &[0, 3][..]));
}

#[test]
fn probabilities_alone_name_the_likeliest_class() {
    let classes = Some(Classes::Int(vec![10, 20, 30]));
    let signature = signature(Task::Classifier, classes, 0);
    let label = |p: [f64; 3]| {
        let constant = Constant::probabilities(p.to_vec());
        let constant = ConstantAnswer::new(signature.clone(), constant).unwrap();
        constant.answer(&Request::Row(rows(1))).unwrap().into_row().unwrap().answer
    };
    assert_eq!(label([0.1, 0.3, 0.6]), Answer::Int(30));
    assert_eq!(label([0.4, 0.4, 0.2]), Answer::Int(10));
}

#[test]
fn values_answer_with_the_width_of_the_model() {
    let constant = Constant::new(Answer::Values(vec![0.1, 0.2]));
    let model = signature(Task::Regressor, None, 2);
    let constant = ConstantAnswer::new(model, constant).unwrap();
    let row = constant.answer(&Request::Row(rows(1))).unwrap().into_row().unwrap();
    assert_eq!((row.answer, row.scores), (Answer::Values(vec![0.1, 0.2]), None));
    let batch = constant.answer(&Request::Batch(rows(2))).unwrap().into_batch().unwrap();
    let Answers::Values(values) = batch.answers else { panic!("values") };
    assert_eq!(values.as_slice::<f64>().unwrap(), [0.1, 0.2, 0.1, 0.2]);

    let one = Constant::new(Answer::Value(0.1));
    let one = ConstantAnswer::new(signature(Task::Regressor, None, 1), one).unwrap();
    let row = one.answer(&Request::Row(rows(1))).unwrap().into_row().unwrap();
    assert_eq!(row.answer, Answer::Value(0.1));
}

#[test]
fn a_constant_that_the_model_could_not_answer_is_refused() {
    let new = Constant::new;
    let classifier = || signature(Task::Classifier, flowers(), 0);
    let unknown = refused(classifier(), new(Answer::Str("d".into())));
    assert!(unknown.contains("'d' is no class: the model knows 'a', 'b', 'c'"), "{unknown}");
    refused(classifier(), new(Answer::Int(1)));
    refused(classifier(), new(Answer::Value(1.0)));
    refused(classifier(), Constant::default());
    refused(classifier(), Constant::probabilities(vec![0.5, 0.5]));
    refused(classifier(), Constant::probabilities(vec![0.5, 0.5, 0.5]));
    refused(classifier(), Constant::probabilities(vec![1.5, -0.5, 0.0]));
    refused(classifier(), Constant::probabilities(vec![f64::NAN, 0.5, 0.5]));
    refused(signature(Task::Regressor, None, 2), new(Answer::Value(1.0)));
    refused(signature(Task::Regressor, None, 0), new(Answer::Values(Vec::new())));
    refused(signature(Task::Regressor, None, 1), Constant::probabilities(vec![1.0]));
    refused(signature(Task::Outlier, None, 0), new(Answer::Int(0)));
    refused(signature(Task::Multilabel, flowers(), 0), new(Answer::Labels(vec![1, 0])));
    refused(signature(Task::Multilabel, flowers(), 0), new(Answer::Labels(vec![1, 0, 2])));
    let accepted = |task, answer| {
        ConstantAnswer::new(signature(task, flowers(), 0), new(answer)).unwrap();
    };
    accepted(Task::Outlier, Answer::Int(-1));
    accepted(Task::Cluster, Answer::Int(4));
    accepted(Task::Multilabel, Answer::Labels(vec![1, 0, 1]));
    accepted(Task::Transform, Answer::Values(vec![1.0, 2.0]));
}

fn outputs() -> Vec<(String, Tensor)> {
    vec![
        ("label".to_string(), Tensor::from_vec(&[1], vec![2i64]).unwrap()),
        ("scores".to_string(), Tensor::from_vec(&[1, 3], vec![0f32, 1.0, 2.0]).unwrap()),
    ]
}

fn run(rows: usize, wanted: &[&str]) -> Request<'static> {
    let x = Tensor::from_vec(&[rows, 2], vec![0f32; 2 * rows]).unwrap();
    Request::Run {
        inputs: vec![("x".to_string(), x.into())],
        outputs: wanted.iter().map(|s| (*s).to_string()).collect(),
    }
}

#[test]
fn named_outputs_answer_run_one_row_for_each() {
    let model = signature(Task::Regressor, None, 1);
    let constant = Constant::new(Answer::Value(1.0)).with_outputs(outputs());
    let constant = ConstantAnswer::new(model.clone(), constant).unwrap();
    let out = constant.answer(&run(2, &["scores"])).unwrap().into_tensors().unwrap();
    let scores = Tensor::from_vec(&[2, 3], vec![0f32, 1.0, 2.0, 0.0, 1.0, 2.0]).unwrap();
    assert_eq!(out, [("scores".to_string(), Value::Tensor(scores))]);
    let all = constant.answer(&run(1, &[])).unwrap().into_tensors().unwrap();
    assert_eq!(all.iter().map(|(n, _)| n.as_str()).collect::<Vec<_>>(), ["label", "scores"]);

    let without = ConstantAnswer::new(model.clone(), Constant::new(Answer::Value(1.0))).unwrap();
    let error = without.answer(&run(1, &["label"])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);

    let twice = [outputs(), outputs()].concat();
    refused(model.clone(), Constant::new(Answer::Value(1.0)).with_outputs(twice));
    let bad = |name: &str, tensor: Tensor| {
        let constant = Constant::new(Answer::Value(1.0));
        refused(model.clone(), constant.with_outputs(vec![(name.to_string(), tensor)]));
    };
    bad("other", Tensor::scalar(1f32));
    bad("label", Tensor::from_vec(&[1], vec![1f32]).unwrap());
    bad("label", Tensor::from_vec(&[2], vec![1i64, 2]).unwrap());
    bad("scores", Tensor::from_vec(&[1, 2], vec![1f32, 2.0]).unwrap());
    bad("scores", Tensor::from_vec(&[1], vec![1f32]).unwrap());
}

#[test]
fn a_model_without_a_meaning_is_answered_by_its_outputs() {
    let model = signature(Task::Tensors, None, 0);
    let part = Constant::default().with_outputs(outputs()[..1].to_vec());
    assert!(refused(model.clone(), part).contains("'scores'"));
    let constant = Constant::default().with_outputs(outputs());
    let constant = ConstantAnswer::new(model, constant).unwrap();
    let row = constant.answer(&Request::Row(rows(1))).unwrap().into_row().unwrap();
    let Answer::Outputs(named) = row.answer else { panic!("outputs") };
    assert_eq!(named.len(), 2);
    let batch = constant.answer(&Request::Batch(rows(4))).unwrap().into_batch().unwrap();
    let Answers::Outputs(named) = batch.answers else { panic!("outputs") };
    assert_eq!(named[1].1.as_tensor().unwrap().dims(), [4, 3]);
}

#[test]
fn no_request_makes_a_constant_take_memory_without_end() {
    let constant = Constant::new(Answer::Value(1.0));
    let constant = ConstantAnswer::new(signature(Task::Regressor, None, 1), constant).unwrap();
    let endless = Request::Batch(Features::F32 { data: &[], rows: usize::MAX, width: 0 });
    assert_eq!(constant.answer(&endless).unwrap_err().kind(), ErrorKind::LimitExceeded);
    let limits = RequestLimits { rows: 2, ..RequestLimits::default() };
    let small = constant.with_limits(&limits);
    assert!(small.answer(&Request::Batch(rows(2))).is_ok());
    assert!(small.answer(&Request::Batch(rows(3))).is_err());
}
