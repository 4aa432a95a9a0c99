//! What stands on an encoder, with transformers' names, against plain loops.

use super::common::random::Random;
use super::encoders::{
    HIDDEN, WORDS, Weights, bert, bert_config, bert_inputs, bert_states, distilbert,
    distilbert_config, distilbert_states, pooled, roberta, roberta_config, roberta_states,
    two_inputs,
};
use super::plain::{Rows, flat, gelu, linear, map};
use super::{Weight, model_of, nearly, run};
use modelserve::{Model, Task};
use serde_json::json;

/// The names that the encoder's tensors have beneath a head.
fn beneath(weights: &Weights, prefix: &str) -> Vec<Weight> {
    weights.renamed(|name| match name {
        _ if name.contains("embeddings.") || name.contains("layer.") => format!("{prefix}.{name}"),
        _ if name.starts_with("pooler.") => format!("{prefix}.{name}"),
        _ => name.to_string(),
    })
}

/// The first token's states.
fn first(states: &[Rows]) -> Rows {
    states.iter().map(|rows| rows[0].clone()).collect()
}

fn column(x: &Rows, at: usize) -> Rows {
    x.iter().map(|row| vec![row[at]]).collect()
}

/// The weights of a head that scores words.
fn add_words(weights: &mut Weights, random: &mut Random, [dense, norm, bias]: [&str; 3]) {
    weights.add_linear(random, dense, HIDDEN, HIDDEN);
    for end in ["weight", "bias"] {
        weights.0.push(Weight::positive(random, format!("{norm}.{end}"), &[HIDDEN]));
    }
    weights.0.push(Weight::random(random, bias, &[WORDS]));
}

/// What such a head answers, by the words' embedding or another table.
fn words(weights: &Weights, x: &Rows, [dense, norm, bias]: [&str; 3], table: &str) -> Rows {
    let y = map(&weights.linear(x, dense), gelu);
    let y = weights.norm(&y, norm, 1e-12);
    linear(&y, weights.get(table), Some(weights.get(bias)), 0, WORDS)
}

const EMBEDDING: &str = "embeddings.word_embeddings.weight";

#[test]
fn bert_with_heads() {
    let random = &mut Random::new(32);
    let mut weights = bert(random);
    let states = bert_states(&weights);
    let pooler = pooled(&weights, &states);
    weights.add_linear(random, "classifier", 3, HIDDEN);
    let named = beneath(&weights, "bert");
    let mut config = bert_config("BertForSequenceClassification");
    config["id2label"] = json!({"0": "no", "1": "maybe", "2": "yes"});
    let ours = model_of(&config, &named);
    assert_eq!(ours.signature().task, Task::Classifier);
    let want = weights.linear(&pooler, "classifier");
    let got = run(&ours, &bert_inputs());
    assert_eq!(got[0].0, "logits");
    nearly("classifier", &got[0].1, &[2, 3], &flat([&want]), 1e-4);

    config["architectures"] = json!(["BertForTokenClassification"]);
    let got = run(&model_of(&config, &named), &bert_inputs());
    let want: Vec<Rows> = states.iter().map(|x| weights.linear(x, "classifier")).collect();
    nearly("tokens", &got[0].1, &[2, 4, 3], &flat(&want), 1e-4);

    let mut weights = bert(&mut Random::new(32));
    let random = &mut Random::new(33);
    let parts = [
        "cls.predictions.transform.dense",
        "cls.predictions.transform.LayerNorm",
        "cls.predictions.bias",
    ];
    add_words(&mut weights, random, parts);
    weights.add_linear(random, "cls.seq_relationship", 2, HIDDEN);
    let ours = model_of(&bert_config("BertForMaskedLM"), &beneath(&weights, "bert"));
    let got = run(&ours, &bert_inputs());
    let want: Vec<Rows> = states.iter().map(|x| words(&weights, x, parts, EMBEDDING)).collect();
    nearly("words", &got[0].1, &[2, 4, WORDS], &flat(&want), 1e-4);
}

