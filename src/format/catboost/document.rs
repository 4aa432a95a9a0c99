//! The document as it is written; keys that are not known are passed over.

use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, SeqAccess, Visitor};
use std::borrow::Cow;
use std::fmt;

#[derive(Debug, Deserialize)]
pub(super) struct Document<'a> {
    #[serde(borrow)]
    pub(super) features_info: FeaturesInfo<'a>,
    #[serde(borrow, default)]
    pub(super) model_info: ModelInfo<'a>,
    #[serde(borrow)]
    pub(super) oblivious_trees: Option<Vec<ObliviousTree<'a>>>,
    #[serde(borrow)]
    pub(super) trees: Option<Vec<Node<'a>>>,
    pub(super) scale_and_bias: Option<(f64, Numbers)>,
}

#[derive(Debug, Deserialize)]
pub(super) struct FeaturesInfo<'a> {
    #[serde(borrow)]
    pub(super) float_features: Option<Vec<FloatFeature<'a>>>,
    #[serde(borrow)]
    pub(super) categorical_features: Option<Vec<CategoricalFeature<'a>>>,
    #[serde(borrow)]
    pub(super) cat_features_hash: Option<Vec<HashedLabel<'a>>>,
    pub(super) text_features: Option<Vec<IgnoredAny>>,
    pub(super) embedding_features: Option<Vec<IgnoredAny>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct FloatFeature<'a> {
    pub(super) feature_index: u32,
    pub(super) flat_feature_index: u32,
    #[serde(borrow)]
    pub(super) feature_name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) feature_id: Option<Cow<'a, str>>,
    #[serde(default)]
    pub(super) has_nans: bool,
    #[serde(borrow)]
    pub(super) nan_value_treatment: Option<Cow<'a, str>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct CategoricalFeature<'a> {
    pub(super) feature_index: u32,
    pub(super) flat_feature_index: u32,
    #[serde(borrow)]
    pub(super) feature_name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) feature_id: Option<Cow<'a, str>>,
    /// Hashes of the categories that splits ask for.
    pub(super) values: Option<Vec<i64>>,
}

/// A category of some feature of the pool.
#[derive(Debug, Deserialize)]
pub(super) struct HashedLabel<'a> {
    /// As unsigned number, where features have it signed.
    pub(super) hash: i64,
    #[serde(borrow)]
    pub(super) value: Cow<'a, str>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct ModelInfo<'a> {
    #[serde(borrow)]
    pub(super) params: Option<Params<'a>>,
    #[serde(borrow)]
    pub(super) class_params: Option<ClassParams<'a>>,
    #[serde(borrow)]
    pub(super) binclass_probability_threshold: Option<Cow<'a, str>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Params<'a> {
    #[serde(borrow)]
    pub(super) loss_function: Option<LossFunction<'a>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct LossFunction<'a> {
    #[serde(borrow, rename = "type")]
    pub(super) kind: Option<Cow<'a, str>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct ClassParams<'a> {
    #[serde(borrow)]
    pub(super) class_label_type: Option<Cow<'a, str>>,
    pub(super) class_names: Option<Vec<Label>>,
    /// For each margin, the place of its class among the names.
    pub(super) class_to_label: Option<Vec<f64>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct ObliviousTree<'a> {
    #[serde(borrow)]
    pub(super) splits: Option<Vec<Split<'a>>>,
    pub(super) leaf_values: Vec<f64>,
    pub(super) leaf_weights: Option<Vec<f64>>,
}

/// A node of a tree that is not oblivious: a leaf has a value, other nodes a split.
#[derive(Debug, Deserialize)]
pub(super) struct Node<'a> {
    #[serde(borrow)]
    pub(super) split: Option<Split<'a>>,
    #[serde(borrow)]
    pub(super) left: Option<Box<Node<'a>>>,
    #[serde(borrow)]
    pub(super) right: Option<Box<Node<'a>>>,
    pub(super) value: Option<Numbers>,
    pub(super) weight: Option<f64>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Split<'a> {
    #[serde(borrow)]
    pub(super) split_type: Cow<'a, str>,
    pub(super) float_feature_index: Option<u32>,
    pub(super) border: Option<f64>,
    pub(super) cat_feature_index: Option<u32>,
    pub(super) value: Option<i64>,
}

/// A number, or a list of them.
#[derive(Debug)]
pub(super) enum Numbers {
    One(f64),
    Many(Vec<f64>),
}

impl<'de> Deserialize<'de> for Numbers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Numbers;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number or a list of numbers")
            }
            fn visit_f64<E>(self, x: f64) -> Result<Numbers, E> {
                Ok(Numbers::One(x))
            }
            fn visit_i64<E>(self, x: i64) -> Result<Numbers, E> {
                Ok(Numbers::One(x as f64))
            }
            fn visit_u64<E>(self, x: u64) -> Result<Numbers, E> {
                Ok(Numbers::One(x as f64))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Numbers, A::Error> {
                let mut many = Vec::new();
                while let Some(x) = seq.next_element()? {
                    many.push(x);
                }
                Ok(Numbers::Many(many))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// A class label.
#[derive(Debug)]
pub(super) enum Label {
    Text(String),
    Number(f64),
}

impl<'de> Deserialize<'de> for Label {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl Visitor<'_> for Any {
            type Value = Label;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a class label")
            }
            fn visit_bool<E>(self, x: bool) -> Result<Label, E> {
                // As CatBoost's own answers spell them.
                Ok(Label::Text(if x { "True" } else { "False" }.to_string()))
            }
            fn visit_f64<E>(self, x: f64) -> Result<Label, E> {
                Ok(Label::Number(x))
            }
            fn visit_i64<E>(self, x: i64) -> Result<Label, E> {
                Ok(Label::Number(x as f64))
            }
            fn visit_u64<E>(self, x: u64) -> Result<Label, E> {
                Ok(Label::Number(x as f64))
            }
            fn visit_str<E: Error>(self, x: &str) -> Result<Label, E> {
                Ok(Label::Text(x.to_string()))
            }
        }
        deserializer.deserialize_any(Any)
    }
}
