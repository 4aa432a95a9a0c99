use super::key::Hashing;
use super::*;
use crate::error::{Result, bail};
use crate::graph::{Dim, ValueType};
use crate::model::{Answer, Answers, FnModel, Prediction, ScoreKind};
use crate::tensor::Data;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

/// Sums rows of two values and counts the rows it ran.
fn summing() -> (FnModel, Arc<AtomicUsize>) {
    let ran = Arc::new(AtomicUsize::new(0));
    let counter = ran.clone();
    let model = FnModel::regressor(2, move |row| {
        counter.fetch_add(1, SeqCst);
        Ok(row.iter().sum())
    });
    (model.with_digest("sum"), ran)
}

fn spec(name: &str, dtype: ElementType, width: Option<usize>) -> TensorSpec {
    let mut dims = vec![Dim::Unknown];
    dims.extend(width.map(Dim::Fixed));
    TensorSpec {
        name: name.into(),
        ty: Some(ValueType::Tensor { dtype, dims: Some(dims) }),
        batch_axis: Some(0),
    }
}

fn signature(task: Task, inputs: Vec<TensorSpec>, outputs: Vec<TensorSpec>) -> Signature {
    Signature {
        inputs,
        outputs,
        task,
        classes: None,
        feature_names: None,
        targets: 0,
        has_probabilities: false,
    }
}

/// A model that answers bound rows with `answers` and scores.
fn by_rows(
    signature: Signature,
    f: impl Fn(&[Tensor], usize) -> Result<(Answers, Option<Tensor>)> + Send + Sync + 'static,
) -> FnModel {
    let shared = Arc::new(signature.clone());
    FnModel::new(signature, move |request, _| {
        let (features, alone) = match request {
            Request::Row(features) => (features, true),
            Request::Batch(features) => (features, false),
            Request::Run { .. } => bail!(Unsupported, "rows only"),
        };
        let bound = FnModel::new((*shared).clone(), |_, _| bail!(Unsupported, "binds only"));
        let (tensors, rows) = bound.bind(features.clone())?;
        let (answers, scores) = f(&tensors, rows)?;
        let predictions = Predictions {
            rows,
            task: shared.task,
            answers,
            scores,
            scores_kind: ScoreKind::Scores,
            classes: None,
            model_version: 0,
            latency: Duration::ZERO,
            receipt: Default::default(),
        };
        Ok(if alone { predictions.row(0)?.into() } else { predictions.into() })
    })
    .with_digest("rows")
}

fn cached(model: FnModel) -> (Cache, Arc<CacheStore>) {
    let store = CacheStore::new(CacheOptions::default());
    (Cache::new(Arc::new(model), store.clone()), store)
}

fn f32s(data: &[f32], width: usize) -> Features<'_> {
    Features::F32 { data, rows: data.len() / width, width }
}

fn ask(cache: &Cache, request: Request<'_>) -> Result<(Reply, CacheUse)> {
    let mut ctx = Ctx::default();
    let mut reply = cache.call(&request, &mut ctx)?;
    reply.set_latency(Duration::ZERO);
    Ok((reply, ctx.receipt.cache))
}

#[test]
fn rows_that_collide_are_told_apart() {
    let store = CacheStore::with_hashing(CacheOptions::default(), Hashing::Constant);
    let (model, ran) = summing();
    let cache = Cache::new(Arc::new(model), store.clone());
    for round in 0..2 {
        for i in 0..50 {
            let row = [i as f32, 0.5];
            let p = cache.predict_row(&row).unwrap();
            assert_eq!(p.answer, Answer::Value(f64::from(row[0] + 0.5)));
            let expected = if round == 0 { CacheUse::Miss } else { CacheUse::Hit };
            assert_eq!(p.receipt.cache, expected);
        }
    }
    assert_eq!(ran.load(SeqCst), 50);
    assert_eq!(store.stats().entries, 50);
    // Of another version, under the same hash.
    let other = FnModel::regressor(2, |_| Ok(-1.0)).with_digest("other").with_version(2);
    let other = Cache::new(Arc::new(other), store);
    assert_eq!(other.predict_row(&[0.0, 0.5]).unwrap().answer, Answer::Value(-1.0));
}

