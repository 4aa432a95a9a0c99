//! Encoders with transformers' names against plain loops.

use super::common::random::Random;
use super::common::scratch;
use super::plain::{Rows, add, attention, flat, gelu, layer_norm, linear, map};
use super::{Weight, file, model_of, nearly, run};
use modelserve::tensor::Tensor;
use modelserve::{ErrorKind, Format, LoadOptions, Model, load, load_bytes};
use serde_json::{Value as Json, json};

pub(super) const HIDDEN: usize = 8;
const INNER: usize = 12;
const HEADS: usize = 2;
pub(super) const WORDS: usize = 11;
const POSITIONS: usize = 9;

/// Tensors by their names without a prefix.
pub(super) struct Weights(pub(super) Vec<Weight>);

impl Weights {
    pub(super) fn get(&self, name: &str) -> &Weight {
        self.0.iter().find(|w| w.name == name).unwrap_or_else(|| panic!("no {name}"))
    }

    pub(super) fn linear(&self, x: &Rows, name: &str) -> Rows {
        let weight = self.get(&format!("{name}.weight"));
        linear(x, weight, Some(self.get(&format!("{name}.bias"))), 0, weight.dims[0])
    }

    pub(super) fn norm(&self, x: &Rows, name: &str, eps: f64) -> Rows {
        let (weight, bias) = (format!("{name}.weight"), format!("{name}.bias"));
        layer_norm(x, self.get(&weight), self.get(&bias), eps)
    }

    fn row(&self, table: &str, row: usize) -> Vec<f64> {
        let values = &self.get(&format!("embeddings.{table}.weight")).values;
        values[row * HIDDEN..(row + 1) * HIDDEN].iter().map(|&v| f64::from(v)).collect()
    }

    /// The same under other names.
    pub(super) fn renamed(&self, name: impl Fn(&str) -> String) -> Vec<Weight> {
        let rename = |w: &Weight| Weight {
            name: name(&w.name),
            dims: w.dims.clone(),
            values: w.values.clone(),
        };
        self.0.iter().map(rename).collect()
    }

    pub(super) fn add_linear(
        &mut self,
        random: &mut Random,
        name: &str,
        out: usize,
        columns: usize,
    ) {
        self.0.push(Weight::random(random, format!("{name}.weight"), &[out, columns]));
        self.0.push(Weight::random(random, format!("{name}.bias"), &[out]));
    }
}

