//! The operators of the library's own domain, which `modelserve.convert` writes: models that
//! ONNX's operators cannot say exactly.
//!
//! `Booster` carries a native file (attributes `format` and `model`), `TreeEnsemble` an ensemble
//! in arrays:
//!
//! | attribute | what it is |
//! |---|---|
//! | `n_features`, `n_targets` | ints |
//! | `nodes_modes` | uint8 `[nodes]`: 0 `<=`, 1 `<`, 2 a set of categories, 255 a leaf |
//! | `nodes_features` | int32 `[nodes]` |
//! | `nodes_thresholds` | double `[nodes]`; the number of the set for mode 2 |
//! | `nodes_yes`, `nodes_no` | int32 `[nodes]`; of a leaf, `nodes_yes` is its row of `leaf_values` |
//! | `nodes_missing` | uint8 `[nodes]`: NaN 0 is compared, 1 goes to `yes`, 2 goes to `no` |
//! | `leaf_values` | double `[leaves, targets]`, or `[leaves]` with `leaf_targets` |
//! | `leaf_targets` | int32 `[leaves]`: the one target of each leaf |
//! | `roots` | int32 `[trees]`, in the order of the sum |
//! | `set_values`, `set_starts` | double, and int32 with one more than there are sets |
//! | `base`, `base_first` | double `[targets]`; 1 where a sum starts with it |
//! | `aggregate` | `SUM` or `AVERAGE` |
//! | `features`, `sums` | `float` or `double`: what rows are rounded to, and leaves are added in |
//! | `link`, `link_parameters` | `identity`, `sigmoid`, `softmax`, `exp`, `isolation`; double |
//! | `outcome` | `values`, `binary`, `binary_by_margin`, `classes` or `outlier` |
//! | `nodes_cover`, `nodes_gain`, `nodes_ids` | double, double, int32 `[nodes]`, or left out |
//! | `classlabels_int64s`, `classlabels_strings` | the labels of the classes |

use crate::attribute::{Attribute, Attributes};
use crate::ensemble::{
    Aggregate, Booster, CategorySet, Ensemble, Leaf, Learner, Link, Missing, Node, Outcome,
    Precision, Split, Test,
};
use crate::error::{Result, bail, ensure, err};
use crate::format::booster::Library;
use crate::limits::LoadLimits;
use crate::room;
use crate::tensor::{ElementType, Tensor};
use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Arc;

/// Replaces the attributes of an operator of this domain by the booster they describe; answers
/// the operator's name in the graph.
///
/// # Errors
/// `Unsupported` for another operator; `InvalidModel`, `LimitExceeded`.
pub(super) fn unpack(
    op: &str,
    attributes: &mut Attributes,
    limits: &LoadLimits,
) -> Result<&'static str> {
    let booster = match op {
        "Booster" => booster(attributes, limits)?,
        "TreeEnsemble" => ensemble(attributes, limits)?,
        _ => bail!(Unsupported, "operator {}:{op:.40} is not known", crate::ensemble::DOMAIN),
    };
    let mut kept = Attributes::default();
    for name in ["classlabels_int64s", "classlabels_strings"] {
        if let Some(labels) = attributes.get(name) {
            kept.set(name, labels.clone());
        }
    }
    kept.set("booster", Attribute::Booster(Arc::new(booster)));
    *attributes = kept;
    Ok("Booster")
}

fn booster(attributes: &Attributes, limits: &LoadLimits) -> Result<Booster> {
    let format = attributes.str("format", "")?;
    let library = Library::from_name(&format)
        .ok_or_else(|| err!(InvalidModel, "a booster of format '{format:.40}' is not known"))?;
    let Some(Attribute::String(model)) = attributes.get("model") else {
        bail!(InvalidModel, "a booster without its model");
    };
    library.read(model, limits)
}

/// The arrays of one node: each is read once, and taken out.
struct Arrays<'a> {
    attributes: &'a mut Attributes,
}

