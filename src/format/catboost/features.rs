//! The features: which column of a row a split means, and what it asks of it.

use super::document::{self, FeaturesInfo};
use crate::ensemble::{MAX_FEATURES, Missing, Split, Test};
use crate::error::{Result, bail, ensure, err};
use crate::limits::LoadLimits;
use std::collections::{BTreeMap, HashMap};

/// A numeric feature.
#[derive(Debug)]
struct Float {
    column: u32,
    missing: Missing,
}

/// A categorical feature.
#[derive(Debug)]
struct Categorical<'a> {
    column: u32,
    /// The code of each category by its hash.
    codes: HashMap<u32, u32>,
    /// Labels by code; `None` where the file lacks one of them.
    labels: Option<Vec<&'a str>>,
}

/// The features of a model, by their number among those of their kind.
#[derive(Debug)]
pub(super) struct Features<'a> {
    /// Features of a row.
    pub(super) width: usize,
    floats: HashMap<u32, Float>,
    categorical: HashMap<u32, Categorical<'a>>,
    names: BTreeMap<u32, Option<&'a str>>,
}

/// Hashes have 32 bits; some lists have them signed.
fn hash(value: i64) -> Result<u32> {
    let unsigned = u32::try_from(value).ok();
    let hash = unsigned.or_else(|| i32::try_from(value).ok().map(i32::cast_unsigned));
    hash.ok_or_else(|| err!(InvalidModel, "features_info: hash {value} has more than 32 bits"))
}

/// A name that is one: the pool's, else the one that the model remembers.
fn name<'a>(name: Option<&'a str>, id: Option<&'a str>) -> Option<&'a str> {
    name.or(id).filter(|n| !n.is_empty())
}

