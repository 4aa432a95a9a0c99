//! Which file of a folder is the model: one rule for a folder that is loaded and for a version's
//! folder in a repository.

use super::{Directory, EntryKind};
use crate::error::{Error, Result, bail};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// What a model file is called, by format: ONNX, safetensors (one file, or the index of several),
/// XGBoost (twice; CatBoost's JSON has the second name, too), LightGBM.
const NAMES: [&str; 6] = [
    "model.onnx",
    "model.safetensors",
    "model.safetensors.index.json",
    "model.ubj",
    "model.json",
    "model.txt",
];

/// What says how the tensors of a safetensors file are connected.
const CONFIG: &str = "config.json";

/// Most entries of a folder that is loaded.
const MAX_ENTRIES: usize = 4_096;

/// The model among files of these names: one of [`NAMES`] (safetensors with [`CONFIG`], unless its
/// content is given apart), or the only other `.onnx` file.
///
/// # Errors
/// `NotFound` where there is none, `InvalidArgument` where there is more than one, `InvalidModel`
/// where a part is missing; what is said goes on after the folder's name.
pub(crate) fn model_file(files: &BTreeSet<String>, config_given: bool) -> Result<String> {
    let mut named = NAMES.into_iter().filter(|name| files.contains(*name));
    match (named.next(), named.next()) {
        (Some(one), Some(two)) => {
            bail!(InvalidArgument, "holds both {one} and {two}: keep one");
        }
        (Some(one), None) => {
            let tensors = one.contains("safetensors");
            if tensors && !config_given && !files.contains(CONFIG) {
                bail!(InvalidModel, "holds {one} without {CONFIG}");
            }
            return Ok(one.to_string());
        }
        (None, _) => {}
    }
    let plain =
        |name: &&String| name.ends_with(".onnx") && !name.contains('/') && !name.starts_with('.');
    let mut others = files.iter().filter(plain);
    match (others.next(), others.next()) {
        (Some(one), None) => Ok(one.clone()),
        (Some(one), Some(two)) => {
            let [name, ..] = NAMES;
            bail!(
                InvalidArgument,
                "holds several models ({one}, {two}, …): name one of them {name}"
            );
        }
        _ => bail!(NotFound, "holds no model file ({})", NAMES.join(", ")),
    }
}

/// The model file that `path` means: itself, or the one in the folder that it is. The path is the
/// operator's word: links are followed.
///
/// # Errors
/// As [`model_file`], naming the folder; errors of the file system.
pub(crate) fn resolve(path: &Path, config_given: bool) -> Result<PathBuf> {
    match std::fs::metadata(path) {
        Ok(there) if there.is_dir() => {}
        // What is no model file is refused where it is opened, and so is what is not there.
        Ok(_) => return Ok(path.to_path_buf()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(path.to_path_buf()),
        Err(e) => return Err(Error::io(path.display(), &e)),
    }
    let entries = Directory::open(path)?.entries(MAX_ENTRIES)?;
    let files = entries
        .into_iter()
        .filter(|(_, kind)| matches!(kind, EntryKind::File | EntryKind::Link))
        .filter_map(|(name, _)| name.into_string().ok())
        .collect();
    let name = model_file(&files, config_given).map_err(|e| {
        Error::new(e.kind(), format!("{} {}", path.display(), e.message())).of_host()
    })?;
    Ok(path.join(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    fn found(names: &[&str]) -> std::result::Result<String, (ErrorKind, String)> {
        let files = names.iter().map(ToString::to_string).collect();
        model_file(&files, false).map_err(|e| (e.kind(), e.message().to_string()))
    }

    #[test]
    fn one_model_is_found_by_its_name() {
        for name in ["model.onnx", "model.ubj", "model.json", "model.txt"] {
            assert_eq!(found(&["a.txt", "labels.txt", name]).unwrap(), name);
        }
        for name in ["model.safetensors", "model.safetensors.index.json"] {
            assert_eq!(found(&["config.json", "tokenizer.json", name]).unwrap(), name);
            let without = found(&[name]).unwrap_err();
            assert_eq!(without.0, ErrorKind::InvalidModel);
            assert!(without.1.contains("without config.json"), "{}", without.1);
            assert_eq!(model_file(&[name.to_string()].into(), true).unwrap(), name);
        }
        assert_eq!(found(&["iris.onnx", "onnx/other.onnx", ".x.onnx"]).unwrap(), "iris.onnx");
    }

    #[test]
    fn none_and_several_are_told_apart() {
        for names in [&[][..], &["vocab.txt", "config.json"], &["onnx/model.onnx"]] {
            assert_eq!(found(names).unwrap_err().0, ErrorKind::NotFound, "{names:?}");
        }
        let both: [&[&str]; 3] = [
            &["model.onnx", "model.json"],
            &["model.safetensors", "model.safetensors.index.json", "config.json"],
            &["a.onnx", "b.onnx"],
        ];
        for names in both {
            assert_eq!(found(names).unwrap_err().0, ErrorKind::InvalidArgument, "{names:?}");
        }
    }

    #[test]
    fn a_file_is_itself_and_a_folder_what_it_holds() {
        let folder = std::env::temp_dir().join(format!("candidates-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let error = resolve(&folder, false).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(error.message().contains(&folder.display().to_string()), "{error}");
        let file = folder.join("model.txt");
        std::fs::write(&file, "tree").unwrap();
        assert_eq!(resolve(&folder, false).unwrap(), file);
        assert_eq!(resolve(&file, false).unwrap(), file);
        let absent = folder.join("absent");
        assert_eq!(resolve(&absent, false).unwrap(), absent);
        std::fs::remove_dir_all(folder).unwrap();
    }
}
