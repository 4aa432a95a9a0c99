//! Requests that change models: off unless turned on, and then only beneath one folder.

use super::fault::{Dialect, Fault, Outcome};
use super::{Http, HttpRequest, HttpResponse};
use crate::error::{Error, ErrorKind};
use crate::manager::ReloadOptions;
use crate::model::{LoadOptions, Target};
use crate::source::Directory;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// Entries of a model's folder that are looked at.
const MAX_VERSIONS: usize = 100_000;
/// The names of model files, in the order in which they are looked for.
const FILES: [&str; 2] = ["model.onnx", "model.safetensors"];

/// Whether this request may change models; else what it is answered.
pub(super) fn allowed(
    http: &Http,
    request: &HttpRequest<'_>,
    dialect: Dialect,
) -> Result<(), HttpResponse> {
    if !http.options.management {
        return Err(dialect.refuse(403, "loading and unloading by request is turned off"));
    }
    let Some(token) = http.options.token.as_deref().map(str::trim) else {
        // Without a token a page that somebody reads on this host could send it from there.
        return match request.header("Origin") {
            Some(_) => Err(dialect.refuse(403, "requests of web pages need a token to be set up")),
            None => Ok(()),
        };
    };
    if token.is_empty() {
        return Err(dialect.refuse(403, "the token that is set up is empty"));
    }
    let shown = request.header("Authorization").and_then(bearer).unwrap_or_default();
    // Hashes compare in constant time, whatever the lengths.
    if blake3::hash(shown.as_bytes()) == blake3::hash(token.as_bytes()) {
        return Ok(());
    }
    let refused = dialect.refuse(401, "loading and unloading needs the right bearer token");
    Err(refused.with("WWW-Authenticate", "Bearer"))
}

fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

impl Http {
    /// The folder beneath which requests may name models.
    fn root(&self) -> Option<PathBuf> {
        self.options.root.clone().or_else(|| self.manager.repository_root())
    }
}

/// Says nothing of where the root lies.
fn not_beneath(what: &str) -> Fault {
    Fault::bad(format!(
        "{what} is not a file beneath the models' root that is reached through no link"
    ))
}

/// Reloads `name`, from `path` beneath the root, or from its own file again; loads it where it is
/// not there yet. Answers the version as people know it.
pub(super) fn reload(http: &Http, name: &str, path: Option<&str>) -> Outcome<String> {
    let file = match path {
        Some(path) => {
            let root = http.root().ok_or_else(|| {
                Fault::bad("no root for model_path is configured: reload without it")
            })?;
            Some(beneath(&root, path).ok_or_else(|| not_beneath("model_path"))?)
        }
        None => None,
    };
    let manager = &http.manager;
    let info = match (manager.model(name), &file) {
        (Ok(_), file) => manager.reload(name, file.as_deref(), &ReloadOptions::default())?,
        (Err(_), Some(file)) => manager.load(name, file, &LoadOptions::default())?.info()?,
        (Err(_), None) => return Err(Fault::own(ErrorKind::NotReady, "Model not loaded")),
    };
    Ok(info.display_version.unwrap_or_else(|| info.version.to_string()))
}

/// Loads the newest version of `name`: from the manager's repository, from its folder beneath the
/// root, or, where neither knows it, from its own file again.
pub(super) fn load(http: &Http, name: &str) -> Outcome<()> {
    let manager = &http.manager;
    if manager.repository_root().is_some() {
        match manager.load_from_repository(name) {
            Ok(_) => return Ok(()),
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(e.into()),
            Err(e) if http.options.root.is_none() && manager.model(name).is_err() => {
                return Err(e.into());
            }
            Err(_) => {}
        }
    }
    let found = http.options.root.as_deref().and_then(|root| newest(root, name));
    let serving = manager.lease(name, &Target::Serving).and_then(|lease| lease.version());
    if let (Ok(serving), Some((_, Some(newest)))) = (&serving, &found)
        && newest <= serving
    {
        return Ok(());
    }
    // One that is known and cannot be asked at present is loaded over, too.
    let known = manager.model(name).is_ok();
    let (file, version) = found.map_or((None, None), |(file, version)| (Some(file), version));
    let load = LoadOptions { version, ..LoadOptions::default() };
    match (known, file) {
        (true, file) => {
            let load = version.map(|_| load);
            let options = ReloadOptions { load, ..ReloadOptions::default() };
            manager.reload(name, file.as_deref(), &options)?;
        }
        (false, Some(file)) => {
            manager.load(name, file, &load)?;
        }
        (false, None) => {
            let message = "no file of such a model is known here";
            return Err(Error::new(ErrorKind::NotFound, message).with_model(name).into());
        }
    }
    Ok(())
}