impl<'a> Features<'a> {
    pub(super) fn read(info: &'a FeaturesInfo<'_>) -> Result<Features<'a>> {
        for (kind, list) in [("text", &info.text_features), ("embedding", &info.embedding_features)]
        {
            ensure!(
                list.as_ref().is_none_or(Vec::is_empty),
                Unsupported,
                "{kind} features: train on numbers computed from them instead"
            );
        }
        let mut features = Features {
            width: 0,
            floats: HashMap::new(),
            categorical: HashMap::new(),
            names: BTreeMap::new(),
        };
        for float in info.float_features.iter().flatten() {
            let column = float.flat_feature_index;
            features
                .column(column, name(float.feature_name.as_deref(), float.feature_id.as_deref()))?;
            let missing = match float.nan_value_treatment.as_deref() {
                // Where training saw no NaN, NaN is compared: it is above no border.
                Some("AsTrue") if float.has_nans => Missing::Yes,
                Some("AsTrue" | "AsFalse" | "AsIs") | None => Missing::No,
                Some(other) => bail!(
                    InvalidModel,
                    "features_info: float feature {}: nan_value_treatment '{other}'",
                    float.feature_index
                ),
            };
            let known = features.floats.insert(float.feature_index, Float { column, missing });
            ensure!(
                known.is_none(),
                InvalidModel,
                "features_info: float feature {} comes twice",
                float.feature_index
            );
        }
        let mut labels = HashMap::new();
        for label in info.cat_features_hash.iter().flatten() {
            labels.insert(hash(label.hash)?, &*label.value);
        }
        for feature in info.categorical_features.iter().flatten() {
            let column = feature.flat_feature_index;
            let index = feature.feature_index;
            features.column(
                column,
                name(feature.feature_name.as_deref(), feature.feature_id.as_deref()),
            )?;
            let values = feature.values.as_deref().unwrap_or_default();
            // Rows are rounded to single precision, which must tell codes apart.
            ensure!(
                values.len() <= 1 << 24,
                LimitExceeded,
                "features_info: categorical feature {index} has {} values, at most 2^24 are allowed",
                values.len()
            );
            let mut codes = HashMap::new();
            let mut found = Some(Vec::new());
            for (&value, code) in values.iter().zip(0u32..) {
                let hash = hash(value)?;
                codes.insert(hash, code);
                let label = labels.get(&hash).copied();
                found = found.zip(label).map(|(mut found, label)| {
                    found.push(label);
                    found
                });
            }
            let known =
                features.categorical.insert(index, Categorical { column, codes, labels: found });
            ensure!(
                known.is_none(),
                InvalidModel,
                "features_info: categorical feature {index} comes twice"
            );
        }
        Ok(features)
    }

    fn column(&mut self, column: u32, name: Option<&'a str>) -> Result<()> {
        ensure!(
            column < MAX_FEATURES,
            InvalidModel,
            "features_info: flat_feature_index {column}, expected less than {MAX_FEATURES}"
        );
        self.width = self.width.max(column as usize + 1);
        let known = self.names.insert(column, name);
        ensure!(
            known.is_none(),
            InvalidModel,
            "features_info: flat_feature_index {column} comes twice"
        );
        Ok(())
    }

    /// What a split asks, with both children 0.
    pub(super) fn split(&self, split: &document::Split<'_>) -> Result<Split> {
        let missing_key = |key: &str| err!(InvalidModel, "a split without its {key}");
        match &*split.split_type {
            "FloatFeature" => {
                let index =
                    split.float_feature_index.ok_or_else(|| missing_key("float_feature_index"))?;
                let border = split.border.ok_or_else(|| missing_key("border"))?;
                let Some(feature) = self.floats.get(&index) else {
                    bail!(InvalidModel, "a split on float feature {index}, which is not there");
                };
                Ok(Split {
                    feature: feature.column,
                    test: Test::Greater(f64::from(border as f32)),
                    missing: feature.missing,
                    yes: 0,
                    no: 0,
                })
            }
            "OneHotFeature" => {
                let index =
                    split.cat_feature_index.ok_or_else(|| missing_key("cat_feature_index"))?;
                let value = split.value.ok_or_else(|| missing_key("value"))?;
                let Some(feature) = self.categorical.get(&index) else {
                    bail!(
                        InvalidModel,
                        "a split on categorical feature {index}, which is not there"
                    );
                };
                ensure!(
                    feature.labels.is_some(),
                    Unsupported,
                    "a split on categorical feature {index}, whose labels the file lacks: save it \
                     with save_model(path, format=\"json\", pool=the training pool)"
                );
                let Some(&code) = feature.codes.get(&hash(value)?) else {
                    bail!(
                        InvalidModel,
                        "a split on value {value}, which categorical feature {index} lacks"
                    );
                };
                Ok(Split {
                    feature: feature.column,
                    test: Test::Equal(f64::from(code)),
                    missing: Missing::No,
                    yes: 0,
                    no: 0,
                })
            }
            "OnlineCtr" => bail!(
                Unsupported,
                "a split on statistics of categories (OnlineCtr): train with one_hot_max_size of at \
                 least the number of categories, or on numbers computed from them"
            ),
            other => bail!(
                Unsupported,
                "a split of type {}: FloatFeature and OneHotFeature are supported",
                other.chars().take(40).collect::<String>()
            ),
        }
    }

    /// Names of the columns, where any has one; the others are called by their number, as in
    /// `feature_names_`. `None` where some columns are not listed.
    pub(super) fn names(&self, limits: &LoadLimits) -> Result<Option<Vec<String>>> {
        if self.names.len() != self.width || self.names.values().all(Option::is_none) {
            return Ok(None);
        }
        let long = self.names.values().flatten().find(|n| n.len() > limits.name_bytes);
        if let Some(long) = long {
            bail!(
                LimitExceeded,
                "a feature name of {} bytes (LoadLimits::name_bytes is {})",
                long.len(),
                limits.name_bytes
            );
        }
        let text = |(column, name): (&u32, &Option<&str>)| match name {
            Some(name) => (*name).to_string(),
            None => column.to_string(),
        };
        Ok(Some(self.names.iter().map(text).collect()))
    }

    /// Labels by column and code, of features that splits ask for.
    pub(super) fn labels(&self) -> BTreeMap<u32, Vec<String>> {
        let known = self.categorical.values().filter_map(|f| {
            let labels = f.labels.as_ref().filter(|labels| !labels.is_empty())?;
            Some((f.column, labels.iter().map(|l| (*l).to_string()).collect()))
        });
        known.collect()
    }
}
