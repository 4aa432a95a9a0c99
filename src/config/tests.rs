use super::schema::table;
use super::*;
use crate::error::ErrorKind;
use serde_json::Value;
use std::time::Duration;

const EXAMPLE: &str = include_str!("../../examples/modelserve.toml");

fn refused(text: &str) -> String {
    let error = text.parse::<Config>().expect_err(text);
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{text}");
    error.to_string()
}

#[test]
fn the_example_is_read() {
    let config: Config = EXAMPLE.parse().unwrap();
    assert_eq!(config.manager.model_repository, Some("models".into()));
    assert_eq!(config.manager.memory_budget, Some(2 << 30));
    assert_eq!(config.manager.memory_policy, MemoryPolicy::Evict);
    let churn = &config.models["churn"];
    assert_eq!(churn.labels["stable"], 7);
    assert_eq!(churn.deadline.as_ref().unwrap().default, Some(Duration::from_millis(50)));
    assert_eq!(churn.batching.as_ref().unwrap().max_batch_size, Some(64));
    assert_eq!(churn.cache.as_ref().unwrap().capacity, Some(64 << 20));
    assert_eq!(churn.fallback.len(), 3);
    assert_eq!(churn.fallback[0].target(), Some(TargetConfig::Label("stable")));
    assert_eq!(churn.fallback[1].target(), Some(TargetConfig::Model("small")));
    let Some(TargetConfig::Constant(constant)) = churn.fallback[2].target() else {
        panic!("{:?}", churn.fallback[2]);
    };
    assert_eq!(constant.label, Some(Label::Str("stays".to_string())));
    let promote = churn.canary.as_ref().unwrap().promote.as_ref().unwrap();
    assert_eq!(promote.steps.as_deref(), Some(&[1.0, 5.0, 25.0, 100.0][..]));
    assert_eq!(config.models["small"].path, Some("small.onnx".into()));
}

/// Every key of the schema is in the example, so that the example shows everything.
#[test]
fn the_example_has_every_key_of_the_schema() {
    fn compare(schema: &Value, value: &Value, path: &str) {
        if let Some(properties) = schema["properties"].as_object() {
            for key in value.as_object().unwrap().keys() {
                assert!(properties.contains_key(key), "{path}.{key} is not in the schema");
            }
            for (key, schema) in properties {
                if !value[key].is_null() {
                    compare(schema, &value[key], &format!("{path}.{key}"));
                }
            }
        } else if let Value::Array(items) = value {
            items.iter().for_each(|item| compare(&schema["items"], item, path));
        } else if let (Value::Object(map), false) =
            (value, schema["additionalProperties"]["properties"].is_null())
        {
            map.values().for_each(|v| compare(&schema["additionalProperties"], v, path));
        }
    }
    let schema: Value = serde_json::from_str(&schema()).unwrap();
    let value: Value = toml::from_str(EXAMPLE).unwrap();
    compare(&schema, &value, "");
    // Each key is written somewhere, commented out where two exclude each other.
    for line in table::keys(&schema) {
        let found = EXAMPLE.lines().any(|l| {
            let l = l.trim_start_matches(['#', ' ']);
            l.strip_prefix(line.as_str()).is_some_and(|rest| rest.trim_start().starts_with('='))
                || l.contains(&format!(".{line}]"))
                || l.contains(&format!("[{line}]"))
                || l.contains(&format!(" {line} = "))
                || l.contains(&format!(".{line}."))
                || l.contains(&format!("[{line}."))
        });
        assert!(found, "'{line}' is not in examples/modelserve.toml");
    }
}

fn committed(path: &str) -> String {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(path).unwrap()
}

/// With `MODELSERVE_BLESS` set, writes what is generated; else compares.
fn bless_or_compare(path: &str, generated: &str) {
    if std::env::var_os("MODELSERVE_BLESS").is_some() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
        std::fs::write(path, generated).unwrap();
    }
    let same = committed(path) == generated;
    assert!(same, "{path} is out of date: MODELSERVE_BLESS=1 cargo test config:: writes it");
}

