//! The layers that a description may name: one file a family, which reads a layer's keys and
//! turns it into operators.

mod activation;
mod attention;
mod convolution;
mod join;
mod linear;
mod movement;
mod normalization;
mod pool;
mod recurrent;
mod reduce;
mod window;

pub(super) use attention::{Attention, attend, mask};
pub(super) use linear::{gather, linear, position_rows};
pub(super) use movement::{select, unsqueeze};
pub(super) use normalization::{layer_norm, normalize};
pub(super) use reduce::reduce;

use super::builder::Builder;
use super::json::{At, Object};
use super::signal::Signal;
use crate::error::{Error, ErrorKind, Result, bail, ensure};
use crate::limits::LoadLimits;
use std::cell::Cell;
use std::fmt::Debug;

/// Most layers of a description, those inside of others counted. With the length of a name it
/// bounds what the types of all values may take: each value repeats the names of its dimensions.
const MAX_LAYERS: usize = 10_000;

/// How deep lists of layers may nest.
const MAX_DEPTH: usize = 8;

/// A kind of layer, with its keys read.
pub(super) trait Layer: Debug {
    /// Turns it into operators that read `x`.
    fn build(&self, builder: &mut Builder<'_>, x: Signal) -> Result<Signal>;

    /// Whether it takes `x` as it is: indices, or what it only moves. Other layers get it in the
    /// type that the model computes in.
    fn takes_any_type(&self) -> bool {
        false
    }

    /// Whether it gives names to results of its own.
    fn stores(&self) -> bool {
        false
    }

    /// What it is to the one who asks whether the model's outputs are logits.
    fn end(&self) -> End {
        End::Other
    }
}

/// What a model may end with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// A layer that does nothing.
    Nothing,
    Softmax,
    Other,
}

/// A layer, its place in the document, and how it is connected.
#[derive(Debug)]
pub(super) struct Placed {
    path: String,
    /// `type` in the document.
    kind: String,
    pub(super) layer: Box<dyn Layer>,
    /// The named input or result that it reads, if not that of the layer before.
    pub(super) from: Option<String>,
    /// The name that its result is given.
    name_as: Option<String>,
}

type Read = fn(&Reader<'_>) -> Result<Box<dyn Layer>>;

/// A `type` and how its keys are read.
struct Kind {
    name: &'static str,
    read: Read,
}

const fn kind(name: &'static str, read: Read) -> Kind {
    Kind { name, read }
}

const FAMILIES: &[&[Kind]] = &[
    activation::KINDS,
    attention::KINDS,
    convolution::KINDS,
    join::KINDS,
    linear::KINDS,
    movement::KINDS,
    normalization::KINDS,
    pool::KINDS,
    recurrent::KINDS,
    reduce::KINDS,
];

/// Reads lists of layers, counting them.
pub(super) struct Lists<'a> {
    limits: &'a LoadLimits,
    layers: Cell<usize>,
    depth: Cell<usize>,
}