#[test]
fn an_answer_is_given_until_its_time_is_over() {
    let ttl = Duration::from_secs(60);
    let store = CacheStore::new(CacheOptions { ttl: Some(ttl), ..Default::default() });
    let (model, ran) = summing();
    let cache = Cache::new(Arc::new(model), store.clone());
    let request = Request::Row(f32s(&[1.0, 2.0], 2));
    let before = Instant::now();
    let p = cache.predict_row(&[1.0, 2.0]).unwrap();
    let after = Instant::now();
    assert_eq!(p.answer, Answer::Value(3.0));
    let found = |at: Instant| {
        let step = cache.plan(&request, &Ctx::default(), at).unwrap();
        matches!(step, Step::Found(_))
    };
    assert!(found(before + ttl - Duration::from_nanos(1)));
    assert_eq!(store.stats().entries, 1);
    assert!(!found(after + ttl));
    assert_eq!(store.stats().entries, 0, "what is too old is dropped");
    assert_eq!(cache.predict_row(&[1.0, 2.0]).unwrap().receipt.cache, CacheUse::Miss);
    assert_eq!(ran.load(SeqCst), 2);
}

#[test]
fn the_bytes_kept_stay_within_the_capacity() {
    let capacity = 256 << 10;
    let options = CacheOptions {
        capacity_bytes: capacity,
        max_entry_bytes: 16 << 10,
        ..CacheOptions::default()
    };
    let store = CacheStore::new(options);
    // Rows of 1 to 600 values, by a generator of fixed seed.
    let input = spec("x", ElementType::F32, None);
    let mut input = TensorSpec { ..input };
    input.ty = Some(ValueType::Tensor {
        dtype: ElementType::F32,
        dims: Some(vec![Dim::Unknown, Dim::Unknown]),
    });
    let model = by_rows(signature(Task::Regressor, vec![input], vec![]), |tensors, rows| {
        let sums: Vec<f32> = (0..rows).map(|r| tensors[0].as_slice::<f32>().unwrap()[r]).collect();
        Ok((Answers::Values(Tensor::from_vec(&[rows, 1], sums)?), None))
    });
    let cache = Cache::new(Arc::new(model), store.clone());
    let mut state = 7u64;
    let mut next = |n: u64| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) % n
    };
    for _ in 0..5000 {
        let width = 1 + next(600) as usize;
        let row = vec![next(40) as f32; width];
        let p = cache.predict_row(&row).unwrap();
        assert_eq!(p.answer, Answer::Value(f64::from(row[0])));
        assert!(store.stats().bytes <= capacity, "{:?}", store.stats());
    }
    let stats = store.stats();
    assert!(stats.evictions > 0 && stats.hits > 0, "{stats:?}");
    assert!(stats.bytes > capacity / 2, "the room is used: {stats:?}");
    // Larger than an entry may be.
    let long = vec![1.0f32; 5000];
    for _ in 0..2 {
        assert_eq!(cache.predict_row(&long).unwrap().receipt.cache, CacheUse::Off);
    }
    drop(cache);
    assert_eq!((store.stats().entries, store.stats().bytes), (0, 0));
}