#[test]
fn the_committed_schema_is_the_generated_one() {
    bless_or_compare("docs/modelserve.schema.json", &schema());
}

#[test]
fn the_documented_keys_are_the_schemas() {
    let path = "docs/configuration.md";
    let (begin, end) = ("<!-- keys: generated -->\n", "<!-- keys: end -->\n");
    let text = committed(path);
    let (before, rest) = text.split_once(begin).unwrap();
    let (_, after) = rest.split_once(end).unwrap();
    let generated = format!("{before}{begin}{}\n{end}{after}", table::reference());
    bless_or_compare(path, &generated);
}

#[test]
fn an_unknown_key_is_named_with_its_place_and_the_nearest_known_one() {
    assert_eq!(
        refused("[models.churn]\npath = \"a\"\n\n[models.churn.batching]\n  max_batchsize = 3"),
        "unknown key 'max_batchsize' in [models.churn.batching] at line 5, column 3; did you mean \
         'max_batch_size'?"
    );
    assert_eq!(
        refused("[model.churn]\npath = \"a\""),
        "unknown key 'model' in the file at line 1, column 2; did you mean 'models'?"
    );
    assert_eq!(
        refused("[metrics]\nmax-series = 3"),
        "unknown key 'max-series' in [metrics] at line 2, column 1; did you mean 'max_series'?"
    );
    assert_eq!(
        refused("[metrics]\n\"x`, expected `y\" = 3"),
        "unknown key 'x`, expected `y' in [metrics] at line 2, column 1; known are max_series, \
         keep_versions"
    );
    assert_eq!(
        refused("[[models.a.fallback]]\nlabel = \"x\"\n[[models.a.fallback]]\nlable = \"x\""),
        "unknown key 'lable' in [models.a.fallback[1]] at line 4, column 1; did you mean 'label'?"
    );
}

#[test]
fn wrong_types_and_values_say_what_was_expected_and_what_was_found() {
    for (text, message) in [
        (
            "[manager]\nthreads = \"many\"",
            "manager.threads at line 2, column 11: expected a whole number, 0 or more, got \
             string \"many\"",
        ),
        (
            "[manager]\nthreads = -1",
            "manager.threads at line 2, column 11: expected a whole number, 0 or more, got \
             integer '-1'",
        ),
        (
            "[models.a]\npath = 3",
            "models.a.path at line 2, column 8: expected a path, got integer '3'",
        ),
        (
            "[models.a.deadline]\ndefault = \"5 lightyears\"",
            "models.a.deadline.default at line 2, column 11: expected a time such as \"50ms\", \
             \"2s\" or \"1m30s\", or a number of seconds, got string \"5 lightyears\"",
        ),
        (
            "[models.a.cache]\ncapacity = true",
            "models.a.cache.capacity at line 2, column 12: expected a size such as \"64MiB\" or \
             \"1GB\", or a number of bytes, got boolean 'true'",
        ),
        (
            "[models.a]\ntask = \"guess\"",
            "models.a.task at line 2, column 8: expected \"classifier\" or \"multilabel\" or \
             \"regressor\" or \"outlier\" or \"cluster\" or \"transform\" or \"tensors\", got \
             \"guess\"",
        ),
        (
            "[[models.a.fallback]]\non = [\"io\", \"overload\"]",
            "models.a.fallback[0].on[1] at line 2, column 13: expected \"invalid_model\" or",
        ),
        (
            "[models.a]\nclasses = [1, \"b\"]",
            "models.a.classes at line 2, column 11: expected a list of integers or a list of \
             strings, got both",
        ),
        (
            "[models.a]\nversion_policy = \"newest\"",
            "models.a.version_policy at line 2, column 18: expected \"latest(n)\", \"all\", \
             \"specific(7, 8)\" or a list of version numbers, got string \"newest\"",
        ),
        (
            "[models.a]\nbatching = 3",
            "models.a.batching at line 2, column 12: expected a table, got integer '3'",
        ),
        (
            "[models.a.record]\nsample = 0.1",
            "models.a.record at line 1, column 1: missing field 'path'",
        ),
        ("manager = 3", "manager at line 1, column 11: expected a table, got integer '3'"),
    ] {
        let got = refused(text);
        assert!(got == message || got.starts_with(message) && message.ends_with(" or"), "{got}");
    }
}