impl Arrays<'_> {
    fn doubles(&mut self, name: &str) -> Result<Vec<f64>> {
        match self.attributes.take_tensor(name)? {
            Some(t) if t.dtype() == ElementType::F64 => t.into_vec(),
            Some(t) if t.dtype().is_float() => t.to_f64_vec(),
            Some(t) => bail!(InvalidModel, "'{name}' is of {}, expected doubles", t.dtype()),
            None => Ok(Vec::new()),
        }
    }

    /// Whole numbers from 0 on.
    fn numbers(&mut self, name: &str) -> Result<Vec<u32>> {
        fn of<T: Copy + Display>(name: &str, v: Vec<T>) -> Result<Vec<u32>>
        where
            u32: TryFrom<T>,
        {
            let number = |v: T| {
                u32::try_from(v).map_err(|_| err!(InvalidModel, "'{name}' has the element {v}"))
            };
            room::collected_if(v.into_iter().map(number))
        }
        let Some(tensor) = self.attributes.take_tensor(name)? else { return Ok(Vec::new()) };
        ensure!(
            !tensor.dtype().is_float(),
            InvalidModel,
            "'{name}' is of {}, expected whole numbers",
            tensor.dtype()
        );
        match tensor.dtype() {
            // In place: the elements are as wide.
            ElementType::I32 => of(name, tensor.into_vec::<i32>()?),
            _ => of(name, tensor.to_i64_vec()?),
        }
    }

    /// Numbers of at most eight bits.
    fn bytes(&mut self, name: &str) -> Result<Vec<u8>> {
        match self.attributes.tensor_opt(name)?.map(Tensor::dtype) {
            Some(ElementType::U8) => {
                self.attributes.take_tensor(name)?.map_or(Ok(Vec::new()), Tensor::into_vec)
            }
            _ => {
                let byte = |n: u32| {
                    u8::try_from(n).map_err(|_| err!(InvalidModel, "'{name}' has the element {n}"))
                };
                room::collected_if(self.numbers(name)?.into_iter().map(byte))
            }
        }
    }

    fn count(&self, name: &str) -> Result<usize> {
        let n = self.attributes.int(name, 0)?;
        usize::try_from(n).map_err(|_| err!(InvalidModel, "'{name}' is {n}"))
    }

    fn precision(&self, name: &str) -> Result<Precision> {
        Ok(match self.attributes.str(name, "double")?.as_str() {
            "float" => Precision::F32,
            "double" => Precision::F64,
            other => bail!(InvalidModel, "'{name}' is '{other:.40}', expected float or double"),
        })
    }
}

fn ensemble(attributes: &mut Attributes, limits: &LoadLimits) -> Result<Booster> {
    let mut arrays = Arrays { attributes };
    let targets = arrays.count("n_targets")?;
    let mut form = Ensemble::empty(arrays.count("n_features")?, targets);
    form.arithmetic.features = arrays.precision("features")?;
    form.arithmetic.sums = arrays.precision("sums")?;
    form.arithmetic.base_first = arrays.attributes.flag("base_first", false)?;
    form.base = arrays.doubles("base")?;
    form.roots = arrays.numbers("roots")?;
    form.cover = arrays.doubles("nodes_cover")?;
    form.gain = arrays.doubles("nodes_gain")?;
    form.ids = arrays.numbers("nodes_ids")?;
    form.aggregate = match arrays.attributes.str("aggregate", "SUM")?.as_str() {
        "SUM" => Aggregate::Sum,
        "AVERAGE" => Aggregate::Average,
        other => bail!(InvalidModel, "aggregate '{other:.40}' is not known"),
    };
    form.sets = sets(&mut arrays)?;
    let leaves = leaves(&mut arrays, &mut form)?;
    nodes(&mut arrays, &mut form, leaves)?;
    form.check(limits)?;
    let parameters = arrays.doubles("link_parameters")?;
    let link = match (arrays.attributes.str("link", "identity")?.as_str(), parameters.as_slice()) {
        ("identity", _) => Link::Identity,
        ("sigmoid", []) => Link::Sigmoid { slope: 1.0 },
        ("sigmoid", [slope]) => Link::Sigmoid { slope: *slope },
        ("softmax", _) => Link::Softmax,
        ("exp", _) => Link::Exp,
        ("isolation", [normal, offset]) => Link::Isolation { normal: *normal, offset: *offset },
        (other, p) => {
            bail!(InvalidModel, "link '{other:.40}' with {} parameters is not known", p.len())
        }
    };
    let outcome = match arrays.attributes.str("outcome", "values")?.as_str() {
        "values" => Outcome::Values,
        "binary" => Outcome::Binary,
        "binary_by_margin" => Outcome::BinaryByMargin,
        "classes" => Outcome::Classes,
        "outlier" => Outcome::Outlier,
        other => bail!(InvalidModel, "outcome '{other:.40}' is not known"),
    };
    Ok(Booster {
        learner: Learner::Trees(form.into()),
        link,
        outcome,
        feature_names: None,
        categories: BTreeMap::new(),
        classes: None,
        metadata: BTreeMap::new(),
    })
}