/// The file at `location`, or the model file in the folder there; `None` for what leaves the root
/// or passes a link.
fn beneath(root: &Path, location: &str) -> Option<PathBuf> {
    let root = Directory::open(root).ok()?;
    let found = root.beneath(location).ok()?;
    if found.is_file() {
        return Some(found);
    }
    FILES.iter().find_map(|file| root.beneath(&format!("{location}/{file}")).ok())
}

/// The newest version of a model beneath the root: `<name>/<version>/<file>`, or `<name>/<file>`
/// without a version.
fn newest(root: &Path, name: &str) -> Option<(PathBuf, Option<u64>)> {
    if name.contains(['/', '\\']) || name.starts_with('.') {
        return None;
    }
    let folder = Directory::open(root).ok()?.folder(OsStr::new(name)).ok()?;
    let number = |name: &OsStr| name.to_str()?.parse::<u64>().ok().filter(|n| *n > 0);
    let entries = folder.entries(MAX_VERSIONS).ok()?;
    let mut versions: Vec<u64> = entries.iter().filter_map(|(name, _)| number(name)).collect();
    versions.sort_unstable_by(|a, b| b.cmp(a));
    let file = |location: &str| beneath(root, location);
    let numbered = versions
        .iter()
        .find_map(|version| file(&format!("{name}/{version}")).map(|path| (path, Some(*version))));
    numbered.or_else(|| file(name).map(|path| (path, None)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn nothing_outside_the_root_is_reached() {
        let base = std::env::temp_dir().join(format!("modelserve-root-{}", std::process::id()));
        let root = base.join("root");
        std::fs::create_dir_all(root.join("m/2")).unwrap();
        std::fs::create_dir_all(root.join("m/10")).unwrap();
        std::fs::write(base.join("outside.onnx"), b"x").unwrap();
        std::fs::write(root.join("m/2/model.onnx"), b"x").unwrap();
        std::fs::write(root.join("m/10/model.safetensors"), b"x").unwrap();
        std::fs::write(root.join("plain.onnx"), b"x").unwrap();
        std::os::unix::fs::symlink(base.join("outside.onnx"), root.join("link.onnx")).unwrap();
        std::os::unix::fs::symlink(&base, root.join("up")).unwrap();
        for good in ["plain.onnx", "m/2", "m/2/model.onnx", "./m//2/model.onnx"] {
            assert!(beneath(&root, good).is_some_and(|p| p.starts_with(&root)), "{good}");
        }
        let absolute = root.join("plain.onnx").display().to_string();
        for bad in [
            "",
            ".",
            "..",
            "../outside.onnx",
            "m/../../outside.onnx",
            "link.onnx",
            "up",
            "up/outside.onnx",
            "missing.onnx",
            "m",
            "a\0b",
            &absolute,
            "m\\2",
        ] {
            assert_eq!(beneath(&root, bad), None, "{bad:?}");
        }
        assert_eq!(newest(&root, "m"), Some((root.join("m/10/model.safetensors"), Some(10))));
        assert_eq!(newest(&root, "up"), None);
        assert_eq!(newest(&root, ".."), None);
        std::fs::remove_dir_all(&base).unwrap();
    }

    #[test]
    fn only_a_bearer_token_is_one() {
        assert_eq!(bearer("Bearer abc"), Some("abc"));
        assert_eq!(bearer("bearer  abc "), Some("abc"));
        assert_eq!(bearer("Basic abc"), None);
        assert_eq!(bearer("abc"), None);
    }
}
