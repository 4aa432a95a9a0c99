//! A configuration file of any text (where the first byte is even), or a folder of models whose
//! files and links are made, changed and removed between the looks that a manager takes at it.
//!
//! Beside panics and internal errors: looks at a folder that rests come to an end, and no file
//! outside the folder is served where links are not followed.

use arbitrary::{Result, Unstructured};
use modelserve::config::Config;
use modelserve::repo::VersionPolicy;
use modelserve::{
    Ctx, ErrorKind, Features, LoadOptions, ModelManager, Policies, RefreshReport, RepositoryRules,
    Request,
};
use sha2::{Digest, Sha256};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

const IRIS: &[u8] = include_bytes!("../../data/iris_v1/model.onnx");
/// What lies outside of the repository, and nowhere else.
const STRANGE: &[u8] = include_bytes!("../../data/iris_v2/model.onnx");
const LINEAR: &[u8] = include_bytes!("../seeds/safetensors_load/linear.safetensors");
const LINEAR_CONFIG: &[u8] = br#"{"format":"modelserve-layers","version":1,"inputs":[{"name":"x","dtype":"float32","shape":["batch",4]}],"layers":[{"type":"linear","name":"fc1","in":4,"out":3}]}"#;
const TREES: &[u8] = include_bytes!("../seeds/booster_load/trees.txt");
const TREES_UBJ: &[u8] = include_bytes!("../seeds/booster_load/trees.ubj");

/// This process's own folder.
static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| match option_env!("CARGO_TARGET_TMPDIR") {
    Some(folder) => Path::new(folder).join("fuzz-repository"),
    None => std::env::temp_dir().join(format!("modelserve-fuzz-{}", std::process::id())),
});

/// What there is, unless it is an error of the caller's.
fn sound<T>(answer: modelserve::Result<T>) -> Option<T> {
    match answer {
        Ok(answer) => Some(answer),
        Err(error) => {
            assert_ne!(error.kind(), ErrorKind::Internal, "{error}");
            None
        }
    }
}

/// Asks every model for a row, in no more time than a moment.
fn ask(manager: &ModelManager) {
    for name in manager.models() {
        let row = Features::F32 { data: &[5.1, 3.5, 1.4, 0.2], rows: 1, width: 4 };
        let deadline = Some(Instant::now() + Duration::from_millis(50));
        let mut ctx = Ctx { deadline, ..Ctx::default() };
        sound(manager.call(&name, &Request::Row(row), &mut ctx));
    }
}

/// A folder with a model, and a repository with two versions of two, for configuration files.
static SHOP: LazyLock<PathBuf> = LazyLock::new(|| {
    let shop = FOLDER.join("shop");
    for version in ["iris/1", "iris/2", "churn/7", "churn/8"] {
        let version = shop.join("models").join(version);
        fs::create_dir_all(&version).unwrap();
        fs::write(version.join("model.onnx"), IRIS).unwrap();
    }
    fs::write(shop.join("iris.onnx"), IRIS).unwrap();
    shop
});

static SERVED: LazyLock<ModelManager> = LazyLock::new(|| {
    let manager = ModelManager::default();
    for name in ["iris", "small"] {
        manager.load_from(name, IRIS.to_vec(), &LoadOptions::default()).unwrap();
    }
    manager
});

/// The text as a file of its own, and as the policies of a model.
fn configuration(text: &[u8]) {
    if let Some(mut config) = sound(Config::from_bytes(text)) {
        // A file may name any path of the operator's: here it has these.
        config.manager.threads = 1;
        config.manager.watch = false;
        config.manager.settle = Some(Duration::ZERO);
        config.http.root = None;
        if let Some(root) = &mut config.manager.model_repository {
            *root = SHOP.join("models");
        }
        for model in config.models.values_mut() {
            if let Some(path) = &mut model.path {
                *path = SHOP.join("iris.onnx");
            }
            model.threads = None;
            model.record = None;
        }
        if let Some(manager) = sound(ModelManager::with_config(&config)) {
            ask(&manager);
        }
    }
    let Ok(text) = std::str::from_utf8(text) else { return };
    if sound(SERVED.configure("iris", text)).is_some() {
        ask(&SERVED);
        SERVED.set_policies("iris", Policies::default()).unwrap();
    }
}

const MODELS: [&str; 8] = ["m", "n", "m.1", "..data", ".hidden", "a b", "x.tmp", "\u{e4}"];
const VERSIONS: [&str; 10] =
    ["1", "2", "3", "9223372036854775807", "9223372036854775808", "01", "0", "-1", "..data", "2~"];
const FILES: [&str; 14] = [
    "model.onnx",
    "model.safetensors",
    "config.json",
    "labels.txt",
    "golden.jsonl",
    "warmup.jsonl",
    "manifest.sha256",
    "SHA256SUMS",
    "model.txt",
    "model.ubj",
    "weights.bin",
    "sub/model.onnx",
    ".model.onnx",
    "..data",
];

/// What a file of that name should have.
fn good(name: &str) -> &'static [u8] {
    match name {
        "model.onnx" | "sub/model.onnx" | ".model.onnx" => IRIS,
        "model.safetensors" => LINEAR,
        "config.json" => LINEAR_CONFIG,
        "labels.txt" => b"a\nb\nc\n",
        "golden.jsonl" | "warmup.jsonl" => b"{\"row\": [5.9, 3.0, 5.1, 1.8]}\n",
        "model.txt" => TREES,
        "model.ubj" => TREES_UBJ,
        _ => b"",
    }
}