fn sets(arrays: &mut Arrays<'_>) -> Result<Vec<CategorySet>> {
    let (values, starts) = (arrays.doubles("set_values")?, arrays.numbers("set_starts")?);
    let set = |bounds: &[u32]| {
        let range = match *bounds {
            [start, end] => values.get(start as usize..end as usize),
            _ => None,
        };
        let range = range.ok_or_else(|| err!(InvalidModel, "'set_starts' has {bounds:?}"))?;
        Ok(CategorySet::exact(room::copied(range)?))
    };
    starts.windows(2).map(set).collect()
}

/// Adds the leaves; answers how many there are.
fn leaves(arrays: &mut Arrays<'_>, form: &mut Ensemble) -> Result<usize> {
    let values = arrays.doubles("leaf_values")?;
    let of = arrays.numbers("leaf_targets")?;
    let each = if of.is_empty() { form.targets.max(1) } else { 1 };
    ensure!(
        values.len().is_multiple_of(each)
            && (of.is_empty() || of.len() == values.len())
            && u32::try_from(values.len()).is_ok(),
        InvalidModel,
        "'leaf_values' has {} values for {} targets",
        values.len(),
        form.targets
    );
    form.reserve(0, values.len() / each, values.len())?;
    if of.is_empty() {
        for row in values.chunks(each) {
            form.weights.extend((0..).zip(row.iter().copied()));
        }
    } else {
        form.weights.extend(of.into_iter().zip(values.iter().copied()));
    }
    let count = values.len() / each;
    let leaf = |i: usize| {
        let (start, end) = ((i * each) as u32, ((i + 1) * each) as u32);
        Leaf { start, end, linear: None }
    };
    form.leaves.extend((0..count).map(leaf));
    Ok(count)
}

fn nodes(arrays: &mut Arrays<'_>, form: &mut Ensemble, leaves: usize) -> Result<()> {
    let modes = arrays.bytes("nodes_modes")?;
    let features = arrays.numbers("nodes_features")?;
    let thresholds = arrays.doubles("nodes_thresholds")?;
    let (yes, no) = (arrays.numbers("nodes_yes")?, arrays.numbers("nodes_no")?);
    let missing = arrays.bytes("nodes_missing")?;
    for (name, len) in [
        ("nodes_features", features.len()),
        ("nodes_thresholds", thresholds.len()),
        ("nodes_yes", yes.len()),
        ("nodes_no", no.len()),
        ("nodes_missing", missing.len()),
    ] {
        ensure!(
            len == modes.len(),
            InvalidModel,
            "'{name}' has {len} elements for {} nodes",
            modes.len()
        );
    }
    form.reserve(modes.len(), 0, 0)?;
    let columns = modes.iter().zip(&features).zip(&thresholds).zip(&yes).zip(&no).zip(&missing);
    for (i, (((((&mode, &feature), &t), &yes), &no), &missing)) in columns.enumerate() {
        if mode == 255 {
            ensure!((yes as usize) < leaves, InvalidModel, "node {i}: leaf {yes} of {leaves}");
            form.nodes.push(Node::Leaf(yes));
            continue;
        }
        let test = match mode {
            0 => Test::LessOrEqual(t),
            1 => Test::Less(t),
            2 if t >= 0.0 && t < form.sets.len() as f64 => Test::Member(t as u32),
            _ => bail!(InvalidModel, "node {i}: mode {mode} with {t}"),
        };
        let missing = match missing {
            0 => Missing::Compared,
            1 => Missing::Yes,
            2 => Missing::No,
            _ => bail!(InvalidModel, "node {i}: missing values {missing}"),
        };
        form.nodes.push(Node::Split(Split { feature, test, missing, yes, no }));
    }
    Ok(())
}