/// Every kind of error has its name, and none another's.
#[test]
fn errors_are_named_in_snake_case() {
    for kind in ErrorKind::ALL {
        let mut snake = String::new();
        for c in kind.name().chars() {
            if c.is_uppercase() && !snake.is_empty() {
                snake.push('_');
            }
            snake.extend(c.to_lowercase());
        }
        let text = format!(
            "[models.a]\npath = \"a\"\n[[models.a.fallback]]\nversion = 1\non = [\"{snake}\"]"
        );
        if crate::policy::fallback::FallbackChoice::NEVER_ON.contains(&kind) {
            let place = "models.a.fallback[0].on[0] at line 5, column 7: is the caller's doing";
            assert!(refused(&text).starts_with(place), "{}", refused(&text));
            continue;
        }
        let config: Config = text.parse().unwrap();
        let on = config.models["a"].fallback[0].on.as_ref().unwrap();
        assert_eq!(on.iter().map(|n| n.kind()).collect::<Vec<_>>(), [kind]);
    }
}

#[test]
fn a_syntax_error_has_its_place() {
    let message = refused("[manager]\nthreads = = 3\n");
    assert!(message.starts_with("this is no TOML at line 2, column 11: "), "{message}");
    let message = refused("[manager]\n[manager]\n");
    assert!(message.contains("line 2") && message.contains("duplicate"), "{message}");
    let error = Config::from_bytes(b"[manager]\nthreads = \xff").unwrap_err();
    assert!(error.to_string().ends_with("another byte at line 2, column 11"), "{error}");
}