/// Asks alone and in batches, in every order, and wants the model's own answer each time.
fn same_in_every_order(model: impl Fn() -> FnModel, row: impl Fn(usize) -> Features<'static>) {
    let rows = 4;
    let join = |wanted: &[usize]| {
        let parts: Vec<Vec<Tensor>> =
            wanted.iter().map(|&i| model().bind(row(i)).unwrap().0).collect();
        let inputs = parts[0].len();
        let column = |k: usize| parts.iter().map(|p| p[k].clone()).collect::<Vec<_>>();
        let joined = (0..inputs).map(|k| Tensor::concat_rows(&column(k)).unwrap());
        Request::Batch(Features::Inputs(joined.collect()))
    };
    let plain = |request: &Request<'_>| {
        let mut reply = model().call(request, &mut Ctx::default()).unwrap();
        reply.set_latency(Duration::ZERO);
        reply
    };
    let all = join(&[0, 1, 2, 3]);
    let repeated = join(&[2, 0, 2, 2]);
    // Alone first.
    let (cache, _) = cached(model());
    for how in [CacheUse::Miss, CacheUse::Hit] {
        for i in 0..rows {
            let request = Request::Row(row(i));
            assert_eq!(ask(&cache, request.clone()).unwrap(), (plain(&request), how));
        }
    }
    assert_eq!(ask(&cache, all.clone()).unwrap(), (plain(&all), CacheUse::Miss));
    assert_eq!(ask(&cache, all.clone()).unwrap(), (plain(&all), CacheUse::Hit));
    assert_eq!(ask(&cache, repeated.clone()).unwrap(), (plain(&repeated), CacheUse::Hit));
    // A batch first, then parts of it.
    let (cache, _) = cached(model());
    assert_eq!(ask(&cache, repeated.clone()).unwrap(), (plain(&repeated), CacheUse::Miss));
    assert_eq!(ask(&cache, all.clone()).unwrap(), (plain(&all), CacheUse::Partial));
    assert_eq!(ask(&cache, repeated.clone()).unwrap(), (plain(&repeated), CacheUse::Hit));
    for i in 0..rows {
        let request = Request::Row(row(i));
        assert_eq!(ask(&cache, request.clone()).unwrap(), (plain(&request), CacheUse::Hit));
    }
}

#[test]
fn many_labels_many_numbers_and_strings_come_back_as_they_were() {
    let multilabel = || {
        let sig = signature(Task::Multilabel, vec![spec("x", ElementType::I64, Some(1))], vec![]);
        by_rows(sig, |tensors, rows| {
            let x = tensors[0].as_slice::<i64>()?;
            let labels = x.iter().flat_map(|x| [x & 1, x >> 1 & 1, x >> 2 & 1]).collect();
            let scores = x.iter().flat_map(|&x| [x as f64 / 3.0, 0.5]).collect();
            let labels = Tensor::from_vec::<i64>(&[rows, 3], labels)?;
            Ok((Answers::Multilabel(labels), Some(Tensor::from_vec::<f64>(&[rows, 2], scores)?)))
        })
    };
    same_in_every_order(multilabel, |i| {
        Features::Tensor(Tensor::from_vec(&[1, 1], vec![i as i64]).unwrap())
    });
    // Two inputs of different types; labels are strings, scores float32.
    let text = || {
        let inputs =
            vec![spec("name", ElementType::String, Some(2)), spec("n", ElementType::F64, None)];
        by_rows(signature(Task::Classifier, inputs, vec![]), |tensors, rows| {
            let names = tensors[0].as_slice::<String>()?;
            let labels = names.chunks(2).map(|pair| format!("{}|{}", pair[0], pair[1]));
            let labels = Tensor::from_vec(&[rows], labels.collect())?;
            let n: Vec<f32> = tensors[1].as_slice::<f64>()?.iter().map(|&x| x as f32).collect();
            Ok((Answers::Labels(labels), Some(Tensor::from_vec(&[rows, 1], n)?)))
        })
    };
    same_in_every_order(text, |i| {
        // The same characters, divided otherwise.
        let pair = [["ab", "c"], ["a", "bc"], ["abc", ""], ["", "abc"]][i];
        let pair = pair.iter().map(|s| s.to_string()).collect();
        Features::Columns(vec![
            ("name".into(), Tensor::from_vec(&[1, 2], pair).unwrap()),
            ("n".into(), Tensor::from_vec(&[1], vec![0.1f64]).unwrap()),
        ])
    });
    // float64 values whose digits float32 would lose, two a row, and a transform of one.
    for width in [2usize, 1] {
        let values = move || {
            let inputs = vec![spec("x", ElementType::F32, Some(1))];
            by_rows(signature(Task::Transform, inputs, vec![]), move |tensors, rows| {
                let x = tensors[0].as_slice::<f32>()?;
                let all = x.iter().flat_map(|&x| vec![f64::from(x) / 3.0; width]).collect();
                Ok((Answers::Values(Tensor::from_vec::<f64>(&[rows, width], all)?), None))
            })
        };
        same_in_every_order(values, |i| {
            Features::Tensor(Tensor::from_vec(&[1, 1], vec![i as f32]).unwrap())
        });
    }
}

