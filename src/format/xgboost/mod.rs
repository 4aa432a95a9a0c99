//! XGBoost's own model files: JSON (`Booster.save_model("m.json")`) and UBJSON (`"m.ubj"`).
//!
//! Both hold one schema (`model`), read through two syntaxes (`json`, `ubjson`); which one it is,
//! the first bytes say. Keys that are not known are skipped: XGBoost adds some with each version.
//!
//! What a model answers is what XGBoost's scikit-learn interface answers of it, with NaN for a
//! missing value: a file that says which round was the best (early stopping) ends there, as
//! `XGBModel.predict` does; `Booster.predict` would use every tree. `multi:softmax` answers the
//! probabilities behind its class.
//!
//! Compared bit by bit, margins and answers, with what XGBoost 1.7.6, 2.1.4, 3.0.5 and 3.2.0 say of
//! their own files. They agree, except
//!
//! - of a booster without trees, of which 3.2 answers the base score where the base margin is due;
//! - of `dart` where XGBoost reads arrays in place (`XGBModel.predict`) rather than a `DMatrix`: it
//!   then rounds each leaf once more;
//! - of `survival:aft`, whose `exp` was one of single precision in 1.7.

mod json;
mod linear;
mod model;
mod objective;
#[cfg(test)]
mod tests;
mod text;
mod trees;
mod ubjson;

use crate::ensemble::{Booster, Learner};
use crate::error::{Result, bail, ensure, err};
use crate::limits::LoadLimits;
use serde::Deserialize as _;
use std::collections::BTreeMap;

/// What every refusal of another format ends with.
const ADVICE: &str =
    "load it in XGBoost and write it with save_model(), to a name that ends in .json or .ubj";

/// Reads a model file and checks it.
///
/// # Errors
/// `InvalidModel` where the bytes are no such file or contradict themselves; `Unsupported` for
/// XGBoost's older formats, unknown objectives and boosters; `LimitExceeded`, naming the limit.
pub fn read(bytes: &[u8], limits: &LoadLimits) -> Result<Booster> {
    let file = parse(bytes)?;
    let version = file.version.iter().map(i64::to_string).collect::<Vec<_>>().join(".");
    let learner = file.learner;
    let param = &learner.learner_model_param;
    let features = number("num_feature", &param.num_feature)?;
    let count = |key, text: &Option<String>| text.as_ref().map_or(Ok(0), |t| number(key, t));
    let classes = count("num_class", &param.num_class)?;
    let targets = classes.max(count("num_target", &param.num_target)?).max(1);
    ensure!(targets <= 1 << 20, InvalidModel, "{targets} targets, expected 1 to 2^20");
    let objective = objective::Objective::named(&learner.objective.name, targets)?;
    let base = objective.base_margins(&param.base_score, targets)?;

    let mut metadata = BTreeMap::from([
        ("objective".to_string(), learner.objective.name.clone()),
        ("booster".to_string(), learner.gradient_booster.name.clone()),
        ("xgboost_version".to_string(), version),
    ]);
    let categorical = learner.feature_types.iter().enumerate().filter(|(_, t)| t.as_str() == "c");
    let categorical: Vec<String> = categorical.map(|(feature, _)| feature.to_string()).collect();
    if !categorical.is_empty() {
        metadata.insert("categorical_features".to_string(), categorical.join(","));
    }
    let best = learner.attributes.get("best_iteration");
    // -1 is what 1.x writes of a training without rounds.
    let best = best.filter(|text| text.as_str() != "-1");
    let best = best.map(|text| number("best_iteration", text)).transpose()?;

    let booster = learner.gradient_booster;
    let missing = |key: &str| err!(InvalidModel, "gradient_booster: key \"{key}\" is missing");
    let (model, dropout) = match booster.name.as_str() {
        "gbtree" | "gblinear" => (booster.model.ok_or_else(|| missing("model"))?, None),
        "dart" => {
            let dropout = booster.weight_drop.ok_or_else(|| missing("weight_drop"))?;
            (booster.gbtree.ok_or_else(|| missing("gbtree"))?.model, Some(dropout))
        }
        name => bail!(Unsupported, "booster '{name}', expected gbtree, dart or gblinear"),
    };
    let mut categories = BTreeMap::new();
    let learned = if booster.name == "gblinear" {
        Learner::Linear(linear::read(model, &base, features)?)
    } else {
        if let Some(best) = best {
            metadata.insert("best_iteration".to_string(), best.to_string());
        }
        let rounds = best.map(|b| b.saturating_add(1));
        if let Some(cats) = &model.cats {
            categories = labels(cats);
        }
        let ensemble = trees::read(model, dropout.as_deref(), rounds, &base, features, limits)?;
        ensemble.check(limits)?;
        Learner::Trees(ensemble.into())
    };
    let names = learner.feature_names;
    ensure!(
        names.is_empty() || names.len() == features,
        InvalidModel,
        "{} feature_names for {features} features",
        names.len()
    );
    Ok(Booster {
        learner: learned,
        link: objective.link,
        outcome: objective.outcome,
        feature_names: (!names.is_empty()).then_some(names),
        categories,
        classes: None,
        metadata,
    })
}

