//! Gives the shared library its SONAME, the name by which programs find it when they start:
//! `libmodelserve.so.0.1`, and from version 1 on `libmodelserve.so.1` (`docs/versioning.md`).

use std::env;
use std::error::Error;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    if env::var("CARGO_CFG_TARGET_OS")? != "linux" {
        return Ok(());
    }
    let major = env::var("CARGO_PKG_VERSION_MAJOR")?;
    let soname = match major.as_str() {
        "0" => format!("libmodelserve.so.0.{}", env::var("CARGO_PKG_VERSION_MINOR")?),
        _ => format!("libmodelserve.so.{major}"),
    };
    println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,{soname}");
    let out = env::var("OUT_DIR")?;
    let build = Path::new(&out).ancestors().find(|folder| folder.ends_with("build"));
    if let Some(profile) = build.and_then(Path::parent) {
        link(&profile.join(soname));
    }
    Ok(())
}

/// A program linked with the library where cargo leaves it looks there for the SONAME.
#[cfg(unix)]
fn link(soname: &Path) {
    const LIBRARY: &str = "libmodelserve_c.so";
    if std::fs::read_link(soname).is_ok_and(|to| to == Path::new(LIBRARY)) {
        return;
    }
    if let Err(error) = std::os::unix::fs::symlink(LIBRARY, soname) {
        println!("cargo::warning={}: {error}", soname.display());
    }
}

#[cfg(not(unix))]
fn link(_soname: &Path) {}