#[test]
fn an_input_without_rows_makes_the_request_one_entry() {
    let mut table = spec("table", ElementType::F32, Some(2));
    table.batch_axis = None;
    let inputs = vec![spec("x", ElementType::F32, None), table];
    let model = by_rows(signature(Task::Regressor, inputs, vec![]), |tensors, rows| {
        let t = tensors[1].as_slice::<f32>()?;
        let values = tensors[0].as_slice::<f32>()?.iter().map(|x| x * t[0]).collect();
        Ok((Answers::Values(Tensor::from_vec::<f32>(&[rows], values)?), None))
    });
    let (cache, store) = cached(model);
    let request = |first: f32| {
        let x = Tensor::from_vec(&[2], vec![1f32, 2.0]).unwrap();
        let table = Tensor::from_vec(&[1, 2], vec![first, 0.0]).unwrap();
        Request::Batch(Features::Inputs(vec![x, table]))
    };
    for how in [CacheUse::Miss, CacheUse::Hit] {
        for first in [1.0, 3.0] {
            let (reply, used) = ask(&cache, request(first)).unwrap();
            assert_eq!(used, how);
            let Answers::Values(values) = reply.into_batch().unwrap().answers else { panic!() };
            assert_eq!(values.data(), &Data::F32(vec![first, 2.0 * first]));
        }
    }
    assert_eq!(store.stats().entries, 2);
}

#[test]
fn another_callers_fallback_is_not_kept() {
    let sig = signature(Task::Regressor, vec![spec("x", ElementType::F32, Some(1))], vec![]);
    let inner = by_rows(sig.clone(), |_, rows| {
        Ok((Answers::Values(Tensor::from_vec(&[rows, 1], vec![1f32; rows])?), None))
    });
    let model = FnModel::new(sig, move |request, ctx| {
        let reply = inner.call(request, ctx)?;
        ctx.receipt.fallback = Some(Box::new(crate::model::FallbackReason {
            kind: crate::ErrorKind::Overloaded,
            message: String::new(),
            by: "constant".into(),
        }));
        Ok(reply)
    });
    let (cache, store) = cached(model.with_digest("d"));
    for _ in 0..2 {
        assert_eq!(cache.predict_row(&[1.0]).unwrap().receipt.cache, CacheUse::Off);
        let batch = cache.predict_batch(f32s(&[1.0, 1.0, 2.0], 1)).unwrap();
        assert_eq!((batch.rows, batch.receipt.cache), (3, CacheUse::Off));
    }
    assert_eq!(store.stats().entries, 0);
}

#[test]
fn what_is_kept_carries_no_receipt_of_the_first_caller() {
    let store = CacheStore::new(CacheOptions::default());
    let info = summing().0.with_version(9);
    let space = store.open_space(&"d".into(), &info.signature());
    let head = key::f32_row_head(2);
    let content = key::Content { head: &head, elements: key::Elements::F32(&[1.0, 2.0]) };
    let key = space.probe(content).to_key();
    let mut row: Prediction = info.predict_row(&[1.0, 2.0]).unwrap();
    row.latency = Duration::from_secs(5);
    let entry = store.keep(&key, store::Kept::Row(row), Instant::now());
    let row = whole_reply(&entry, &mut Ctx::default(), Instant::now()).into_row().unwrap();
    assert_eq!(row.receipt, Default::default());
    assert!(row.latency < Duration::from_secs(5));
    // The two ways to write the same row down are one key.
    let bound = info.bind(f32s(&[1.0, 2.0], 2)).unwrap().0;
    let head = key::row_head(&bound);
    let content = key::Content { head: &head, elements: key::Elements::Row(&bound, 0) };
    assert!(store.find(&space.probe(content), Instant::now()).is_some());
}