/// What one key alone cannot tell, each with the place of the key that is to blame.
#[test]
fn keys_that_do_not_agree_are_named_with_their_place() {
    let base = "[models.a]\npath = \"a.onnx\"\nversion = 7\nclasses = [\"x\", \"y\"]\n\
                labels = { stable = 7 }\n";
    for (more, message) in [
        (
            "[models.\"a b\"]\npath = \"b\"",
            "models.\"a b\" at line 6, column 9: expected a model's",
        ),
        ("[models.b]\ntask = \"regressor\"", "models.b at line 6, column 9: expected a path, or a"),
        ("[models.b]\npath = \"\"", "models.b.path at line 7, column 8: expected a path"),
        (
            "[models.b]\npath = \"b\"\nversion_policy = \"all\"",
            "models.b.version_policy at line 8, column 18: is for models of the repository",
        ),
        (
            "[manager]\nmodel_repository = \"m\"\n[models.b]\nversion = 8",
            "models.b.version at line 9, column 11: is for models with a path; version_policy",
        ),
        (
            "[models.b]\npath = \"b\"\nversion = 0",
            "models.b.version at line 8, column 11: expected a version from 1 to 2^63-1, got 0",
        ),
        (
            "[models.b]\npath = \"b\"\nversion = 2\nlabels = { stable = 3 }",
            "models.b.labels.stable at line 9, column 21: expected a version that is loaded (2)",
        ),
        (
            "[models.b]\npath = \"b\"\nclasses = [1, 2, 1]",
            "models.b.classes at line 8, column 11: 1 is there twice",
        ),
        ("[manager]\nwatch = true", "manager.watch at line 7, column 9: needs a model_repository"),
        (
            "[[models.a.fallback]]\nversion = 6\nmodel = \"b\"",
            "models.a.fallback[0] at line 6, column 1: expected exactly one of version, label, \
             model, constant, got version and model",
        ),
        (
            "[[models.a.fallback]]\nreserve = \"5ms\"",
            "models.a.fallback[0] at line 6, column 1: expected exactly one of version, label, \
             model, constant, got none",
        ),
        (
            "[[models.a.fallback]]\nmodel = \"a\"",
            "models.a.fallback[0].model at line 7, column 9: expected another model",
        ),
        (
            "[[models.a.fallback]]\nmodel = \"b\"",
            "models.a.fallback[0].model at line 7, column 9: there is no model 'b'",
        ),
        (
            "[[models.a.fallback]]\nlabel = \"stabel\"",
            "models.a.fallback[0].label at line 7, column 9: there is no label 'stabel'; did you \
             mean 'stable'?",
        ),
        (
            "[[models.a.fallback]]\nconstant = { label = \"x\", probabilities = [0.5, 0.6] }",
            "models.a.fallback[0].constant.probabilities at line 7, column 43: expected numbers \
             from 0 to 1 with sum 1, got sum 1.1",
        ),
        (
            "[[models.a.fallback]]\nconstant = { label = \"x\", probabilities = [1.0] }",
            "models.a.fallback[0].constant.probabilities at line 7, column 43: expected one for \
             each of 2 classes, got 1",
        ),
        (
            "[[models.a.fallback]]\nconstant = { label = \"z\" }",
            "models.a.fallback[0].constant.label at line 7, column 22: expected one of the",
        ),
        (
            "[[models.a.fallback]]\nconstant = { value = nan }",
            "models.a.fallback[0].constant.value at line 7, column 22: expected a finite number",
        ),
        (
            "[models.a.canary]\nversion = 8\npercent = 500",
            "models.a.canary.percent at line 8, column 11: expected a number from 0 to 100, got \
             500",
        ),
        (
            "[models.a.canary]\nversion = 8\npercent = 10\n[models.a.canary.promote]\nsteps = [5, 100]",
            "models.a.canary.percent at line 8, column 11: expected 5, the first of the steps of \
             promote, or no percent, got 10",
        ),
        (
            "[models.a.canary]\nversion = 8\npercent = 10\n[models.a.canary.promote]\nalpha = 0.1",
            "models.a.canary.percent at line 8, column 11: expected 1, the first",
        ),
        (
            "[models.a.canary]\nversion = 8",
            "models.a.canary at line 6, column 11: expected percent, or the steps",
        ),
        (
            "[models.a.canary]\nversion = 8\n[models.a.canary.promote]\nsteps = [5, 1, 100]",
            "models.a.canary.promote.steps at line 9, column 9: expected percents that ascend",
        ),
        (
            "[models.a.canary]\nversion = 8\n[models.a.canary.promote]\nsteps = [1, 5]",
            "models.a.canary.promote.steps at line 9, column 9: expected percents that ascend",
        ),
        (
            "[models.a.canary]\nversion = 8\n[models.a.canary.promote]\nalpha = 1",
            "models.a.canary.promote.alpha at line 9, column 9: expected a number between 0 and 1",
        ),
        (
            "[models.a.shadow]\nversion = 8\npercent = -1",
            "models.a.shadow.percent at line 8, column 11: expected a number from 0 to 100",
        ),
        (
            "[models.a.batching]\nmax_batch_size = 8\npreferred_batch_sizes = [4, 16]",
            "models.a.batching.preferred_batch_sizes at line 8, column 25: expected at most \
             max_batch_size, 8, got 16",
        ),
        (
            "[models.a.batching]\nmax_batch_size = 0",
            "models.a.batching.max_batch_size at line 7, column 18: expected 1 or more, got 0",
        ),
        (
            "[models.a.deadline]\ndefault = 0",
            "models.a.deadline.default at line 7, column 11: expected a time above 0, got 0",
        ),
        (
            "[models.a.breaker]\nopen_for = \"5s\"\nmax_open_for = \"1s\"",
            "models.a.breaker.max_open_for at line 8, column 16: expected at least open_for, 5s",
        ),
        (
            "[models.a.canary]\nversion = 8\npromote = { max_latency_ratio = 0.9 }",
            "models.a.canary.promote.max_latency_ratio at line 8, column 33: expected a number of \
             1 or more, got 0.9",
        ),
        (
            "[models.a.canary]\nversion = 8\npromote = { max_disagreement = 1 }",
            "models.a.canary.promote.max_disagreement at line 8, column 32: expected a number \
             from 0 to below 1, got 1",
        ),
        (
            "[models.a.canary]\nversion = 8\npromote = { max_error_increase = 1 }",
            "models.a.canary.promote.max_error_increase at line 8, column 34: expected a number \
             from 0 to below 1, got 1",
        ),
        (
            "[models.a.batching]\npreferred_batch_sizes = [64]",
            "models.a.batching.preferred_batch_sizes at line 7, column 25: expected at most \
             max_batch_size, 32, got 64",
        ),
        (
            "[models.a.batching]\nconcurrency = 1025",
            "models.a.batching.concurrency at line 7, column 15: expected at most 1024, got 1025",
        ),
        (
            "[models.a.breaker]\nmax_open_for = \"4s\"",
            "models.a.breaker.max_open_for at line 7, column 16: expected at least open_for, 5s",
        ),
        (
            "[models.a.breaker]\nslow_ratio = 0.5",
            "models.a.breaker.slow_ratio at line 7, column 14: needs slow_call",
        ),
        (
            "[models.a.breaker]\nfailure_ratio = 0",
            "models.a.breaker.failure_ratio at line 7, column 17: expected a number above 0, at",
        ),
        (
            "[models.a.gate]\nreplay_last = 0\nmax_latency_ratio = 2",
            "models.a.gate.replay_last at line 7, column 15: expected 1 or more",
        ),
        (
            "[models.a.record]\npath = \"r\"\nsample = 2",
            "models.a.record.sample at line 8, column 10: expected a number from 0 to 1, got 2",
        ),
        ("[metrics]\nmax_series = 0", "metrics.max_series at line 7, column 14: expected 1 or"),
    ] {
        let text = format!("{base}{more}\n");
        let got = refused(&text);
        assert!(got.starts_with(message), "{more}\n got {got}\nwant {message}");
    }
}