/// The names of a layer's parts.
type Names = [&'static str; 8];
const BERT: Names = [
    "attention.self.query",
    "attention.self.key",
    "attention.self.value",
    "attention.output.dense",
    "attention.output.LayerNorm",
    "intermediate.dense",
    "output.dense",
    "output.LayerNorm",
];
const DISTILBERT: Names = [
    "attention.q_lin",
    "attention.k_lin",
    "attention.v_lin",
    "attention.out_lin",
    "sa_layer_norm",
    "ffn.lin1",
    "ffn.lin2",
    "output_layer_norm",
];

fn encoder(random: &mut Random, layers: &str, names: Names, types: usize) -> Weights {
    let mut all = Weights(vec![
        Weight::random(random, "embeddings.word_embeddings.weight", &[WORDS, HIDDEN]),
        Weight::random(random, "embeddings.position_embeddings.weight", &[POSITIONS, HIDDEN]),
    ]);
    if types > 0 {
        let name = "embeddings.token_type_embeddings.weight";
        all.0.push(Weight::random(random, name, &[types, HIDDEN]));
    }
    let norm = |all: &mut Weights, random: &mut Random, name: &str| {
        all.0.push(Weight::positive(random, format!("{name}.weight"), &[HIDDEN]));
        all.0.push(Weight::random(random, format!("{name}.bias"), &[HIDDEN]));
    };
    norm(&mut all, random, "embeddings.LayerNorm");
    for i in 0..2 {
        let [q, k, v, attention, first, inner, outer, last] =
            names.map(|name| format!("{layers}.{i}.{name}"));
        for name in [q, k, v, attention] {
            all.add_linear(random, &name, HIDDEN, HIDDEN);
        }
        norm(&mut all, random, &first);
        all.add_linear(random, &inner, INNER, HIDDEN);
        all.add_linear(random, &outer, HIDDEN, INNER);
        norm(&mut all, random, &last);
    }
    all
}

/// One sequence through the encoder.
fn encoded(
    weights: &Weights,
    layers: &str,
    names: Names,
    embedded: Vec<Vec<f64>>,
    real: &[i64],
) -> Rows {
    let mut x = weights.norm(&embedded, "embeddings.LayerNorm", 1e-12);
    for i in 0..2 {
        let [q, k, v, out, first, inner, outer, last] =
            names.map(|name| format!("{layers}.{i}.{name}"));
        let part = |name: &str| weights.linear(&x, name);
        let y = attention(&part(&q), &part(&k), &part(&v), HEADS, |_, j| real[j] == 1);
        let y = weights.norm(&add(&weights.linear(&y, &out), &x), &first, 1e-12);
        let z = map(&weights.linear(&y, &inner), gelu);
        x = weights.norm(&add(&weights.linear(&z, &outer), &y), &last, 1e-12);
    }
    x
}

pub(super) fn bert_config(architecture: &str) -> Json {
    json!({
        "architectures": [architecture], "model_type": "bert", "hidden_size": HIDDEN,
        "num_hidden_layers": 2, "num_attention_heads": HEADS, "intermediate_size": INNER,
        "hidden_act": "gelu", "layer_norm_eps": 1e-12, "max_position_embeddings": POSITIONS,
        "type_vocab_size": 2, "vocab_size": WORDS, "pad_token_id": 0,
        "position_embedding_type": "absolute", "use_cache": true, "hidden_dropout_prob": 0.1,
        "attention_probs_dropout_prob": 0.1, "classifier_dropout": null,
        "initializer_range": 0.02, "transformers_version": "4.40.0",
    })
}

const IDS: [i64; 8] = [1, 5, 9, 2, 7, 3, 0, 0];
const REAL: [i64; 8] = [1, 1, 1, 1, 1, 1, 0, 0];
const TYPES: [i64; 8] = [0, 0, 1, 1, 0, 1, 0, 0];

fn ints(values: [i64; 8]) -> Tensor {
    Tensor::from_vec(&[2, 4], values.to_vec()).unwrap()
}

pub(super) fn bert_inputs() -> [(&'static str, Tensor); 3] {
    [("input_ids", ints(IDS)), ("attention_mask", ints(REAL)), ("token_type_ids", ints(TYPES))]
}

/// What BERT answers for the two sequences.
pub(super) fn bert_states(weights: &Weights) -> Vec<Rows> {
    let sequence = |s: usize| {
        let embedded = (0..4)
            .map(|t| {
                let at = s * 4 + t;
                let word = weights.row("word_embeddings", IDS[at] as usize);
                let kind = weights.row("token_type_embeddings", TYPES[at] as usize);
                let place = weights.row("position_embeddings", t);
                (0..HIDDEN).map(|c| word[c] + kind[c] + place[c]).collect()
            })
            .collect();
        encoded(weights, "encoder.layer", BERT, embedded, &REAL[s * 4..s * 4 + 4])
    };
    vec![sequence(0), sequence(1)]
}

/// The first token's state through the pooler.
pub(super) fn pooled(weights: &Weights, states: &[Rows]) -> Rows {
    let first: Rows = states.iter().map(|rows| rows[0].clone()).collect();
    map(&weights.linear(&first, "pooler.dense"), f64::tanh)
}

pub(super) fn bert(random: &mut Random) -> Weights {
    let mut weights = encoder(random, "encoder.layer", BERT, 2);
    weights.add_linear(random, "pooler.dense", HIDDEN, HIDDEN);
    weights
}

#[test]
fn bert_by_any_of_its_names() {
    let weights = bert(&mut Random::new(31));
    let states = bert_states(&weights);
    let pooler = pooled(&weights, &states);
    let plain = weights.renamed(str::to_string);
    let prefixed = weights.renamed(|name| format!("bert.{name}"));
    let old = weights.renamed(|name| match name.contains("LayerNorm") {
        true => name.replace(".weight", ".gamma").replace(".bias", ".beta"),
        false => name.to_string(),
    });
    for named in [plain, prefixed, old] {
        let ours = model_of(&bert_config("BertModel"), &named);
        let signature = ours.signature();
        let names: Vec<&str> = signature.inputs.iter().map(|i| i.name.as_str()).collect();
        assert_eq!(names, ["input_ids", "attention_mask", "token_type_ids"]);
        let got = run(&ours, &bert_inputs());
        assert_eq!(got[0].0, "last_hidden_state");
        nearly("states", &got[0].1, &[2, 4, HIDDEN], &flat(&states), 1e-4);
        assert_eq!(got[1].0, "pooler_output");
        nearly("pooler", &got[1].1, &[2, HIDDEN], &flat([&pooler]), 1e-4);
        assert_eq!(got.len(), 2);
    }
}

/// What an encoder without kinds of tokens answers for the two sequences, or one whose tokens are
/// all of the first kind.
fn states_at(weights: &Weights, layers: &str, names: Names, places: [usize; 8]) -> Vec<Rows> {
    let kinds = weights.0.iter().any(|w| w.name == "embeddings.token_type_embeddings.weight");
    let sequence = |s: usize| {
        let embedded = (s * 4..s * 4 + 4)
            .map(|at| {
                let word = weights.row("word_embeddings", IDS[at] as usize);
                let place = weights.row("position_embeddings", places[at]);
                let kind = match kinds {
                    true => weights.row("token_type_embeddings", 0),
                    false => vec![0.0; HIDDEN],
                };
                (0..HIDDEN).map(|c| word[c] + kind[c] + place[c]).collect()
            })
            .collect();
        encoded(weights, layers, names, embedded, &REAL[s * 4..s * 4 + 4])
    };
    vec![sequence(0), sequence(1)]
}

pub(super) fn distilbert_states(weights: &Weights) -> Vec<Rows> {
    states_at(weights, "transformer.layer", DISTILBERT, [0, 1, 2, 3, 0, 1, 2, 3])
}

/// Padding is 0 here and keeps that position; tokens count from behind it.
pub(super) fn roberta_states(weights: &Weights) -> Vec<Rows> {
    states_at(weights, "encoder.layer", BERT, [1, 2, 3, 4, 1, 2, 0, 0])
}

pub(super) fn distilbert(random: &mut Random) -> Weights {
    encoder(random, "transformer.layer", DISTILBERT, 0)
}

pub(super) fn roberta(random: &mut Random) -> Weights {
    encoder(random, "encoder.layer", BERT, 1)
}

pub(super) fn distilbert_config(architecture: &str) -> Json {
    json!({
        "architectures": [architecture], "model_type": "distilbert", "dim": HIDDEN,
        "n_layers": 2, "n_heads": HEADS, "hidden_dim": INNER, "activation": "gelu",
        "max_position_embeddings": POSITIONS, "vocab_size": WORDS, "sinusoidal_pos_embds": false,
    })
}

pub(super) fn roberta_config(architecture: &str) -> Json {
    let mut config = bert_config(architecture);
    config["model_type"] = json!("roberta");
    config["type_vocab_size"] = json!(1);
    config
}

/// The inputs of an encoder without kinds of tokens.
pub(super) fn two_inputs() -> [(&'static str, Tensor); 2] {
    [("input_ids", ints(IDS)), ("attention_mask", ints(REAL))]
}

#[test]
fn distilbert_and_roberta() {
    let random = &mut Random::new(34);
    let weights = distilbert(random);
    let named = weights.renamed(|n| format!("distilbert.{n}"));
    let got = run(&model_of(&distilbert_config("DistilBertModel"), &named), &two_inputs());
    let want = distilbert_states(&weights);
    nearly("distilbert", &got[0].1, &[2, 4, HIDDEN], &flat(&want), 1e-4);

    let weights = roberta(random);
    let named = weights.renamed(str::to_string);
    let got = run(&model_of(&roberta_config("RobertaModel"), &named), &two_inputs());
    nearly("roberta", &got[0].1, &[2, 4, HIDDEN], &flat(&roberta_states(&weights)), 1e-4);
}

#[test]
fn a_sentence_is_pooled_as_its_files_say() {
    let weights = bert(&mut Random::new(35));
    let states = bert_states(&weights);
    let folder = scratch("sentence");
    std::fs::create_dir_all(folder.join("1_Pooling")).unwrap();
    std::fs::write(folder.join("model.safetensors"), file(&weights.0)).unwrap();
    let config = bert_config("BertModel");
    std::fs::write(folder.join("config.json"), config.to_string()).unwrap();
    let module = |name: &str, path: &str| {
        json!({"idx": 0, "name": "0", "path": path,
               "type": format!("sentence_transformers.models.{name}")})
    };
    let write = |modules: &[Json], pooling: Json| {
        std::fs::write(folder.join("modules.json"), json!(modules).to_string()).unwrap();
        std::fs::write(folder.join("1_Pooling/config.json"), pooling.to_string()).unwrap();
    };
    let start = [module("Transformer", ""), module("Pooling", "1_Pooling")];
    let whole = [start[0].clone(), start[1].clone(), module("Normalize", "2_Normalize")];
    let real = |s: usize| REAL[s * 4..s * 4 + 4].iter().filter(|&&r| r == 1).count();
    let mean: Rows = (0..2)
        .map(|s| {
            let n = real(s);
            (0..HIDDEN)
                .map(|c| states[s][..n].iter().map(|r| r[c]).sum::<f64>() / n as f64)
                .collect()
        })
        .collect();
    let most: Rows = (0..2)
        .map(|s| {
            let best =
                |c: usize| states[s][..real(s)].iter().map(|r| r[c]).fold(f64::MIN, f64::max);
            (0..HIDDEN).map(best).collect()
        })
        .collect();
    let unit = |x: &Rows| -> Rows {
        x.iter()
            .map(|row| {
                let norm = row.iter().map(|v| v * v).sum::<f64>().sqrt();
                row.iter().map(|v| v / norm).collect()
            })
            .collect()
    };
    let answer = || {
        let model = load(&folder, &LoadOptions::default()).unwrap();
        let got = run(&model, &bert_inputs());
        assert_eq!(got[0].0, "last_hidden_state");
        nearly("states", &got[0].1, &[2, 4, HIDDEN], &flat(&states), 1e-4);
        assert_eq!((got[1].0.as_str(), got.len()), ("sentence_embedding", 2));
        got[1].1.clone()
    };
    write(&whole, json!({"pooling_mode_mean_tokens": true, "pooling_mode_cls_token": false}));
    nearly("mean", &answer(), &[2, HIDDEN], &flat([&unit(&mean)]), 1e-4);
    write(&start, json!({"pooling_mode": "max"}));
    nearly("max", &answer(), &[2, HIDDEN], &flat([&most]), 1e-4);
    write(&start, json!({"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": true}));
    let both: Rows = (0..2).map(|s| [states[s][0].clone(), mean[s].clone()].concat()).collect();
    nearly("first and mean", &answer(), &[2, 2 * HIDDEN], &flat([&both]), 1e-4);

    let refused = || load(&folder, &LoadOptions::default()).unwrap_err();
    write(&start, json!({"pooling_mode_lasttoken": true}));
    assert_eq!(refused().kind(), ErrorKind::Unsupported);
    write(
        &[start[0].clone(), start[1].clone(), module("CNN", "2_CNN")],
        json!({"pooling_mode": "cls"}),
    );
    assert!(refused().message().contains("CNN"), "{}", refused());

    write(&start, json!({"pooling_mode_weightedmean_tokens": true}));
    let weighted: Rows = (0..2)
        .map(|s| {
            let n = real(s);
            let all: f64 = (1..=n).map(|place| place as f64).sum();
            let of = |c: usize| (0..n).map(|t| states[s][t][c] * (t + 1) as f64).sum::<f64>() / all;
            (0..HIDDEN).map(of).collect()
        })
        .collect();
    nearly("weighted mean", &answer(), &[2, HIDDEN], &flat([&weighted]), 1e-4);

    // A projection to five numbers, normalised by two modules.
    let mut after = Weights(vec![]);
    after.add_linear(&mut Random::new(37), "linear", 5, HIDDEN);
    after.0.push(Weight::random(&mut Random::new(38), "norm.weight", &[5]));
    after.0.push(Weight::random(&mut Random::new(39), "norm.bias", &[5]));
    let (linear_part, norm_part) = after.0.split_at(2);
    let part = |name: &str, weights: &[Weight], config: Json| {
        std::fs::create_dir_all(folder.join(name)).unwrap();
        std::fs::write(folder.join(name).join("model.safetensors"), file(weights)).unwrap();
        std::fs::write(folder.join(name).join("config.json"), config.to_string()).unwrap();
    };
    let dense = |activation: &str| {
        json!({"in_features": HIDDEN, "out_features": 5, "bias": true,
               "activation_function": format!("torch.nn.modules.activation.{activation}")})
    };
    part("3_LayerNorm", norm_part, json!({"dimension": 5}));
    let modules = [
        start[0].clone(),
        start[1].clone(),
        module("Dense", "2_Dense"),
        module("Dropout", "4_Dropout"),
        module("LayerNorm", "3_LayerNorm"),
        module("Normalize", "5_Normalize"),
    ];
    write(&modules, json!({"pooling_mode": "mean"}));
    type Function = fn(f64) -> f64;
    let functions: [(&str, Function); 3] =
        [("Tanh", f64::tanh), ("SiLU", |x| x / (1.0 + (-x).exp())), ("Identity", |x| x)];
    for (activation, function) in functions {
        part("2_Dense", linear_part, dense(activation));
        let want = map(&after.linear(&mean, "linear"), function);
        let want = unit(&after.norm(&want, "norm", 1e-5));
        nearly(activation, &answer(), &[2, 5], &flat([&want]), 1e-4);
    }
    for (config, kind) in [
        (dense("GLU"), ErrorKind::Unsupported),
        (json!({"in_features": HIDDEN + 1, "out_features": 5}), ErrorKind::InvalidModel),
        (json!({"in_features": HIDDEN, "out_features": 5, "bias": false}), ErrorKind::InvalidModel),
        (json!({"out_features": 5}), ErrorKind::InvalidModel),
    ] {
        part("2_Dense", linear_part, config);
        assert_eq!(refused().kind(), kind, "{}", refused());
    }
    std::fs::remove_file(folder.join("2_Dense/model.safetensors")).unwrap();
    assert!(refused().message().contains("2_Dense"), "{}", refused());
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn what_changes_the_computation_is_refused() {
    let weights = bert(&mut Random::new(36));
    let refused = |config: &Json, weights: &[Weight]| {
        let options = LoadOptions {
            format: Some(Format::Safetensors),
            config: Some(config.to_string()),
            ..LoadOptions::default()
        };
        load_bytes(file(weights), &options).unwrap_err()
    };
    for (key, value) in [
        ("is_decoder", json!(true)),
        ("add_cross_attention", json!(true)),
        ("position_embedding_type", json!("relative_key")),
        ("hidden_act", json!("silu_and_mul")),
        ("auto_map", json!({"AutoModel": "modeling.Own"})),
        ("quantization_config", json!({"bits": 4})),
        ("architectures", json!(["BertForNextSentencePrediction"])),
    ] {
        let mut config = bert_config("BertModel");
        config[key] = value;
        let error = refused(&config, &weights.0);
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{key}: {error}");
        assert!(error.message().contains(&format!("$.{key}")), "{key}: {error}");
    }
    for (key, value, says) in [
        ("num_attention_heads", json!(3), "3 heads do not divide"),
        ("vocab_size", json!(12), "has shape [11, 8], expected [12, 8]"),
        ("num_hidden_layers", json!(1), "belong to no layer"),
        ("num_hidden_layers", json!(3), "no tensor 'encoder.layer.2."),
        ("hidden_size", json!("8"), "$.hidden_size: expected"),
    ] {
        let mut config = bert_config("BertModel");
        config[key] = value;
        let error = refused(&config, &weights.0);
        assert_eq!(error.kind(), ErrorKind::InvalidModel, "{key}: {error}");
        assert!(error.message().contains(says), "{key}: {error}");
    }
    // A sequence that is longer than there are positions.
    let ours = model_of(&bert_config("BertModel"), &weights.0);
    let long = Tensor::from_vec(&[1, POSITIONS + 1], vec![1i64; POSITIONS + 1]).unwrap();
    let names = ["input_ids", "attention_mask", "token_type_ids"];
    let given = names.map(|name| (name.to_string(), long.clone().into())).to_vec();
    assert_eq!(ours.run(given, &[]).unwrap_err().kind(), ErrorKind::InvalidInput);
}