/// Content for a file: what it should have, nearly that, or anything.
fn content(u: &mut Unstructured<'_>, name: &str) -> Result<Vec<u8>> {
    let mut content = good(name).to_vec();
    match u.int_in_range(0..=7)? {
        0 if !content.is_empty() => {
            let at = u.int_in_range(0..=content.len() - 1)?;
            content[at] = u.arbitrary()?;
        }
        1 => content.truncate(u.int_in_range(0..=content.len())?),
        2 | 3 => {
            let length = u.int_in_range(0..=64)?.min(u.len());
            content = u.bytes(length)?.to_vec();
        }
        _ => {}
    }
    Ok(content)
}

/// The digests of a folder's files, as `sha256sum` writes them.
fn manifest(version: &Path) -> String {
    let mut lines = String::new();
    for entry in fs::read_dir(version).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let plain = entry.file_type().is_ok_and(|kind| kind.is_file());
        if plain && !name.starts_with("manifest") {
            let bytes = fs::read(entry.path()).unwrap_or_default();
            let digest: String =
                Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
            lines += &format!("{digest}  {name}\n");
        }
    }
    lines
}

fn remove(path: &Path) {
    let is_folder = fs::symlink_metadata(path).is_ok_and(|found| found.is_dir());
    let _ = if is_folder { fs::remove_dir_all(path) } else { fs::remove_file(path) };
}

/// Changes something in the repository. What the system refuses does not happen.
fn change(u: &mut Unstructured<'_>, root: &Path) -> Result<()> {
    let model = root.join(u.choose(&MODELS)?);
    let version = model.join(u.choose(&VERSIONS)?);
    let name = *u.choose(&FILES)?;
    let file = version.join(name);
    let any = match u.int_in_range(0..=3)? {
        0 => &model,
        1 => &version,
        _ => &file,
    };
    match u.int_in_range(0..=9)? {
        0 => remove(any),
        1 => {
            remove(any);
            if let Some(parent) = any.parent() {
                let _ = fs::create_dir_all(parent);
            }
            let outside = root.with_file_name("outside");
            let targets =
                [outside.join("model.onnx"), outside, "..".into(), ".".into(), any.clone()];
            let _ = symlink(u.choose(&targets)?, any);
        }
        2 => drop(fs::create_dir_all(any)),
        3 => drop(fs::rename(&version, model.join(u.choose(&VERSIONS)?))),
        4 => drop(fs::write(version.join("manifest.sha256"), manifest(&version))),
        _ => {
            if let Some(parent) = file.parent() {
                let _ = fs::create_dir_all(parent);
            }
            let _ = fs::write(&file, content(u, name)?);
        }
    }
    Ok(())
}

fn rules(u: &mut Unstructured<'_>) -> Result<RepositoryRules> {
    let mut rules = RepositoryRules::default();
    rules.files.settle = Duration::ZERO;
    rules.files.require_manifest = u.ratio(1, 8)?;
    rules.files.follow_links = u.ratio(1, 4)?;
    rules.unload_missing = u.arbitrary()?;
    rules.version_policy = match u.int_in_range(0..=3)? {
        0 => VersionPolicy::Latest(1),
        1 => VersionPolicy::Latest(2),
        2 => VersionPolicy::All,
        _ => VersionPolicy::Specific(vec![1, 3]),
    };
    // What could not be loaded is left alone until it changes.
    rules.backoff.attempts = Some(1);
    Ok(rules)
}

fn look(manager: &ModelManager) -> RefreshReport {
    let report = sound(manager.refresh()).expect("a repository is served");
    for (model, version, why) in &report.failed {
        assert!(!why.contains("a defect of modelserve"), "{model} {version}: {why}");
    }
    report
}

fn folder(u: &mut Unstructured<'_>) -> Result<()> {
    // More looks than there can be versions to load one after another.
    const LOOKS: usize = 200;
    // So deep that no chain of links to parents leads out of it.
    let tree = FOLDER.join("tree");
    remove(&tree);
    let root = tree.join("a/b/c/d/models");
    let outside = root.with_file_name("outside");
    for path in [&root, &outside] {
        fs::create_dir_all(path).unwrap();
    }
    fs::write(outside.join("model.onnx"), STRANGE).unwrap();
    let strange: String = Sha256::digest(STRANGE).iter().map(|b| format!("{b:02x}")).collect();
    let rules = rules(u)?;
    let follow_links = rules.files.follow_links;
    let manager = ModelManager::default();
    manager.serve_repository(&root, rules).unwrap();
    for _ in 0..=u.int_in_range(0..=2)? {
        for _ in 0..=u.int_in_range(0..=7)? {
            change(u, &root)?;
        }
        look(&manager);
        let mut looks = 0;
        loop {
            let report = look(&manager);
            if report.loaded.is_empty() && report.unloaded.is_empty() {
                break;
            }
            looks += 1;
            assert!(looks < LOOKS, "looks at a folder that rests do not end: {report:?}");
        }
        ask(&manager);
        for name in manager.models() {
            let served = manager.model(&name).and_then(|handle| handle.info());
            let served = served.map(|info| info.digest);
            let from_outside = served.is_ok_and(|digest| *digest == *strange);
            assert!(follow_links || !from_outside, "'{name}' is served from outside");
        }
    }
    Ok(())
}

pub fn run(bytes: &[u8]) {
    let Some((first, rest)) = bytes.split_first() else { return };
    if first % 2 == 0 {
        configuration(rest);
    } else {
        // Too few bytes are no error: what they do not say is zero.
        let _ = folder(&mut Unstructured::new(rest));
    }
}