#[test]
fn everything_that_is_wrong_is_said_at_once() {
    let message = refused(
        "[models.a]\npath = \"a\"\nmax_rows = 0\n[models.a.shadow]\nversion = 1\npercent = 101",
    );
    let lines: Vec<&str> = message.lines().collect();
    assert_eq!(lines.len(), 2, "{message}");
    assert!(lines[0].contains("line 3") && lines[1].contains("line 6"), "{message}");
    let many: String = (0..20).map(|i| format!("[models.m{i}]\n")).collect();
    assert!(refused(&many).ends_with("\nand 12 more"), "{}", refused(&many));
}

#[test]
fn paths_are_relative_to_the_files_folder() {
    let folder = std::env::temp_dir().join(format!("modelserve-config-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("modelserve.toml");
    let text = "[manager]\nmodel_repository = \"models\"\n[models.a]\npath = \"/abs/a.onnx\"\n\
                [models.b.record]\npath = \"b.rec\"\n";
    std::fs::write(&file, text).unwrap();
    let config = Config::from_path(&file).unwrap();
    assert_eq!(config.manager.model_repository, Some(folder.join("models")));
    assert_eq!(config.models["a"].path, Some("/abs/a.onnx".into()));
    assert_eq!(config.models["b"].record.as_ref().unwrap().path, folder.join("b.rec"));

    std::fs::write(&file, "[manager]\nthread = 1").unwrap();
    let error = Config::from_path(&file).unwrap_err();
    let expected = format!(
        "{}: unknown key 'thread' in [manager] at line 2, column 1; did you mean 'threads'?",
        file.display()
    );
    assert_eq!(error.to_string(), expected);
    std::fs::write(&file, vec![b'#'; MAX_CONFIG_BYTES + 1]).unwrap();
    assert_eq!(Config::from_path(&file).unwrap_err().kind(), ErrorKind::LimitExceeded);
    std::fs::remove_dir_all(&folder).unwrap();
    assert_eq!(Config::from_path(&file).unwrap_err().kind(), ErrorKind::NotFound);
}

/// Truncations and flipped bits of the example: read or refused, never a panic.
#[test]
fn no_bytes_cause_a_panic() {
    let bytes = EXAMPLE.as_bytes();
    let (mut read, mut refused) = (0, 0);
    let mut try_bytes = |bytes: &[u8]| match Config::from_bytes(bytes) {
        Ok(_) => read += 1,
        Err(e) => {
            assert_eq!(e.kind(), ErrorKind::InvalidArgument);
            assert!(e.to_string().contains("line "), "{e}");
            refused += 1;
        }
    };
    for end in (0..bytes.len()).step_by(3) {
        try_bytes(&bytes[..end]);
    }
    for i in 0..bytes.len() {
        let mut flipped = bytes.to_vec();
        flipped[i] ^= 1 << (i % 8);
        try_bytes(&flipped);
    }
    for hostile in [
        "[".repeat(10_000),
        format!("a = {}", "[".repeat(10_000)),
        format!("{} = 1", vec!["a"; 10_000].join(".")),
        format!("a = {}", "{b = ".repeat(10_000)),
        format!("[models.a]\npath = \"{}\"", "x".repeat(1 << 20)),
    ] {
        assert!(Config::from_bytes(hostile.as_bytes()).is_err());
    }
    assert!(read > 100 && refused > 100, "{read} {refused}");
}

#[test]
fn the_http_section_is_read_and_checked() {
    let config: Config = "[http]\nmanagement = true\nmax_body_bytes = \"1MiB\"".parse().unwrap();
    assert!(config.http.management && !config.http.cors);
    assert_eq!(config.http.max_body_bytes, Some(1 << 20));
    for (text, says) in [
        ("[http]\ndefault_model = \"x\"", "http.default_model at line 2, column 17: is no model"),
        ("[http]\ntoken = \"\"", "http.token at line 2, column 9: expected a text"),
        ("[http]\nmax_depth = 1000", "http.max_depth at line 2, column 13: expected a number"),
        ("[http]\nmax_bodies = 1", "unknown key 'max_bodies' in [http]"),
    ] {
        let error = refused(text);
        assert!(error.contains(says), "{text}: {error}");
    }
}

#[test]
fn policies_of_a_loaded_model_are_read_without_its_name() {
    let read = |text: &str| ModelConfig::policies_from_text("m", text);
    let model = read("[batching]\nmax_batch_size = 8\n[[fallback]]\nmodel = \"small\"").unwrap();
    assert_eq!(model.batching.unwrap().max_batch_size, Some(8));
    assert_eq!(model.fallback.len(), 1);
    for (text, says) in [
        ("[cache]\n[batching]\nmax_batchsize = 2", "[batching] at line 3, column 1; did you mean"),
        ("[canary]\nversion = 1\npercent = 500", "canary.percent at line 3, column 11: expected"),
        ("task = \"regressor\"", "task at line 1, column 8: is no policy"),
        ("[[fallback]]\nmodel = \"m\"", "expected another model than this one"),
    ] {
        let error = read(text).expect_err(text);
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{text}");
        assert!(error.to_string().contains(says), "{text}: {error}");
    }
}