impl<'a> Lists<'a> {
    pub(super) fn new(limits: &'a LoadLimits) -> Lists<'a> {
        Lists { limits, layers: Cell::new(0), depth: Cell::new(0) }
    }

    /// Reads a list of layers. An empty one is an error.
    pub(super) fn read(&self, list: &At<'_>) -> Result<Vec<Placed>> {
        let items = list.list()?;
        ensure!(!items.is_empty(), InvalidModel, "{}: no layers", list.path());
        let total = self.layers.get().saturating_add(items.len());
        ensure!(
            total <= MAX_LAYERS,
            LimitExceeded,
            "{}: {total} layers, at most {MAX_LAYERS} are allowed",
            list.path()
        );
        self.layers.set(total);
        let depth = self.depth.get();
        ensure!(
            depth < MAX_DEPTH,
            LimitExceeded,
            "{}: lists of layers nest deeper than {MAX_DEPTH}",
            list.path()
        );
        self.depth.set(depth + 1);
        let layers = items.iter().map(|at| self.layer(at)).collect::<Result<Vec<_>>>()?;
        self.depth.set(depth);
        for pair in layers.windows(2) {
            if let [before, after] = pair
                && after.from.is_some()
                && before.name_as.is_none()
                && !before.layer.stores()
            {
                bail!(
                    InvalidModel,
                    "{}.from: nothing reads the result of the layer before; name it with \"as\"",
                    after.path
                );
            }
        }
        Ok(layers)
    }

    fn layer(&self, at: &At<'_>) -> Result<Placed> {
        let object = at.object()?;
        let type_at = object.need("type")?;
        let name = type_at.text()?;
        let Some(kind) = FAMILIES.iter().copied().flatten().find(|kind| kind.name == name) else {
            bail!(
                Unsupported,
                "{}: unknown layer type \"{}\"",
                type_at.path(),
                name.chars().take(40).collect::<String>()
            );
        };
        let reader = Reader { at, object, lists: self };
        let layer = (kind.read)(&reader)?;
        // A layer without tensors may be named too.
        reader.optional_name("name")?;
        let from = reader.optional_name("from")?;
        let name_as = reader.optional_name("as")?;
        reader.finish()?;
        let path = at.path().to_string();
        Ok(Placed { path, kind: name.to_string(), layer, from, name_as })
    }
}

/// What a layer's keys are read with.
pub(super) struct Reader<'a> {
    at: &'a At<'a>,
    object: Object<'a>,
    lists: &'a Lists<'a>,
}

impl<'a> std::ops::Deref for Reader<'a> {
    type Target = Object<'a>;

    fn deref(&self) -> &Object<'a> {
        &self.object
    }
}

impl Reader<'_> {
    /// The layer's name, which its tensors begin with.
    fn name(&self) -> Result<String> {
        self.need("name")?.name(self.lists.limits)
    }

    fn optional_name(&self, key: &'static str) -> Result<Option<String>> {
        self.get(key).map(|at| at.name(self.lists.limits)).transpose()
    }

    /// One name, or a list of them.
    fn names(&self, key: &'static str) -> Result<Option<Vec<String>>> {
        let Some(at) = self.get(key) else { return Ok(None) };
        let items = if at.is_list() { at.list()? } else { vec![at] };
        items.iter().map(|at| at.name(self.lists.limits)).collect::<Result<_>>().map(Some)
    }

    /// The layers at `key`.
    fn layers(&self, key: &'static str) -> Result<Vec<Placed>> {
        self.lists.read(&self.need(key)?)
    }

    fn eps(&self) -> Result<f32> {
        self.float_or("eps", 1e-5)
    }

    /// An error about the layer as a whole.
    fn error(&self, message: impl std::fmt::Display) -> Error {
        self.at.error(message)
    }
}

/// Appends layers one after another.
pub(super) fn chain(b: &mut Builder<'_>, mut x: Signal, layers: &[Placed]) -> Result<Signal> {
    for placed in layers {
        let inner = placed.path.trim_start_matches("$.").replace('[', ".").replace(']', "");
        let outer = b.enter(format!("{inner}.{}", placed.kind));
        x = placed
            .build(b, x)
            .map_err(|e| in_model(e).context(format!("{} ({})", placed.path, placed.kind)))?;
        b.enter(outer);
    }
    Ok(x)
}

impl Placed {
    fn build(&self, b: &mut Builder<'_>, before: Signal) -> Result<Signal> {
        let x = match &self.from {
            Some(name) => b.named(name)?,
            None => before,
        };
        let x = if self.layer.takes_any_type() { x } else { b.cast(x)? };
        let y = self.layer.build(b, x)?;
        if let Some(name) = &self.name_as {
            b.store(name, y.clone())?;
        }
        Ok(y)
    }
}

/// Checks shared with run time speak of inputs; here the file is at fault.
pub(super) fn in_model(e: Error) -> Error {
    match e.kind() {
        ErrorKind::InvalidInput => Error::new(ErrorKind::InvalidModel, e.message()),
        _ => e,
    }
}