/// Bytes to the schema, by the first of them.
fn parse(bytes: &[u8]) -> Result<model::File> {
    let wrong = |e: text::Fault| err!(InvalidModel, "{e}");
    let visible = bytes.iter().position(|b| !b.is_ascii_whitespace()).unwrap_or(0);
    match bytes.get(visible..).unwrap_or_default() {
        // After the brace, JSON has a quote, white space or another brace; UBJSON the marker of a
        // key's length or of a count.
        [b'{', b'i' | b'U' | b'I' | b'l' | b'L' | b'#' | b'$' | b'N', ..] if visible == 0 => {
            let mut reader = ubjson::Ubjson::new(bytes);
            let file = reader.value().and_then(model::File::deserialize).map_err(wrong)?;
            reader.end().map_err(wrong)?;
            Ok(file)
        }
        [b'{', ..] => {
            let mut reader = json::Json::new(bytes);
            let file = model::File::deserialize(&mut reader).map_err(wrong)?;
            reader.end().map_err(wrong)?;
            Ok(file)
        }
        [b'[', ..] => {
            bail!(Unsupported, "a list, such as dump_model() writes, is no model: {ADVICE}")
        }
        [0x80, 2..=5, ..] => bail!(Unsupported, "a Python pickle is not read: {ADVICE}"),
        [] => bail!(InvalidModel, "the file is empty"),
        rest if rest.starts_with(b"binf") || rest.starts_with(b"bs64") => {
            bail!(Unsupported, "XGBoost's old binary format is not read: {ADVICE}")
        }
        _ => bail!(InvalidModel, "neither JSON nor UBJSON; if XGBoost wrote it, {ADVICE}"),
    }
}

/// A parameter, which XGBoost writes as a string.
fn number(key: &str, text: &str) -> Result<usize> {
    let parsed = text.trim().parse::<u32>().ok().and_then(|n| usize::try_from(n).ok());
    parsed.ok_or_else(|| err!(InvalidModel, "{key} is \"{text}\", expected a non-negative integer"))
}

/// Labels of the features whose categories are strings. A feature is left out where one is not
/// ASCII: XGBoost 3.2 counts characters where it should count bytes, and cuts them in wrong places.
fn labels(cats: &model::Categories) -> BTreeMap<u32, Vec<String>> {
    let labels = |encoding: &model::Encoding| {
        let offsets = encoding.offsets.as_ref().filter(|o| o.len() > 1)?;
        // Bytes are written as signed ones; a value that is no byte becomes one, of no UTF-8.
        let byte =
            |&v: &f64| if (-128.0..128.0).contains(&v) { (v as i8).cast_unsigned() } else { 255 };
        let bytes: Vec<u8> = encoding.values.iter().map(byte).collect();
        if !bytes.is_ascii() {
            return None;
        }
        let label = |range: &[i64]| {
            let [start, end] = range else { return None };
            let (start, end) = (usize::try_from(*start).ok()?, usize::try_from(*end).ok()?);
            String::from_utf8(bytes.get(start..end)?.to_vec()).ok()
        };
        offsets.windows(2).map(label).collect::<Option<Vec<String>>>()
    };
    let all = (0u32..).zip(&cats.enc);
    all.filter_map(|(feature, encoding)| Some((feature, labels(encoding)?))).collect()
}