#[test]
fn sequences_of_roberta_and_distilbert() {
    let random = &mut Random::new(40);
    let mut weights = roberta(random);
    let states = roberta_states(&weights);
    weights.add_linear(random, "classifier.dense", HIDDEN, HIDDEN);
    weights.add_linear(random, "classifier.out_proj", 3, HIDDEN);
    let mut config = roberta_config("RobertaForSequenceClassification");
    config["id2label"] = json!({"0": "negative", "1": "neutral", "2": "positive"});
    let ours = model_of(&config, &beneath(&weights, "roberta"));
    assert_eq!(ours.signature().task, Task::Classifier);
    let inner = map(&weights.linear(&first(&states), "classifier.dense"), f64::tanh);
    let want = weights.linear(&inner, "classifier.out_proj");
    let got = run(&ours, &two_inputs());
    nearly("roberta", &got[0].1, &[2, 3], &flat([&want]), 1e-4);

    let mut weights = distilbert(random);
    let states = distilbert_states(&weights);
    weights.add_linear(random, "pre_classifier", HIDDEN, HIDDEN);
    weights.add_linear(random, "classifier", 2, HIDDEN);
    let inner = map(&weights.linear(&first(&states), "pre_classifier"), |x| x.max(0.0));
    let want = weights.linear(&inner, "classifier");
    let mut config = distilbert_config("DistilBertForSequenceClassification");
    let named = beneath(&weights, "distilbert");
    for (problem, task) in [
        ("single_label_classification", Task::Classifier),
        ("regression", Task::Regressor),
        ("multi_label_classification", Task::Transform),
    ] {
        config["problem_type"] = json!(problem);
        let ours = model_of(&config, &named);
        let got = run(&ours, &two_inputs());
        nearly(problem, &got[0].1, &[2, 2], &flat([&want]), 1e-4);
        assert_eq!(ours.signature().task, task, "{problem}");
    }
}

#[test]
fn where_an_answer_begins_and_ends() {
    let random = &mut Random::new(41);
    let mut weights = bert(random);
    let states = bert_states(&weights);
    weights.add_linear(random, "qa_outputs", 2, HIDDEN);
    let ours = model_of(&bert_config("BertForQuestionAnswering"), &beneath(&weights, "bert"));
    let got = run(&ours, &bert_inputs());
    let both: Vec<Rows> = states.iter().map(|x| weights.linear(x, "qa_outputs")).collect();
    for (at, name) in ["start_logits", "end_logits"].into_iter().enumerate() {
        let want: Vec<Rows> = both.iter().map(|x| column(x, at)).collect();
        assert_eq!(got[at].0, name);
        nearly(name, &got[at].1, &[2, 4], &flat(&want), 1e-4);
    }
    assert_eq!(got.len(), 2);
}

#[test]
fn words_behind_a_mask_of_roberta_and_distilbert() {
    let random = &mut Random::new(42);
    let mut weights = roberta(random);
    let states = roberta_states(&weights);
    let parts = ["lm_head.dense", "lm_head.layer_norm", "lm_head.bias"];
    add_words(&mut weights, random, parts);
    // A copy of the bias, as some checkpoints have it.
    weights.0.push(Weight::random(random, "lm_head.decoder.bias", &[WORDS]));
    let ours = model_of(&roberta_config("RobertaForMaskedLM"), &beneath(&weights, "roberta"));
    let got = run(&ours, &two_inputs());
    let want: Vec<Rows> = states.iter().map(|x| words(&weights, x, parts, EMBEDDING)).collect();
    nearly("roberta", &got[0].1, &[2, 4, WORDS], &flat(&want), 1e-4);

    // A last product of its own.
    let mut weights = distilbert(random);
    let states = distilbert_states(&weights);
    let parts = ["vocab_transform", "vocab_layer_norm", "vocab_projector.bias"];
    add_words(&mut weights, random, parts);
    weights.0.push(Weight::random(random, "vocab_projector.weight", &[WORDS, HIDDEN]));
    let config = distilbert_config("DistilBertForMaskedLM");
    let got = run(&model_of(&config, &beneath(&weights, "distilbert")), &two_inputs());
    let table = "vocab_projector.weight";
    let want: Vec<Rows> = states.iter().map(|x| words(&weights, x, parts, table)).collect();
    nearly("distilbert", &got[0].1, &[2, 4, WORDS], &flat(&want), 1e-4);
}
