//! Examples of the specification and answers of ONNX Runtime.

use super::super::testing::{Op, strings, t};
use crate::attribute::Attribute;

fn texts(v: &[&str]) -> Attribute {
    Attribute::Strings(v.iter().map(|s| s.as_bytes().to_vec().into()).collect())
}

fn text(s: &str) -> Attribute {
    Attribute::String(s.into())
}

#[test]
fn stop_words_and_case() {
    let op = Op::onnx("StringNormalizer", 10)
        .attr("case_change_action", text("UPPER"))
        .attr("stopwords", texts(&["MONDAY"]));
    let x = strings(&[1, 3], &["monday", "straße", "é"]);
    assert_eq!(op.run1(&[x]), strings(&[1, 2], &["STRAßE", "É"]));
    assert_eq!(op.run1(&[strings(&[1], &["Monday"])]), strings(&[1], &[""]));
    let op = op.int("is_case_sensitive", 1);
    assert_eq!(op.run1(&[strings(&[1], &["monday"])]), strings(&[1], &["MONDAY"]));
}

#[test]
fn tokens_are_split_marked_and_padded() {
    let op = Op::new("com.microsoft", "Tokenizer", 1)
        .attr("separators", texts(&[" ", r"\."]))
        .attr("pad_value", text("#"))
        .int("mark", 1)
        .int("mincharnum", 2);
    let y = op.run1(&[strings(&[2], &["ab.cd e", "xyz"])]);
    let expected = ["\u{2}", "ab", "cd", "\u{3}", "\u{2}", "xyz", "\u{3}", "#"];
    assert_eq!(y, strings(&[2, 4], &expected));
    let op = Op::new("com.microsoft", "Tokenizer", 1).attr("tokenexp", text("[a-z]+"));
    assert_eq!(op.run1(&[strings(&[1], &["ab1c"])]), strings(&[1, 2], &["ab", "c"]));
    assert_eq!(op.run1(&[strings(&[1], &["12"])]).dims(), [1, 0]);
}

/// The specification's example of a pool of single words and pairs, with skips.
#[test]
fn n_grams_are_counted_with_skips() {
    let op = |skips: i64, least: i64| {
        Op::onnx("TfIdfVectorizer", 9)
            .attr("mode", text("TF"))
            .int("min_gram_length", least)
            .int("max_gram_length", 2)
            .int("max_skip_count", skips)
            .attr("ngram_counts", Attribute::Ints(vec![0, 4]))
            .attr("ngram_indexes", Attribute::Ints((0..7).collect()))
            .attr("pool_int64s", Attribute::Ints(vec![2, 3, 5, 4, 5, 6, 7, 8, 6, 7]))
    };
    let x = t(&[12], &[1i32, 1, 3, 3, 3, 7, 8, 6, 7, 5, 6, 8]);
    let y = op(0, 2).run1(std::slice::from_ref(&x));
    assert_eq!(y, t(&[7], &[0f32, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0]));
    let y = op(5, 2).run1(std::slice::from_ref(&x));
    assert_eq!(y, t(&[7], &[0f32, 0.0, 0.0, 0.0, 1.0, 3.0, 1.0]));
    let y = op(5, 1).run1(&[x]);
    assert_eq!(y, t(&[7], &[0f32, 3.0, 1.0, 0.0, 1.0, 3.0, 1.0]));
    let y = op(0, 1).run1(&[t(&[2, 0], &[0i64; 0])]);
    assert_eq!(y, t(&[2, 7], &[0f32; 14]));
}

#[test]
fn strings_are_joined_split_and_matched() {
    let y = Op::onnx("StringConcat", 20)
        .run1(&[strings(&[2, 1], &["a", "b"]), strings(&[2], &["x", "y"])]);
    assert_eq!(y, strings(&[2, 2], &["ax", "ay", "bx", "by"]));
    let y = Op::onnx("StringSplit", 20)
        .int("maxsplit", 1)
        .outputs(2)
        .run(&[strings(&[2], &["  a b  c ", ""])])
        .unwrap();
    assert_eq!(y[0], strings(&[2, 2], &["a", "b  c", "", ""]));
    assert_eq!(y[1], t(&[2], &[2i64, 0]));
    let op = Op::onnx("RegexFullMatch", 20).attr("pattern", text("a|ab"));
    assert_eq!(op.run1(&[strings(&[2], &["ab", "abc"])]), t(&[2], &[true, false]));
    assert!(op.attr("pattern", text("a)(b")).run(&[strings(&[1], &["a"])]).is_err());
}
